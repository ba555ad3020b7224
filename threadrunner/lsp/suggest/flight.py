"""A request in flight. Later keystrokes that agree with the answer so far keep using this request.

A person's next key comes after 135 ms, a whole suggestion after 200 to 800 ms on two cores: where each key ended the
request of the key before, a recorded session of 200 keys never saw a suggestion, and a first prompt of some seconds
never finished. So a request ends when its text contradicts what was typed, or when no later request has joined it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from threadrunner.lsp.suggest.cache import CLOSERS
from threadrunner.lsp.suggest.window import TextWindow

GRACE = 0.25
"""Seconds after a cancel for the next request to join: VS Code cancels with the key, and asks 20 to 50 ms later."""


def typed_since(origin: TextWindow, now: TextWindow) -> str | None:
    """What was typed since the request; None where anything else has changed."""
    same_behind = now.suffix == origin.suffix or (now.suffix[:1] in CLOSERS and now.suffix[1:] == origin.suffix)
    if not same_behind or now.first != origin.first or not now.prefix.startswith(origin.prefix):
        return None
    return now.prefix[len(origin.prefix) :]


def agree(typed: str, generated: str) -> bool:
    """Whether one of the two is the beginning of the other."""
    return typed.startswith(generated) or generated.startswith(typed)


class Flight:
    """A request to the daemon that may outlive the editor's request which started it.

    It is waited for with `result()`, by one editor's request at a time, or by two while the newer one takes over.
    """

    def __init__(self, window: TextWindow) -> None:
        self.window = window
        """What the model sees."""
        self.task: asyncio.Task[list[str]]
        """Gives the texts to show at `window`. Made by `start`."""
        self._generated = ""
        self._typed = ""
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def abandoned(self) -> bool:
        """No request waits for it, and it is cancelled unless one joins within GRACE."""
        return self._timer is not None

    def start(self, work: Coroutine[Any, Any, list[str]]) -> None:
        self.task = asyncio.create_task(work)
        # Its exception counts as retrieved even if no request waits any more: the next request meets the same failure.
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def join(self, now: TextWindow) -> bool:
        """Whether the answer may still be right for this window; if so, what was typed until now must agree with it."""
        typed = typed_since(self.window, now)
        if self.task.done() or typed is None or not agree(typed, self._generated):
            return False
        self._typed = typed
        return True

    def receive(self, text: str) -> None:
        """The model has generated more text; the request is cancelled if that is not what was typed."""
        self._generated += text
        if not agree(self._typed, self._generated):
            self.task.cancel()

    async def result(self) -> list[str] | None:
        """The texts; None where the request was cancelled before. Raises ApiError.

        If the caller is cancelled here, the request goes on for GRACE, so that the next one can join it.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting += 1
        try:
            await asyncio.wait({self.task})
        except asyncio.CancelledError:
            if self._waiting == 1:  # otherwise the next request waits already
                self._timer = asyncio.get_running_loop().call_later(GRACE, self.task.cancel)
            raise
        finally:
            self._waiting -= 1
        return None if self.task.cancelled() else self.task.result()

    async def end(self) -> None:
        """Cancel it, and wait until the daemon has been told."""
        if self._timer is not None:
            self._timer.cancel()
        self.task.cancel()
        await asyncio.wait({self.task})  # not `await self.task`, whose CancelledError would hide our own
