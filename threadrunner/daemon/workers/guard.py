"""Looks at a worker while something is demanded of it, and has it ended when it hangs: the I/O beside hang.py."""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from threadrunner.daemon.workers.hang import LOOK_EVERY, HangWatch, Verdict
from threadrunner.worker import vitals


class Guarded(Protocol):
    """The worker's process, as its guard needs it."""

    @property
    def busy(self) -> bool:
        """Requests wait for its answers."""

    def request_bytes(self, id: int) -> int:
        """The size of a request that it was sent; 0 for one that is unknown."""

    def hurry(self) -> None:
        """Have it interrupt what it runs."""

    def hung(self, seconds: float, seen: vitals.Vitals) -> None:
        """It hangs, and must be ended: it gave no sign of life for that many seconds."""


class Guard:
    """One for each process. A timer runs only while something is demanded."""

    def __init__(self, guarded: Guarded, fd: int) -> None:
        """`fd` is the process's page, and is closed by `close`."""
        self._fd = fd
        self._page = vitals.VitalsPage(fd)
        self._guarded = guarded
        self._watch = HangWatch()
        self._timer: asyncio.TimerHandle | None = None

    def loaded(self, seconds: float) -> None:
        """The model was loaded in that time."""
        self._watch.load_seconds = seconds

    def cancelled(self, id: int) -> None:
        """It was told to let the request go."""
        self._demand()
        self._watch.owed.add(id)

    def let_go(self, id: int) -> None:
        self._watch.owed.discard(id)

    def press(self) -> None:
        """It should end, or make way, as soon as its requests are done."""
        self._demand()
        self._watch.pressed = True

    def stopping(self) -> None:
        """It was told to end, or has said that it will."""
        self._demand()
        self._watch.stopping = True

    def close(self) -> None:
        """The process has gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._page.close()
        os.close(self._fd)

    def _demand(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._watch.begin(loop.time())
            self._timer = loop.call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._watch.demands(self._guarded.busy):
            return
        loop, seen = asyncio.get_running_loop(), self._page.read()
        match self._watch.look(loop.time(), seen, self._guarded.request_bytes(seen.request)):
            case Verdict.END:
                self._guarded.hung(self._watch.silent, seen)
                return
            case Verdict.NUDGE:
                self._guarded.hurry()
        self._timer = loop.call_later(LOOK_EVERY, self._look)
