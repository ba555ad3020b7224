"""The command line. Rule: a prompt imports the standard library only, and no asyncio."""
