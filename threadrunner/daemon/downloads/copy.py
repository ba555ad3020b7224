"""Copy a model of the user's into the models folder: all its files, under their own names."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

from threadrunner.api.errors import ModelLoadFailed
from threadrunner.daemon.downloads import staging
from threadrunner.daemon.gguf.check import Facts
from threadrunner.daemon.gguf.names import printable
from threadrunner.daemon.gguf.parts import file_size
from threadrunner.daemon.models import encoder_names

BLOCK = 16 << 20


async def copy_model(facts: Facts, encoder: str, folder: Path, report: staging.Report) -> str:
    """Returns the copy's path; `encoder` is that of its pictures, or empty.

    Raises ModelLoadFailed if its place is taken, FetchFailed, OSError.
    """
    names = [os.path.basename(file) for file in facts.files]
    if taken := [name for name in names if os.path.lexists(folder / name)]:
        raise _taken(folder, taken[0])
    sources = dict(zip(names, facts.files, strict=True))
    if encoder and not os.path.lexists(folder / (name := encoder_names.local_name(encoder, names[0]))):
        sources[name] = encoder  # else another size of the model has brought it
    total = sum(map(file_size, sources.values()))
    staging.check_space(folder, total)
    loop, cancelled = asyncio.get_running_loop(), threading.Event()

    def tell(done: int) -> None:
        loop.call_soon_threadsafe(report, done, total)

    try:
        await asyncio.to_thread(_copy, sources, folder, tell, cancelled)
    except FileExistsError as error:  # another copy was quicker
        raise _taken(folder, str(error.filename2 or error.filename)) from None
    finally:
        cancelled.set()  # a thread cannot be cancelled, but it looks here between two blocks
    return str(folder / names[0])


def _taken(folder: Path, name: str) -> ModelLoadFailed:
    shown = printable(os.path.basename(name))
    return ModelLoadFailed(f"{folder} has a file {shown} already; `threadrunner models rm` it first, or rename")


def _copy(sources: dict[str, str], folder: Path, tell: Callable[[int], None], cancelled: threading.Event) -> None:
    """`sources` are paths, by the names that the copies get."""
    done = 0
    with staging.workspace(folder) as work:
        for name, file in sources.items():
            copied = work / name
            with open(file, "rb") as source, copied.open("wb") as target:
                # The kernel copies, and if the file system can, it only shares the blocks.
                while not cancelled.is_set() and (
                    count := os.copy_file_range(source.fileno(), target.fileno(), BLOCK)
                    if hasattr(os, "copy_file_range")
                    else target.write(source.read(BLOCK))
                ):
                    done += count
                    tell(done)
            if cancelled.is_set():
                return
            staging.settle(copied, sha256="")
        staging.add(work, [*sources], folder)
