"""Fetch a model from the Hugging Face hub, in a process of its own (hub_process.py) that can be ended at any time.

The daemon never imports huggingface_hub, which brings an HTTP client and its threads with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from threadrunner.api.errors import FetchFailed, from_wire
from threadrunner.daemon.downloads.staging import Fetched, Parts, Report
from threadrunner.daemon.models.reference import Hub

_LINE_LIMIT = 1 << 20
"""Bytes of one line of the process's output."""


async def pull(hub: Hub, folder: Path, report: Report, parts: Parts) -> Fetched:
    """The (first) file's path, once all are there.

    Raises what hub_process.py reports: FetchFailed, ModelNotFound or ModelLoadFailed, whose text says what to do; it
    ends by itself without a report only if it is killed or has a defect, which is a FetchFailed without a reason.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "threadrunner.daemon.downloads.hub_process",
        hub.repo, hub.wanted, str(folder), parts,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE_LIMIT,
    )  # fmt: skip
    assert process.stdout and process.stderr
    complaints = asyncio.create_task(process.stderr.read())
    message: dict[str, Any] = {}
    try:
        async for line in process.stdout:
            message = json.loads(line)
            if "done" in message:
                report(message["done"], message["total"])
        await process.wait()
        stderr = (await complaints).decode("utf-8", "replace").strip()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        complaints.cancel()
    if "path" in message:
        return Fetched(message["path"], message["missing"])
    if "error" in message:
        raise from_wire(message["error"])
    last_words = stderr.splitlines() or [f"the fetch ended with code {process.returncode}"]
    raise FetchFailed(f"{last_words[-1]}; run the command again")
