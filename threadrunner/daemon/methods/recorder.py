"""An answer on its way to a client, kept as far as it has come."""

from __future__ import annotations

from threadrunner.api.chat import CallPart, FunctionCall, PieceKind, ToolCall
from threadrunner.api.conversations import TurnState
from threadrunner.api.generation import Generated
from threadrunner.daemon.conversations.turns import Outcome
from threadrunner.daemon.workers.sink import EncodedPiece, Sink, decoded


class Recorder:
    """Passes an answer on and keeps its parts, for the case that it ends early."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pieces: dict[PieceKind, list[bytes]] = {"text": [], "reasoning": []}
        self._calls: dict[int, _CallRecord] = {}

    def outcome(self, state: TurnState, error: str | None) -> Outcome:
        """What there is of the answer."""
        text, reasoning = (decoded(self._pieces[kind]) or None for kind in ("text", "reasoning"))
        calls = [record.call() for record in self._calls.values() if record.id and record.name]
        return Outcome(state, text, None, error, calls=calls, reasoning=reasoning)

    def piece(self, piece: EncodedPiece) -> None:
        if piece.call is not None:
            self._calls.setdefault(piece.call.index, _CallRecord()).add(piece.call, piece.json)
        else:
            self._pieces[piece.kind].append(piece.json)
        self._sink.piece(piece)

    def flush(self) -> None:
        self._sink.flush()

    def progress(self, stage: str, done: int, total: int) -> None:
        self._sink.progress(stage, done, total)

    def candidate(self, result: Generated) -> None:
        self._sink.candidate(result)


class _CallRecord:
    """One call, as far as it has come."""

    def __init__(self) -> None:
        self.id = self.name = ""
        self._arguments: list[bytes] = []

    def add(self, part: CallPart, json: bytes) -> None:
        self.id = part.id or self.id
        self.name = part.name or self.name
        self._arguments.append(json)

    def call(self) -> ToolCall:
        return ToolCall(self.id, FunctionCall(self.name, decoded(self._arguments)))
