"""Copy a model of the user's into the models folder: its files, whole, under their own names."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from threadrunner.api.errors import ModelLoadFailed
from threadrunner.daemon.gguf.check import Facts

BLOCK = 16 << 20


async def copy(facts: Facts, folder: Path, report: Callable[[int, int], None]) -> str:
    """Where the model is then. Raises ModelLoadFailed, OSError."""
    names = [os.path.basename(file) for file in facts.files]
    taken = [name for name in names if (folder / name).exists()]
    if taken:
        raise ModelLoadFailed(f"{folder} has a file {taken[0]} already; `threadrunner models rm` it first, or rename")
    free = shutil.disk_usage(folder).free
    if free < facts.size:
        raise ModelLoadFailed(f"{facts.size >> 20} MB are needed in {folder}, {free >> 20} MB are free")
    loop, cancelled = asyncio.get_running_loop(), threading.Event()

    def tell(done: int) -> None:
        loop.call_soon_threadsafe(report, done, facts.size)

    try:
        await asyncio.to_thread(_copy, facts.files, folder, tell, cancelled)
    finally:
        cancelled.set()  # a thread cannot be cancelled, but it looks here between two blocks
    return str(folder / names[0])


def _copy(files: tuple[str, ...], folder: Path, tell: Callable[[int], None], cancelled: threading.Event) -> None:
    done = 0
    with tempfile.TemporaryDirectory(prefix=".pull-", dir=folder) as work:
        for file in files:
            with open(file, "rb") as source, open(os.path.join(work, os.path.basename(file)), "wb") as target:
                # The kernel copies, and where the file system can, it only shares the blocks.
                while not cancelled.is_set() and (
                    count := os.copy_file_range(source.fileno(), target.fileno(), BLOCK)
                    if hasattr(os, "copy_file_range")
                    else target.write(source.read(BLOCK))
                ):
                    done += count
                    tell(done)
                target.flush()
                os.fsync(target.fileno())
        if cancelled.is_set():
            return
        for file in reversed(files):  # the first part last: only with it does the model exist
            os.replace(os.path.join(work, os.path.basename(file)), folder / os.path.basename(file))
