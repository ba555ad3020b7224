"""The ways to reach a daemon: blocking for the shell, asyncio for editors, and how one is started."""
