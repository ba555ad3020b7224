"""Reports that something has changed in the folders of certain files; the listener finds out what.

Folders are watched, not files: a file that is replaced by rename takes its watch with it. Where a file is behind links,
the folder of each link is watched too: exchanging a link exchanges the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

log = logging.getLogger("threadrunner.daemon.watch")

# An overwritten model is deadly to its worker, so the first event must not be held back to be joined with others; but
# watchfiles looks for events, and for our stop, once a step, and at 10 ms two watches took 1 % of a core all the time.
DEBOUNCE_MS = 50
STEP_MS = 50

BEGIN_AFTER = 1.0
"""Seconds until the first watch begins."""

POLL_S = 2.0
"""Seconds between two looks where there are no events: the kernel has no watches left, or a folder may not be read."""

_MAX_LINKS = 40
"""As the kernel has it."""

Folders = dict[str, tuple[int, int]]
"""Folder -> device and inode: another folder under the same name has to be watched again."""


class Watch:
    """Calls `changed` after every change in the folders of the files last given to `files`."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._paths: frozenset[str] = frozenset()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._said: set[str] = set()

    def files(self, paths: Iterable[str]) -> None:
        """Watch the folders of these files from now on."""
        wanted = frozenset(paths)
        if wanted == self._paths:
            return
        self._paths = wanted
        self._stop.set()
        if wanted and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run(), name="watch")

    def close(self) -> None:
        self._paths = frozenset()
        self._stop.set()

    async def _run(self) -> None:
        # Not yet, and beside the loop: it brings anyio, 50 ms of a core that the first token is computed on. What
        # happens meanwhile is seen when the watch begins.
        self._stop = asyncio.Event()
        await _at_most(BEGIN_AFTER, self._stop)
        watchfiles = await asyncio.to_thread(importlib.import_module, "watchfiles")
        while self._paths:
            self._stop = stop = asyncio.Event()
            try:
                await self._watch(watchfiles, folders_behind(self._paths), stop)
            except Exception as error:
                if not _is_odd_name(error):
                    self._say(error)
                    await _at_most(POLL_S, stop)

    async def _watch(self, watchfiles: Any, folders: Folders, stop: asyncio.Event) -> None:
        """Returns when it is stopped, or must begin again with other folders."""
        watchable = sorted(folder for folder in folders if _watchable(folder))
        if not watchable:
            await _at_most(POLL_S, stop)
            self._changed()
            return
        events = watchfiles.awatch(
            *watchable,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=stop,
            recursive=False,
            rust_timeout=0 if len(watchable) == len(folders) else int(POLL_S * 1000),
            yield_on_timeout=True,
        )
        asyncio.get_running_loop().call_soon(self._changed)  # for what happened before the watch began
        async with contextlib.aclosing(events):
            async for _ in events:
                self._changed()
                if folders_behind(self._paths) != folders:
                    return

    def _say(self, error: Exception) -> None:
        reason = str(error.exceptions[0] if isinstance(error, ExceptionGroup) else error)
        if reason not in self._said and len(self._said) < 100:
            self._said.add(reason)
            log.warning("a watch of %s ended: %s; it is begun again", sorted(self._paths), reason)


def folders_behind(paths: Iterable[str]) -> Folders:
    """The folders in which a change can change what these paths lead to."""
    found: set[str] = set()
    for path in paths:
        _walk(os.path.abspath(path), found)
    return {folder: (status.st_dev, status.st_ino) for folder in found if (status := _status(folder))}


def _walk(path: str, found: set[str]) -> None:
    """Go the way that the kernel goes: add the folder of every link, and that of the file, or the last one there is."""
    place, ahead, links = "/", path.split("/"), 0
    while ahead:
        name = ahead.pop(0)
        if name in ("", ".", ".."):
            place = os.path.dirname(place) if name == ".." else place
            continue
        step = os.path.join(place, name)
        try:
            target = os.readlink(step)
        except (OSError, ValueError):  # not a link
            if not any(ahead) or not os.path.isdir(step):
                found.add(place)
                return
            place = step
            continue
        found.add(place)
        links += 1
        if links > _MAX_LINKS:
            return
        place = "/" if target.startswith("/") else place
        ahead = [*target.split("/"), *ahead]


def _status(folder: str) -> os.stat_result | None:
    try:
        return os.stat(folder)
    except OSError:
        return None


def _watchable(folder: str) -> bool:
    """The kernel watches what may be read, watchfiles what is UTF-8."""
    try:
        folder.encode()
    except UnicodeEncodeError:
        return False
    return os.access(folder, os.R_OK)


def _is_odd_name(error: Exception) -> bool:
    """Whether all that ended the watch is a file beside ours whose name is not UTF-8: watchfiles cannot report it."""
    return isinstance(error, ExceptionGroup) and all(
        type(inner).__name__ == "WatchfilesRustInternalError" for inner in error.exceptions
    )


async def _at_most(seconds: float, stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
