"""What a worker reports of a request while it is under way, on its way to the client."""

from __future__ import annotations

from typing import Protocol

from threadrunner.api.chat import CallPart, PieceKind


class Sink(Protocol):
    """Receives pieces of an answer, and how far a load or a prefill is."""

    def piece(self, index: int, text: str, kind: PieceKind = "text", call: CallPart | None = None) -> None:
        """The next text of the answer number `index`; `kind` and `call` as in backends.base.Piece."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """`stage` is load, prefill or download; `done` and `total` are in its own unit."""


class SilentSink:
    """A sink for the daemon's own requests."""

    def piece(self, index: int, text: str, kind: PieceKind = "text", call: CallPart | None = None) -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None: ...
