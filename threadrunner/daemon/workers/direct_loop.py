"""An event loop that calls some readers from within its selector.

A token that a model has said wakes the daemon, which reads it and writes it on. Of what asyncio does for that most is
not the reading and writing: it is the loop's own turn (events to handles, handles to contexts, timers, the next
timeout), whose code must come from memory each time, since a model that computes on all cores takes the caches. A
direct reader is called as soon as the selector has returned, and the wait goes on without a turn of the loop, unless
another descriptor is ready, a callback was scheduled, or a timer is due.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")
Ready = list[tuple[selectors.SelectorKey, int]]


class _Direct:
    """A direct reader, in its selector's key in place of asyncio's handles."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call


class DirectSelector(selectors.DefaultSelector):
    """The loop's selector: `select` returns what is not for direct readers."""

    def __init__(self, failed: Callable[[Exception], object]) -> None:
        """`failed` is told what a direct reader has raised."""
        super().__init__()
        self._failed = failed
        self.scheduled = False
        """Whether the loop has been given something to do: it must have its turn."""

    def select(self, timeout: float | None = None) -> Ready:
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            self.scheduled = False
            others = self._call(super().select(timeout))
            if others or self.scheduled:
                return others
            if until is not None and (timeout := until - time.monotonic()) <= 0:
                return others

    def _call(self, ready: Ready) -> Ready:
        """Call direct readers; what is left."""
        others: Ready = []
        for event in ready:
            reader = event[0].data
            if type(reader) is not _Direct:
                others.append(event)
                continue
            try:
                reader.call()
            except Exception as error:
                self._failed(error)
        return others


class DirectLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._direct = DirectSelector(self._failed)
        super().__init__(self._direct)

    def add_direct_reader(self, fd: int, call: Callable[[], object]) -> None:
        """Like add_reader, of a descriptor that has no other reader; but the call has no context of its own, and where
        it is always ready, other callbacks still have their turns between two calls."""
        self._direct.register(fd, selectors.EVENT_READ, _Direct(call))

    def remove_direct_reader(self, fd: int) -> None:
        self._direct.unregister(fd)

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._direct.scheduled = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._direct.scheduled = True
        return super().call_at(when, callback, *args, context=context)

    def _failed(self, error: Exception) -> None:
        self.call_exception_handler({"message": "a direct reader raised", "exception": error})


def add_reader(fd: int, call: Callable[[], object]) -> Callable[[], object]:
    """A direct reader where the running loop has them, else one of asyncio's; what removes it."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, DirectLoop):
        loop.add_direct_reader(fd, call)
        return partial(loop.remove_direct_reader, fd)
    loop.add_reader(fd, call)
    return partial(loop.remove_reader, fd)
