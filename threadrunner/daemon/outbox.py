"""What waits to be sent to one client: pure, no socket.

A client that reads slowly gets its pieces joined: what waits is at most one text for each running answer, however
many tokens it has, and one notice of progress. So a stopped reader costs the length of the answers, not a queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from threadrunner.wire import framing as f

RequestId = int | str | None

_encode = msgspec.json.Encoder().encode


class _Piece:
    """A text that may still grow, and the message that it becomes."""

    def __init__(self, text: str, become: Callable[[str], Any]) -> None:
        self.texts = [text]
        self.become = become


class Outbox:
    """Messages in the order in which they must be read; `take` empties it."""

    def __init__(self) -> None:
        self.framing: str | None = None
        self._waiting: list[Any] = []
        self._pieces: dict[tuple[RequestId, int], _Piece] = {}
        self._progress: dict[RequestId, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def piece(self, request: RequestId, index: int, text: str, become: Callable[[str], Any]) -> None:
        """A token of an answer, joined to what already waits of it; `become` makes the message of a whole text."""
        if waiting := self._pieces.get((request, index)):
            waiting.texts.append(text)
            return
        piece = self._pieces[request, index] = _Piece(text, become)
        self._waiting.append(piece)

    def progress(self, request: RequestId, message: dict[str, Any]) -> None:
        """The newest notice takes the place of one that still waits."""
        if waiting := self._progress.get(request):
            waiting.update(message)
            return
        self._progress[request] = message
        self._waiting.append(message)

    def message(self, message: Any) -> None:
        """Any other message. Nothing that comes later is joined to what waits before it."""
        self._waiting.append(message)
        self._pieces.clear()
        self._progress.clear()

    def take(self) -> bytes:
        """All that waits, framed; the outbox is empty afterwards."""
        messages = [m.become("".join(m.texts)) if isinstance(m, _Piece) else m for m in self._waiting]
        self._waiting.clear()
        self._pieces.clear()
        self._progress.clear()
        return b"".join(f.encode(_encode(message), self.framing) for message in messages)


def notification(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}
