"""The log-probabilities of a prompt's own tokens: each row of logits of its batches is looked at, once."""

from __future__ import annotations

from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.logprobs import logprob_of
from threadrunner.engine.scheduler import Chunk, batch_of
from threadrunner.engine.sequence import Sequence

AT_ONCE = 64
"""Tokens of such a prompt in one batch: llama.cpp keeps a row of logits for each, 0.6 MB in a vocabulary of 150,000."""


def scored_in_parts(chunks: list[Chunk[Sequence]]) -> list[Chunk[Sequence]]:
    """The batch with no more than AT_ONCE rows for each prompt that is scored."""
    if not any(chunk.sequence.scoring for chunk in chunks):
        return chunks
    return batch_of((s, min(size, AT_ONCE) if s.scoring else size) for s, size, _ in chunks)


def score_prompts(context: Context, chunks: list[Chunk[Sequence]]) -> None:
    """After the batch: each row says how likely the token after its own was. Rows that were seen before, before an
    abort, are passed over."""
    row = 0
    for sequence, size, _ in chunks:
        if sequence.scoring:
            _score(context, sequence, row, size)
        row += size


def _score(context: Context, sequence: Sequence, row: int, size: int) -> None:
    prompt, count = sequence.request.prompt, sequence.request.scored
    assert count is not None
    for place in range(len(sequence.prompt_logprobs), min(sequence.evaluated + size, len(prompt) - 1)):
        logits = context.row(row + place - sequence.evaluated)
        sequence.prompt_logprobs.append(logprob_of(logits, prompt[place + 1], count))
