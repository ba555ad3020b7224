"""What a worker reports of a request while it is under way, on its way to the client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from threadrunner.api.chat import CallPart, PieceKind
from threadrunner.api.generation import Generated


class EncodedPiece(msgspec.Struct, frozen=True, gc=False):
    """A Piece as the worker has written it: the text is not decoded on its way to the client."""

    candidate: int
    json: bytes
    """The text as JSON has it between the quotes."""
    kind: PieceKind = "text"
    call: CallPart | None = None

    @property
    def text(self) -> str:
        return decoded([self.json])


def decoded(parts: Iterable[bytes]) -> str:
    """The text of parts like EncodedPiece.json."""
    text: str = msgspec.json.decode(b'"%b"' % b"".join(parts))
    return text


def encoded(index: int, text: str, kind: PieceKind = "text", call: CallPart | None = None) -> EncodedPiece:
    return EncodedPiece(index, msgspec.json.encode(text)[1:-1], kind, call)


class Sink(Protocol):
    """Receives pieces of an answer, and how far a load or a prefill is."""

    def piece(self, piece: EncodedPiece) -> None:
        """The next text of an answer. It may be kept until `flush`."""

    def flush(self) -> None:
        """No more pieces arrive at the moment: what arrived in one go is sent in one go."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """`stage` is load, prefill or download; `done` and `total` are in its own unit."""

    def candidate(self, result: Generated) -> None:
        """One of several answers is complete: the result's only choice, which has its index and key."""


class SilentSink:
    """A sink for the daemon's own requests."""

    def piece(self, piece: EncodedPiece) -> None: ...

    def flush(self) -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None: ...

    def candidate(self, result: Generated) -> None: ...


class Completing:
    """Passes everything on; the results of several answers as `complete` makes them."""

    def __init__(self, sink: Sink, complete: Callable[[Generated], Generated]) -> None:
        self._complete = complete
        self._candidate = sink.candidate
        self.piece, self.flush, self.progress = sink.piece, sink.flush, sink.progress
        self.last: Generated | None = None

    def candidate(self, result: Generated) -> None:
        self.last = self._complete(result)
        self._candidate(self.last)
