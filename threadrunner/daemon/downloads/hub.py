"""Fetch a model from the Hugging Face hub, in a process of its own (hub_fetch.py) that can be ended at any time.

The daemon never imports huggingface_hub, which brings an HTTP client and its threads with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from threadrunner.api.errors import ModelNotFound
from threadrunner.daemon.models.catalog import Hub

_LONGEST_LINE = 1 << 20


async def pull(hub: Hub, folder: Path, report: Callable[[int, int], None]) -> str:
    """The (first) file's path once all are there. Raises ModelNotFound, whose text says what to do instead."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "threadrunner.daemon.downloads.hub_process", hub.repo, hub.wanted, str(folder),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )  # fmt: skip
    assert process.stdout and process.stderr
    complaints = asyncio.create_task(process.stderr.read())
    said: dict[str, Any] = {}
    try:
        async for line in process.stdout:
            said = json.loads(line)
            if "done" in said:
                report(said["done"], said["total"])
        await process.wait()
        stderr = (await complaints).decode("utf-8", "replace").strip()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        complaints.cancel()
    if "path" in said:
        return str(said["path"])
    reason = said.get("error") or (stderr.splitlines() or [f"the fetch ended with code {process.returncode}"])[-1]
    raise ModelNotFound(f"hf:{hub.repo} could not be fetched: {reason}", model=f"hf:{hub.repo}")
