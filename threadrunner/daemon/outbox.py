"""What waits to be sent to one client: pure, no socket.

A client that reads slowly gets its pieces joined: one text waits for each running answer, however many tokens it has
(another is begun where it would become too long for a message), and one notice of progress. So a stopped reader costs
the length of the answers, not a queue. A client that keeps up gets a message for each piece.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from threadrunner.daemon import encoding
from threadrunner.daemon.workers.sink import EncodedPiece
from threadrunner.wire import framing as f

PIECE_BYTES = 8 << 20
"""Of JSON; see framing.FRAME_LIMIT."""


class Pieces(Protocol):
    """Makes the message of a text that waits no longer."""

    def piece(self, piece: EncodedPiece) -> bytes | None: ...


class _Waiting:
    """A candidate's text that may still grow."""

    def __init__(self, piece: EncodedPiece, replies: Pieces) -> None:
        self.first = piece
        self.texts = [piece.json]
        self.size = len(piece.json)
        self._replies = replies

    def takes(self, piece: EncodedPiece) -> bool:
        return self.size + len(piece.json) <= PIECE_BYTES and continues(self.first, piece)

    def add(self, text: bytes) -> None:
        self.texts.append(text)
        self.size += len(text)

    def message(self) -> bytes | None:
        return self._replies.piece(msgspec.structs.replace(self.first, json=b"".join(self.texts)))


class Outbox:
    """Messages in the order in which they must be read; `take` empties it."""

    def __init__(self) -> None:
        self.framing: str | None = None
        self.joining = True
        """Whether pieces are joined: the client does not keep up."""
        self._waiting: list[Any] = []  # bytes: a body that is ready
        self._pieces: dict[tuple[Hashable, int], _Waiting] = {}
        self._progress: dict[Hashable, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def piece(self, request: Hashable, piece: EncodedPiece, replies: Pieces) -> None:
        """A token of a request's answer, joined to what already waits of it; `replies` makes the message."""
        if not self.joining:
            if (body := replies.piece(piece)) is not None:
                self._waiting.append(body)
            return
        key = request, piece.candidate
        waiting = self._pieces.get(key)
        if waiting is not None and waiting.takes(piece):
            waiting.add(piece.json)
            return
        made = self._pieces[key] = _Waiting(piece, replies)
        self._waiting.append(made)

    def progress(self, request: Hashable, message: dict[str, Any]) -> None:
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
        """All that waits, framed; the outbox is empty afterwards. Never fails: see encoding.py."""
        waiting, self._waiting = self._waiting, []
        if len(waiting) == 1 and type(waiting[0]) is bytes:  # nearly always
            return f.encode(waiting[0], self.framing)
        if self._pieces:
            self._pieces.clear()
        if self._progress:
            self._progress.clear()
        bodies = map(_body, waiting)
        return b"".join([f.encode(body, self.framing) for body in bodies if body is not None])


def _body(waiting: Any) -> bytes | None:
    if type(waiting) is bytes:
        return waiting
    return waiting.message() if isinstance(waiting, _Waiting) else encoding.encode(waiting)


def continues(first: EncodedPiece, piece: EncodedPiece) -> bool:
    """Whether a piece's text may be joined to that of one just before it, of the same answer. A call's first piece has
    its name."""
    if first.call is None or piece.call is None:
        return first.kind == piece.kind and first.call == piece.call
    return first.call.index == piece.call.index and piece.call.name is UNSET
