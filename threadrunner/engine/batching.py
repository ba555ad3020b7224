"""What goes into a batch of llama.cpp's."""

from __future__ import annotations

from threadrunner.engine.llama.context import Context
from threadrunner.engine.scheduler import Chunk, batch_of
from threadrunner.engine.sequence import Sequence


def up_to_pictures(chunks: list[Chunk[Sequence]]) -> list[Chunk[Sequence]]:
    """The batch with no number that stands for a picture: those have rows of their own."""
    if not any(chunk.sequence.request.spans for chunk in chunks):
        return chunks
    return batch_of((s, min(size, s.before_picture)) for s, size, *_ in chunks)


def fill(context: Context, chunks: list[Chunk[Sequence]]) -> None:
    """The chunks' tokens, each at its place."""
    context.clear_batch()
    for sequence, size, logits_at, draft in chunks:
        begin = sequence.evaluated
        tokens = sequence.tokens[begin : begin + size]
        if sequence.scoring:
            context.add_all_outputs(sequence.seq, begin, tokens)
        else:
            context.add(sequence.seq, begin, tokens, logits_at is not None)
        if draft:
            context.add_all_outputs(sequence.seq, begin + size, draft)
            sequence.drafted = len(draft)
