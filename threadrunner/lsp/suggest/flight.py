"""A request to the daemon under way. Who goes on typing what it says, or may say, stays with it.

A person's next key comes after 135 ms, a whole suggestion after 200 to 800 ms on two cores: where each key ended the
request of the key before, a recorded session of 200 keys never saw a suggestion, and a first prompt of some seconds
never got through. So a request ends when its text contradicts what was typed, or when nobody has come back to it.
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


def agree(typed: str, said: str) -> bool:
    """Neither contradicts the other, as far as they go."""
    return typed.startswith(said) or said.startswith(typed)


class Flight:
    """`task` gives the texts to show at `window`; `said` is what the model has said so far."""

    def __init__(self, window: TextWindow) -> None:
        self.window = window
        self.said = ""
        self.task: asyncio.Task[list[str]]
        """Made by `depart`."""
        self._typed = ""
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    def depart(self, work: Coroutine[Any, Any, list[str]]) -> None:
        self.task = asyncio.create_task(work)
        # Seen, where nobody waits for it any more: a failure that matters is the next request's too.
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    def joins(self, now: TextWindow) -> bool:
        """Whether its answer may still be one for this window; from now on it must agree with that."""
        typed = typed_since(self.window, now)
        if self.task.done() or typed is None or not agree(typed, self.said):
            return False
        self._typed = typed
        return True

    def heard(self, text: str) -> None:
        """The model has said more; ends the request if that is not what was typed."""
        self.said += text
        if not agree(self._typed, self.said):
            self.task.cancel()

    async def landed(self) -> list[str] | None:
        """The texts; None where it was ended before. Raises ApiError. Who is cancelled here leaves it to the next one,
        if there is one soon."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting += 1
        try:
            await asyncio.wait({self.task})
        except asyncio.CancelledError:
            if self._waiting == 1:  # else the next one is here already
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
