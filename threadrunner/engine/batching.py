"""What goes into a batch of llama.cpp's."""

from __future__ import annotations

from threadrunner.engine.scheduler import Chunk, batch_of
from threadrunner.engine.sequence import Sequence


def up_to_pictures(chunks: list[Chunk[Sequence]]) -> list[Chunk[Sequence]]:
    """The batch with no number that stands for a picture: those have rows of their own."""
    if not any(chunk.sequence.request.spans for chunk in chunks):
        return chunks
    return batch_of((s, min(size, s.before_picture)) for s, size, *_ in chunks)
