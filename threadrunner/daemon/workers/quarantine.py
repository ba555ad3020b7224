"""Requests that were under way when their worker hung, and when each may be tried again: pure.

A request that hangs its worker is often sent again, by a script or by a person, and each time all that the worker did
for others is lost. The first time may be chance. The second time the request must wait, the other requests need not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable

import msgspec

FIRST_WAIT, MAX_WAIT = 60.0, 3600.0
"""Seconds after the second hang, doubled by each further one."""
REMEMBERED = 256
"""Requests."""


class Quarantine:
    """See the module. Times are seconds on any one clock."""

    def __init__(self) -> None:
        self._hangs: dict[Hashable, tuple[int, float]] = {}  # how many, and when it may be tried again

    def __bool__(self) -> bool:
        return bool(self._hangs)

    def hung(self, requests: Iterable[Hashable], now: float) -> None:
        """The worker hung in one of these."""
        for request in requests:
            count = self._hangs.pop(request, (0, 0.0))[0] + 1
            wait = min(MAX_WAIT, FIRST_WAIT * 2.0 ** (count - 2)) if count > 1 else 0.0
            self._hangs[request] = count, now + wait
        while len(self._hangs) > REMEMBERED:
            del self._hangs[next(iter(self._hangs))]

    def pardon(self, request: Hashable) -> None:
        """It was answered: it was only under way beside the one that hung."""
        self._hangs.pop(request, None)

    def times(self, request: Hashable) -> int:
        """How many workers have hung while it was under way."""
        return self._hangs.get(request, (0, 0.0))[0]

    def wait(self, request: Hashable, now: float) -> float:
        """Seconds until it may be tried again; 0 for now."""
        return max(0.0, self._hangs.get(request, (0, now))[1] - now)


def identity(method: str, params: msgspec.Struct) -> Hashable:
    """The same for a request that is sent again. A digest: what was asked is kept nowhere, and a prompt may be long."""
    return method, hashlib.sha256(msgspec.json.encode(params)).digest()
