"""Reports that something has changed in the folders of certain files; the listener finds out what.

Folders are watched, not files: a file that is replaced by rename takes its watch with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
from collections.abc import Callable

log = logging.getLogger("threadrunner.daemon.watch")

# An overwritten model is deadly to its worker, so the first event must not be held back to be joined with others; but
# watchfiles looks for events, and for our stop, once a step, and at 10 ms two watches took 1 % of a core all the time.
DEBOUNCE_MS = 50
STEP_MS = 50


class Watch:
    """Calls `changed` after every change in the folders of the files last given to `files`."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._folders: frozenset[str] = frozenset()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def files(self, paths: set[str]) -> None:
        """Watch the folders of these files from now on."""
        folders = frozenset(folder for path in paths if os.path.isdir(folder := os.path.dirname(path)))
        if folders == self._folders:
            return
        self._folders = folders
        self.close()
        if folders:
            self._stop = asyncio.Event()
            self._task = asyncio.create_task(self._run(sorted(folders), self._stop), name="watch")

    def close(self) -> None:
        self._stop.set()

    async def _run(self, folders: list[str], stop: asyncio.Event) -> None:
        # Only now, and beside the loop: it brings anyio, 50 ms that neither the daemon's start nor a first token waits
        # for.
        watchfiles = await asyncio.to_thread(importlib.import_module, "watchfiles")
        try:
            events = watchfiles.awatch(
                *folders, watch_filter=None, debounce=DEBOUNCE_MS, step=STEP_MS, stop_event=stop, recursive=False
            )
            asyncio.get_running_loop().call_soon(self._changed)  # for what happened before the watch began
            async with contextlib.aclosing(events):
                async for _ in events:
                    self._changed()
        except OSError as error:
            log.warning("cannot watch %s: %s; a changed model is seen at its next load only", folders, error)
