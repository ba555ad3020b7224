"""Which token a sequence says next."""

from __future__ import annotations

from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.logprobs import Logprob
from threadrunner.engine.sequence import Sequence


def choose(sequence: Sequence, context: Context, logits_at: int) -> tuple[int, Logprob | None]:
    """The sampler's choice, unless the next tokens are decided: those that end a thought past its budget. Raises
    EngineError."""
    if sequence.utterance.thought_must_end:
        sequence.decided = list(sequence.request.thought_end)
    if sequence.decided:
        decided = sequence.decided.pop(0)
        sequence.sampler.told(decided)
        return decided, None
    if sequence.generated == 0 and sequence.request.thought_begin:
        token = sequence.sampler.begin_free(sequence.request.thought_begin, context, logits_at)
        if token is not None:
            return token, None
    return sequence.sampler.sample(context, logits_at)
