"""Pictures on their way into the cells. To encode one is a step of its own, and so is to evaluate a part of what came
of it: between two of these steps the others get their tokens, and messages are heard.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable

from threadrunner.engine.errors import Unsupported
from threadrunner.engine.llama.context import OK, Context
from threadrunner.engine.llama.errors import UnreadablePicture
from threadrunner.engine.llama.mtmd import Chunks, Part, Projector, Rows
from threadrunner.engine.llama.row_batch import RowBatch, by_line, in_order
from threadrunner.engine.pictures import Picture, Span, places
from threadrunner.engine.png import inflates_too_far
from threadrunner.engine.scheduler import Pace, Scheduler
from threadrunner.engine.sequence import Sequence

log = logging.getLogger("threadrunner.engine")

MAX_ROW_BYTES = 64 << 20
"""Of encoded pictures that are kept, since a request may need one again: it was preempted, or another asks about it."""
_LAYOUTS = 256
_OPEN = 2
"""Decoded pictures that are kept until all of their parts are encoded; one of 2,000 pixels a side takes 50 MB."""


class Sight:
    """The encoder of one engine, and what it has made lately. Engine asks `turn` before each step."""

    def __init__(self, projector: Projector, context: Context, identity: str) -> None:
        """It owns the projector from now on. `identity` tells its file from all others: what is kept of a picture is
        of use to this encoder only."""
        self.projector = projector
        self.encoded = 0
        """Parts of pictures that were encoded since the start."""
        self._batch = RowBatch(context, projector.width)
        self._context = context
        self._identity = identity.encode()
        self._rows: OrderedDict[tuple[bytes, int], Rows] = OrderedDict()
        self._layouts: dict[tuple[int, int], list[list[int] | Part]] = {}
        self._open: OrderedDict[bytes, Chunks] = OrderedDict()
        self._looked = False
        """The step before was for a picture."""

    # a prompt

    def picture(self, data: bytes) -> Picture:
        return Picture(data, hashlib.sha256(self._identity + b"\0" + data).digest())

    def layout(self, picture: Picture, width: int, height: int, begin: int) -> tuple[list[int], list[Span]]:
        """The tokens that stand for a picture of so many pixels from place `begin` on, and what they are. Raises
        EngineError."""
        tokens: list[int] = []
        spans: list[Span] = []
        for part in self._layout(width, height):
            if isinstance(part, Part):
                self._check(part)
                positions = part.positions if part.columns else 0
                spans.append(Span(picture, len(spans), begin + len(tokens), part.size, positions, part.columns))
                tokens += places(picture, spans[-1].part, part.size, positions)
            else:
                tokens += part
        return tokens, spans

    def _layout(self, width: int, height: int) -> list[list[int] | Part]:
        known = self._layouts.get((width, height))
        if known is None:
            known = self.projector.layout(width, height)
            if len(self._layouts) < _LAYOUTS:
                self._layouts[width, height] = known
        return known

    def _check(self, part: Part) -> None:
        if not self.projector.causal and part.size > self._context.n_ubatch:
            raise Unsupported(
                f"the picture takes {part.size} tokens, more than can be looked at at once; make it smaller"
            )

    # a step

    def turn(self, running: Iterable[Sequence]) -> Sequence | None:
        """Whose picture the next step is for; None: it is for tokens. They take turns where both wait."""
        running = list(running)
        waiting = [s for s in running if s.span is not None]
        self._looked = bool(waiting) and not (self._looked and len(waiting) < len(running))
        return min(waiting, key=lambda s: (s.priority, s.arrival)) if self._looked else None

    def encode(self, sequence: Sequence) -> bool:
        """Seconds, on a CPU; False where its part of a picture is encoded already. Raises EngineError."""
        span = sequence.span
        assert span is not None
        if (span.picture.digest, span.part) in self._rows:
            return False
        picture = span.picture
        chunks = self._open.get(picture.digest)
        if chunks is None:
            if inflates_too_far(picture.data):
                raise UnreadablePicture("a picture inflates to more than its size; save it again")
            chunks = self._open[picture.digest] = self.projector.read(picture.data)
            while len(self._open) > _OPEN:
                self.projector.free(self._open.popitem(last=False)[1])
        parts = [part for part in chunks.parts if isinstance(part, Part)]
        if span.part >= len(parts) or parts[span.part].size != span.size:
            raise UnreadablePicture("a picture is not of the size that its file says; save it again")
        self._rows[picture.digest, span.part] = self.projector.encode(chunks, span.part)
        self.encoded += 1
        while len(self._rows) > 1 and sum(map(len, self._rows.values())) * 4 > MAX_ROW_BYTES:
            self._rows.popitem(last=False)
        if span.part == len(parts) - 1:
            self.projector.free(self._open.pop(picture.digest))
        return True

    def room(self, sequence: Sequence, scheduler: Scheduler, others: bool) -> int:
        """How many rows of its picture the next batch takes: all, where they look at each other."""
        span = sequence.span
        assert span is not None
        if not self.projector.causal:
            return span.end - sequence.evaluated
        return min(span.end - sequence.evaluated, scheduler.prefill_room(others))

    def decode(self, sequence: Sequence, size: int, pace: Pace) -> int:
        """Evaluate so many rows of the picture, which is encoded. Answers as Context.decode."""
        span = sequence.span
        assert span is not None
        key = (span.picture.digest, span.part)
        self._rows.move_to_end(key)
        first, position = sequence.evaluated - span.begin, sequence.position(sequence.evaluated)
        where = by_line(position, first, size, span.columns) if span.columns else in_order(position, size)
        began = time.monotonic()
        status = self._batch.decode(sequence.seq, self._rows[key], first, where, causal=self.projector.causal)
        if status == OK:
            pace.learn(size, time.monotonic() - began)
        return status

    def close(self) -> None:
        for chunks in self._open.values():
            self.projector.free(chunks)
        self.projector.close()
