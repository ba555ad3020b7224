"""Tokens only: no JSON, no socket, no asyncio, nothing else of ours."""
