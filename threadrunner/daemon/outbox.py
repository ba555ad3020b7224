"""What waits to be sent to one client: pure, no socket.

A client that reads slowly gets its pieces joined: one text waits for each running answer, however many tokens it has
(another is begun where it would become too long for a message), and one notice of progress. So a stopped reader costs
the length of the answers, not a queue.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple, Protocol

from msgspec import UNSET

from threadrunner.api.chat import CallPart, PieceKind
from threadrunner.daemon import encoding
from threadrunner.wire import framing as f

PIECE_CHARS = 1 << 20
"""Each is six bytes of JSON at most; see framing.FRAME_LIMIT."""


class Part(NamedTuple):
    """What a piece belongs to: the text, the thought or a call of candidate answer `candidate`."""

    candidate: int
    kind: PieceKind = "text"
    call: CallPart | None = None

    def continues(self, other: Part) -> bool:
        """Whether its text may be joined to that of the one just before it. A call's first piece has its name."""
        if self.call is None or other.call is None:
            return self == other
        same = (self.candidate, self.call.index) == (other.candidate, other.call.index)
        return same and self.call.name is UNSET


class Pieces(Protocol):
    """Makes the message of a text that waits no longer."""

    def piece(self, index: int, text: str, kind: PieceKind, call: CallPart | None) -> Any | None: ...


class _Waiting:
    """A candidate's text that may still grow."""

    def __init__(self, part: Part, text: str, replies: Pieces) -> None:
        self.part = part
        self.texts = [text]
        self.size = len(text)
        self._replies = replies

    def message(self) -> Any | None:
        part = self.part
        return self._replies.piece(part.candidate, "".join(self.texts), part.kind, part.call)


class Outbox:
    """Messages in the order in which they must be read; `take` empties it."""

    def __init__(self) -> None:
        self.framing: str | None = None
        self._waiting: list[Any] = []
        self._pieces: dict[tuple[Hashable, int], _Waiting] = {}
        self._progress: dict[Hashable, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def piece(self, request: Hashable, part: Part, text: str, replies: Pieces) -> None:
        """A token of a request's answer, joined to what already waits of it; `replies` makes the message."""
        waiting = self._pieces.get((request, part.candidate))
        if waiting is not None and part.continues(waiting.part) and waiting.size + len(text) <= PIECE_CHARS:
            waiting.texts.append(text)
            waiting.size += len(text)
            return
        made = self._pieces[request, part.candidate] = _Waiting(part, text, replies)
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
        messages = [m.message() if isinstance(m, _Waiting) else m for m in self._waiting]
        self._waiting.clear()
        self._pieces.clear()
        self._progress.clear()
        bodies = (encoding.encode(message) for message in messages if message is not None)
        return b"".join(f.encode(body, self.framing) for body in bodies if body is not None)
