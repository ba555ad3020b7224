"""Drafts in the engine's batches: put in where they pay, taken as far as the sampler itself says the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from threadrunner.engine.draft_model import DraftModel
from threadrunner.engine.drafting.drafter import Draft, Drafter
from threadrunner.engine.drafting.small_model import SmallModel
from threadrunner.engine.kv.cells import Cells
from threadrunner.engine.scheduler import Chunk, with_drafts
from threadrunner.engine.sequence import Sequence

Policy = Literal["off", "auto", "always"]


class SpeculativeDecoding:
    """One engine's. In each step: `extend` the batch, `learn` how long it took, for each chunk sample where
    `accepted` says, then tell that it is `sampled`. So each token is the sampler's own choice behind the tokens before
    it, at any temperature: a draft changes when a token's logits are computed, never which token is said.

    Logits are those of the batch, though, and llama.cpp's differ in their last bits with a batch's size; quantized
    weights make that up to 0.13 of a log-probability (see tests/backends/harness.py), enough to turn a choice that
    hangs in the balance. So under "auto" a request that asked for reproducible text gets no guesses, since which of
    them are tried depends on what was said and on how fast the machine was. Forced tokens depend on the request alone.
    """

    def __init__(self, cells: Cells, context: int, *, recurrent: bool) -> None:
        """`context`: maximum tokens of a sequence. `recurrent`: a state that cannot go back behind a wrong token."""
        self.drafter: Drafter[Sequence] = Drafter()
        self._can = not recurrent
        self.policy: Policy = "off" if recurrent else "auto"
        self._cells = cells
        self._context = context
        self._drafts: dict[Sequence, Draft] = {}
        """Those in the present batch."""

    def ask(self, draft_model: DraftModel) -> None:
        """Have a small model of the same vocabulary propose tokens too; closing it stays the caller's business."""
        self.drafter = Drafter(SmallModel(draft_model, draft_model.costs))

    def choose(self, policy: str) -> None:
        """One of Policy's words, as far as the model can be rolled back; any other is "auto"."""
        known: dict[str, Policy] = {"off": "off", "always": "always"}
        self.policy = known.get(policy, "auto") if self._can else "off"

    def never(self, chunks: list[Chunk[Sequence]]) -> bool:
        """Whether none of the batch's sequences can have a draft, whatever it will say."""
        return self.policy == "off" or not any(self._ever(chunk.sequence) for chunk in chunks)

    def _ever(self, sequence: Sequence) -> bool:
        request = sequence.request
        may_be_kept_to = request.sampling.constraint or request.rules or request.thought_budget is not None
        return bool(may_be_kept_to) or self._may_guess(sequence)

    def extend(self, chunks: list[Chunk[Sequence]]) -> list[Chunk[Sequence]]:
        """The batch with drafts, where each of its sequences only says its next token: beside a prompt's tokens a step
        is long enough."""
        if self.policy == "off" or not self._any_to_draft(chunks):
            return chunks
        self._drafts = self.drafter.plan([chunk.sequence for chunk in chunks], self._room, self._may_guess, _forced)
        if not self._drafts:
            return chunks
        drafts = {sequence: draft.tokens for sequence, draft in self._drafts.items()}
        return with_drafts(chunks, drafts)

    def _any_to_draft(self, chunks: list[Chunk[Sequence]]) -> bool:
        some = False
        for sequence, *_ in chunks:
            if not sequence.decoding:
                return False
            some = some or bool(sequence.decided) or sequence.sampler.constrained or self._may_guess(sequence)
        return some

    def _may_guess(self, sequence: Sequence) -> bool:
        if sequence.request.spans:  # what stands for pictures are no tokens that could be said
            return False
        return self.policy == "always" or not sequence.request.reproducible

    def _room(self, sequence: Sequence) -> int:
        """How many tokens its draft may have; one more is said in any case."""
        rest = self._context - len(sequence.tokens)
        if sequence.request.max_tokens is not None:
            rest = min(rest, sequence.request.max_tokens - sequence.generated)
        return min(rest, self._cells.free() // len(self._cells.running)) - 1

    def learn(self, chunks: list[Chunk[Sequence]], tokens: int, seconds: float) -> None:
        """How long the batch, which has so many tokens, took to evaluate."""
        if self.policy == "off":
            return
        for chunk in chunks:
            if not chunk.sequence.decoding:
                return
        self.drafter.costs.learn(tokens, seconds)

    def accepted(self, chunk: Chunk[Sequence]) -> Iterator[int]:
        """The chunk's own token was evaluated and the next one sampled: places in the batch where to sample on, for as
        long as what was sampled is what the draft has. The sequence may end meanwhile."""
        sequence, accepted = chunk.sequence, 0
        for token in chunk.draft:
            if sequence.seq < 0 or sequence.tokens[-1] != token or chunk.logits_at is None:
                break
            accepted += 1
            sequence.evaluated += 1
            sequence.drafted -= 1
            yield chunk.logits_at + accepted
        self.drafter.settled(sequence, self._drafts[sequence], accepted)

    def sampled(self, sequence: Sequence) -> None:
        """All is sampled that can be after the batch; the sequence may have ended."""
        if sequence.seq >= 0:
            if sequence.drafted:
                self._cells.trim(sequence)
            self.drafter.said(sequence)

    def ended(self, sequence: Sequence) -> None:
        """It is complete, or cancelled."""
        self.drafter.ended(sequence, len(sequence.request.prompt))


def _forced(sequence: Sequence) -> list[int]:
    return sequence.decided or sequence.sampler.compelled()
