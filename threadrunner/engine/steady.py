"""The steps between two events: the same sequences, each says its next token, and nothing else has to be decided.

That is nearly every step, and what it costs is not the work but that all of it, code and objects, comes from memory:
the batch before it has taken the caches. So such a step takes the last one's plan and changes two numbers of each
sequence in the last batch.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

from threadrunner.engine.kv.cells import Cells
from threadrunner.engine.llama.context import Context
from threadrunner.engine.scheduler import Chunk
from threadrunner.engine.sequence import Sequence

Chunks = Seq[Chunk[Sequence]]


class SteadyPlan:
    """The last batch's chunks, for as long as the next batch's are the same."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self.chunks: list[Chunk[Sequence]] = []
        """Each is one token of a sequence that decodes."""
        self.plain = False
        """None of them will ever have a draft: there is nothing to look for, nothing to learn."""
        self._who = (-1, 0)
        """The sequences, by how many had come and how many ran: where both are the same, all are."""
        self._left = 0
        """Steps for which there are cells."""

    def next(self) -> list[Chunk[Sequence]] | None:
        """The next batch, for which there is room; None where it must be planned."""
        if self._left <= 0 or self._who != (self._cells.came, len(self._cells.running)):
            return None
        self._left -= 1
        return self.chunks

    def planned(self, chunks: list[Chunk[Sequence]], plain: bool) -> None:
        """A batch was planned, without drafts, and has room. It is the next one too if it is a token of each that runs:
        cells are then taken by these sequences alone, until another comes or goes."""
        running = len(self._cells.running)
        if chunks and len(chunks) == running and all(chunk.sequence.decoding for chunk in chunks):
            self.chunks, self._who, self.plain = chunks, (self._cells.came, running), plain
            self._left = self._cells.free() // len(chunks) - 1
        else:
            self.forget()

    def forget(self) -> None:
        """The next batch must be planned."""
        self.chunks, self._left, self.plain = [], 0, False


class BatchFiller:
    """Puts chunks where llama.cpp reads them, and the adapters that they are evaluated under."""

    def __init__(self, context: Context) -> None:
        """Only this fills the context's batch."""
        self._context = context
        self._filled: Chunks = ()

    def fill(self, chunks: Chunks) -> bool:
        """The whole batch; of one that is there already (see SteadyPlan), what is new in it. Whether it was."""
        context = self._context
        if chunks is self._filled:
            for sequence, _, place, _ in chunks:
                context.replace(place or 0, sequence.position(sequence.evaluated), sequence.tokens[-1])
            return True
        self._filled = ()
        context.clear_batch()
        context.apply(chunks[0].sequence.request.blend.parts)
        for sequence, size, logits_at, draft in chunks:
            begin = sequence.evaluated
            tokens, position = sequence.tokens[begin : begin + size], sequence.position(begin)
            if sequence.scoring:
                context.add_all_outputs(sequence.seq, position, tokens)
            else:
                context.add(sequence.seq, position, tokens, logits_at is not None)
            if draft:
                context.add_all_outputs(sequence.seq, position + size, draft)
                sequence.drafted = len(draft)
        if all(chunk.size == 1 and not chunk.draft and chunk.logits_at is not None for chunk in chunks):
            self._filled = chunks
        return False
