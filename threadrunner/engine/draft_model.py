"""A small model that proposes what a large one may say next: llama.cpp's side of drafting/small_model.py.

It has a context of its own, in which each answer that it follows is a sequence. What it proposes is its likeliest token
each time; whether that is said is the large model's sampler's business.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from threadrunner.engine.drafting.small_model import MIN_PIECE, Costs
from threadrunner.engine.kv.growth import next_size
from threadrunner.engine.llama import vocabularies
from threadrunner.engine.llama.context import OK, Context
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.likeliest import Likeliest
from threadrunner.engine.llama.model import Model
from threadrunner.engine.sequence import Sequence

log = logging.getLogger("threadrunner.engine")

MAX_FOLLOWED = 16
"""Answers at once: a batch holds no more tokens that pay."""


def check_pair(model: Model, draft: Model) -> None:
    """Raises LoadError where the one cannot draft for the other."""
    if model.recurrent or model.only_embeds:
        what = "its state cannot go back behind a wrong token" if model.recurrent else "it says no tokens"
        raise LoadError(f"a draft_model is of no use to this model, since {what}; remove the option")
    if draft.recurrent or draft.only_embeds:
        what = "its state cannot go back behind a wrong token" if draft.recurrent else "it says no tokens"
        raise LoadError(f"the draft_model cannot draft, since {what}; name another one, or remove the option")
    if difference := vocabularies.difference(model, draft):
        raise LoadError(
            f"the draft_model has another vocabulary than the model: {difference}. Name a smaller model of the same "
            "family, or remove the option"
        )


@dataclass(slots=True)
class _Followed:
    """An answer in the cells."""

    seq: int
    known: list[int] = field(default_factory=list)
    """What its cells have: what was said, and behind that what was proposed last."""
    said: int = 0
    """So many of them were said, and more perhaps."""


class DraftModel:
    """Belongs to the computing thread. It owns the context, and closes it; the model stays the caller's."""

    def __init__(self, model: Model, context: Context, max_cells: int, large: Model) -> None:
        """The context begins with few cells, and may grow to `max_cells`."""
        self.costs = Costs(model.size_bytes / max(1, large.size_bytes))
        self.context = context
        self._trained = model.n_ctx_train or max_cells
        self._n_vocab = model.n_vocab
        self._may_say = large.n_vocab
        self._max_cells = max_cells
        self._likeliest = Likeliest()
        self._free = list(range(min(MAX_FOLLOWED, context.n_seq)))[::-1]
        self._followed: dict[Sequence, _Followed] = {}
        """The least recently asked first."""

    def measure(self) -> None:
        """What a token and a piece of a prompt cost: 0.1 s for SmolLM2 on 2 cores. Found out by drafting, that would be
        paid for where it never gains."""
        for at, count in enumerate((1, MIN_PIECE, 1, 1)):
            self.context.clear_batch()
            self.context.add(0, 0, [token % self._n_vocab for token in range(count)], output=True)
            began = time.monotonic()
            if self.context.decode() == OK and at:  # the first one reads the file
                self.costs.learn(count, time.monotonic() - began)
            self.context.remove(0)

    @property
    def used(self) -> int:
        """Cells."""
        return sum(len(followed.known) for followed in self._followed.values())

    def set_threads(self, threads: int, prefill: int) -> None:
        self.context.set_threads(threads, prefill)

    def close(self) -> None:
        self._likeliest.close()
        self.context.close()

    # as drafting/small_model.py asks: see Proposer

    def lacks(self, answer: Sequence) -> int | None:
        if len(answer.tokens) + 1 >= min(self._trained, self._max_cells):
            return None
        lacking = len(answer.tokens) - self._agreed(answer)
        if any(token >= self._n_vocab for token in answer.tokens[-lacking:]):
            return None
        return lacking

    def evaluate(self, answer: Sequence, count: int) -> bool:
        if not self._follow(answer, count):
            return False
        begin = len(self._followed[answer].known)
        return self._decode({answer: answer.tokens[begin : begin + count]}) is not None

    def propose(self, lengths: Mapping[Sequence, int]) -> dict[Sequence, list[int]]:
        due = {}
        for answer, length in lengths.items():
            lacking = len(answer.tokens) - self._agreed(answer)
            if self._follow(answer, lacking + length):
                due[answer] = answer.tokens[-lacking:]
        due = {
            answer: tokens for answer, tokens in due.items() if answer in self._followed
        }  # another may need its cells
        proposed: dict[Sequence, list[int]] = {answer: [] for answer in due}
        while due:
            said = self._decode(due)
            if said is None:
                return {}
            said = {answer: token for answer, token in said.items() if token < self._may_say}
            for answer, token in said.items():
                proposed[answer].append(token)
            due = {answer: [token] for answer, token in said.items() if len(proposed[answer]) < lengths[answer]}
        return proposed

    def forget(self, answer: Sequence) -> None:
        followed = self._followed.pop(answer, None)
        if followed is not None:
            self.context.remove(followed.seq)
            self._free.append(followed.seq)

    # cells

    def _agreed(self, answer: Sequence) -> int:
        """How many of the answer's tokens are in the cells; not the last one, whose logits are wanted. What is behind
        them was proposed and not said, and leaves the cells."""
        followed = self._followed.get(answer)
        if followed is None:
            return 0
        known, tokens, agreed = followed.known, answer.tokens, followed.said
        limit = min(len(known), len(tokens) - 1)
        while agreed < limit and known[agreed] == tokens[agreed]:
            agreed += 1
        agreed = followed.said = min(agreed, limit)
        if agreed < len(known):
            self.context.remove(followed.seq, agreed)
            del known[agreed:]
        return agreed

    def _follow(self, answer: Sequence, more: int) -> bool:
        """Room for so many more of its tokens, and a sequence; False where there is none."""
        if answer in self._followed:
            self._followed[answer] = self._followed.pop(answer)  # the last one now
        else:
            if not self._free:
                self.forget(next(iter(self._followed)))
            self._followed[answer] = _Followed(self._free.pop())
        lacking = self.used + more - self.context.n_cells
        if lacking > 0 and self.context.n_cells < self._max_cells:
            self._grow(lacking)
            return False  # all are empty now: what this answer lacks is more than was asked for
        while self.used + more > self.context.n_cells:
            oldest = next(iter(self._followed))
            if oldest is answer:
                return False
            self.forget(oldest)
        return True

    def _grow(self, lacking: int) -> None:
        wanted = next_size(self.context.n_cells, lacking, self._max_cells)
        self._empty()
        try:
            self.context.resize(wanted)
        except LoadError as error:
            log.warning("no memory for %d cells of the draft model: %s", wanted, error)
            self._max_cells = self.context.n_cells

    def _empty(self) -> None:
        for answer in list(self._followed):
            self.forget(answer)

    # batches

    def _decode(self, due: Mapping[Sequence, list[int]]) -> dict[Sequence, int] | None:
        """Evaluate these tokens; the likeliest next one of each. None when llama.cpp refuses: then all is forgotten."""
        context = self.context
        began = time.monotonic()
        context.clear_batch()
        for answer, tokens in due.items():
            followed = self._followed[answer]
            context.add(followed.seq, len(followed.known), tokens, output=True)
        if (status := context.decode()) != OK:
            log.warning("llama_decode of the draft model failed with %d", status)
            self._empty()
            return None
        said = dict(self._choose(due))
        self.costs.learn(context.n_tokens, time.monotonic() - began)
        return said

    def _choose(self, due: Mapping[Sequence, list[int]]) -> Iterator[tuple[Sequence, int]]:
        place = -1
        for answer, tokens in due.items():
            place += len(tokens)
            self._followed[answer].known += tokens
            yield answer, self._likeliest.of(self.context, place)
