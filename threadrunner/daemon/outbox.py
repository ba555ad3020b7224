"""What waits to be sent to one client: pure, no socket.

A client that reads slowly gets its pieces joined: one text waits for each running answer, however many tokens it has
(another is begun where it would become too long for a message), and one notice of progress. So a stopped reader costs
the length of the answers, not a queue; `size` says how much that is, for there may be many answers. A client that keeps
up gets a message for each piece.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

import msgspec
from msgspec import UNSET

from threadrunner.api.errors import Overloaded
from threadrunner.daemon import encoding
from threadrunner.daemon.workers.sink import EncodedPiece
from threadrunner.wire import framing as f

PIECE_BYTES = 8 << 20
"""Of JSON; see framing.FRAME_LIMIT."""
FULL_MESSAGES = 256
FULL_BYTES = 32 << 20
"""Either of them: no more requests are read of a client for which so much waits."""
MOST_BYTES = 128 << 20
"""What one client may leave unread. Of one request that is a fourth at most, its pieces and the result, which has the
text again; but a client may have 256 under way."""
OVERHEAD = 256
"""Bytes that anything that waits takes beside its text, about."""


class Pieces(Protocol):
    """Makes the message of a text that waits no longer."""

    def piece(self, piece: EncodedPiece) -> bytes | None: ...


class _Waiting:
    """A candidate's text that may still grow."""

    def __init__(self, piece: EncodedPiece, replies: Pieces) -> None:
        self.first = piece
        self.text = bytearray(piece.json)  # not a list: the pieces of 40 answers took 600 MB, their text 24 MB
        self._replies = replies

    def takes(self, piece: EncodedPiece) -> bool:
        return len(self.text) + len(piece.json) <= PIECE_BYTES and continues(self.first, piece)

    def message(self) -> bytes | None:
        return self._replies.piece(msgspec.structs.replace(self.first, json=bytes(self.text)))


class Outbox:
    """Messages in the order in which they must be read; `take` empties it."""

    def __init__(self) -> None:
        self.framing: str | None = None
        self.joining = True
        """Whether pieces are joined: the client does not keep up."""
        self.size = 0
        """Bytes that wait while pieces are joined."""
        self._waiting: list[Any] = []  # bytes: a body that is ready
        self._pieces: dict[tuple[Hashable, int], _Waiting] = {}
        self._progress: dict[Hashable, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the client has enough to read for now."""
        return len(self._waiting) > FULL_MESSAGES or self.size > FULL_BYTES

    def too_much(self, sent: int) -> Overloaded | None:
        """The error for a client that leaves too much unread; of what was taken from here, it has yet to read `sent`
        bytes."""
        unread = self.size + sent
        if unread <= MOST_BYTES:
            return None
        return Overloaded(
            f"{unread} bytes of answers were not read, the maximum is {MOST_BYTES}, so the connection is closed; read "
            "what is sent, or ask for less at a time",
            queued=unread,
            limit=MOST_BYTES,
        )

    def piece(self, request: Hashable, piece: EncodedPiece, replies: Pieces) -> None:
        """A token of a request's answer, joined to what already waits of it; `replies` makes the message."""
        if not self.joining:
            if (body := replies.piece(piece)) is not None:
                self._waiting.append(body)
            return
        self.size += len(piece.json)
        key = request, piece.candidate
        waiting = self._pieces.get(key)
        if waiting is not None and waiting.takes(piece):
            waiting.text += piece.json
            return
        made = self._pieces[key] = _Waiting(piece, replies)
        self._add(made)

    def progress(self, request: Hashable, message: dict[str, Any]) -> None:
        """The newest notice takes the place of one that still waits."""
        if waiting := self._progress.get(request):
            waiting.update(message)
            return
        self._progress[request] = message
        self._add(message)

    def message(self, message: Any) -> None:
        """Any other message. Nothing that comes later is joined to what waits before it."""
        if not self.joining:
            self._waiting.append(message)
        elif (body := encoding.encode(message)) is not None:  # as bytes it takes less, and can be counted
            self.size += len(body)
            self._add(body)
        self._pieces.clear()
        self._progress.clear()

    def clear(self) -> None:
        """Nothing of it will be sent."""
        self._waiting.clear()
        self._pieces.clear()
        self._progress.clear()
        self.size = 0

    def _add(self, waiting: Any) -> None:
        self._waiting.append(waiting)
        self.size += OVERHEAD

    def take(self) -> bytes:
        """All that waits, framed; the outbox is empty afterwards. Never fails: see encoding.py."""
        waiting, self._waiting, self.size = self._waiting, [], 0
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
