"""The request that is being answered: whose it is and what it has cost, for limits, metrics and the audit.

It goes with the tasks that a handler starts (a context variable), so that no dialect has to hand it on, and an answer
that outlives its request is still counted for the right key.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from threadrunner.http.allowance import KeyLimits
from threadrunner.http.failures import HttpFailure
from threadrunner.http.keys import Holder

Counted = Callable[[str, str, int], None]
"""Called with a key's name, what was counted (`prompt`, `cached`, `completion`) and how many."""


@dataclass
class Asking:
    """`model` is the last that was asked, without its path; `holder` None: no key is asked for, or none was right."""

    began: float = field(default_factory=time.monotonic)
    counted: Counted = lambda _name, _what, _tokens: None
    holder: Holder | None = None
    model: str = ""
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    over: str = ""
    """The limit of its key for which it was refused."""
    place: KeyLimits | None = None
    """Whose place it takes."""
    _holds: int = 0

    def hold(self) -> None:
        """Something of it is under way, until `release`: the request, or an answer, which may outlive it."""
        self._holds += 1
        if self._holds == 1 and self.place is not None:
            self.place.began()

    def release(self) -> None:
        self._holds -= 1
        if not self._holds and self.place is not None:
            self.place.ended()

    def charge(self, prompt: int, cached: int, completion: int) -> None:
        """Tokens. What comes from the cache costs the machine nothing, so no limit counts it."""
        self.prompt += prompt
        self.cached += cached
        self.completion += completion
        if self.holder is None:
            return
        for what, tokens in (("prompt", prompt), ("cached", cached), ("completion", completion)):
            self.counted(self.holder.name, what, tokens)
        if self.holder.limits is not None:
            self.holder.limits.used(prompt - cached + completion)


_NOBODY = Asking()
CURRENT: ContextVar[Asking] = ContextVar("asking", default=_NOBODY)


def current() -> Asking:
    """One of its own where no request is being answered, and then it is of no use."""
    asking = CURRENT.get()
    return Asking() if asking is _NOBODY else asking


def may(right: str) -> bool:
    holder = CURRENT.get().holder
    return holder is None or right in holder.may


def need(right: str, what: str) -> None:
    """Raises HttpFailure 403 where the key that was sent has not been given this."""
    if may(right):
        return
    holder = CURRENT.get().holder
    assert holder is not None
    text = (
        f"the key {holder.name!r} is not for {what}; whoever runs this server can make one that is: "
        f"`threadrunner serve keys add NAME --may {right}`"
    )
    raise HttpFailure(403, "permission_error", text, "not_allowed")
