"""Which tokens to draft for which answer: the sources, each with its own record, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from threadrunner.engine.drafting.ngrams import Follower, Passages
from threadrunner.engine.drafting.payoff import MAX_DRAFT, MIN_GAIN, Reliability, StepCosts, best_length
from threadrunner.engine.drafting.small_model import Answering, SmallModel

OWN, RECENT, FORCED, MODEL = "own", "recent", "forced", "model"
"""Where a draft comes from: the answer's own prompt and text; what was said to others lately; a grammar that allows
nothing else; a small model."""
FIRST_DRAFT, SHORTEST_DRAFT = 4, 2
"""Tokens. One answer's likeness to a passage says little of the next one's: where each began with 15, an explanation
after some copied passages lost 9 % to drafts of which one in five tokens came true."""
RECENT_TOKENS = 32_768
"""Kept of what was said lately; about 5 MB."""


S = TypeVar("S", bound=Answering)


class Draft(NamedTuple):
    source: str
    tokens: list[int]


@dataclass(slots=True)
class Record:
    """Of one source, in tokens."""

    drafted: int = 0
    accepted: int = 0
    reliability: Reliability = field(default_factory=Reliability)


class _Track:
    """One answer's place in each source."""

    def __init__(self, tokens: list[int], recent: Passages, records: dict[str, Record]) -> None:
        self.reliability = {source: records[source].reliability.for_one() for source in (OWN, RECENT)}
        self.seen = len(tokens)
        self.longest = {OWN: FIRST_DRAFT, RECENT: FIRST_DRAFT}
        """Tokens that a draft from each source may have: twice as many after one that came true, else fewer."""
        self.own = Passages(tokens[:-1])
        self.own_follower, self.recent_follower = Follower(self.own), Follower(recent)
        self.followers = {OWN: self.own_follower, RECENT: self.recent_follower}
        for follower in self.followers.values():
            follower.follow(tokens, len(tokens))
        self.own.extend(tokens[-1:])


class Drafter(Generic[S]):
    """Proposes drafts before each step and is told after it what was said. Knows tokens and times, no model."""

    def __init__(self, small: SmallModel[S] | None = None) -> None:
        self.costs = StepCosts()
        self.records = {source: Record() for source in (OWN, RECENT, FORCED, MODEL)}
        self._small = small
        self._tracks: dict[S, _Track] = {}
        self._recent = Passages()

    def plan(
        self,
        answers: Iterable[S],
        room: Callable[[S], int],
        may_guess: Callable[[S], bool],
        forced: Callable[[S], list[int]],
    ) -> dict[S, Draft]:
        """Drafts for answers of which each has one token in the next batch; most have none.

        `room` says how many more tokens an answer may get, `forced` which ones its grammar leaves no choice about, and
        `may_guess` whether it gets others too.
        """
        answers = list(answers)
        beside = len(answers)
        drafts: dict[S, Draft] = {}
        asked: dict[S, int] = {}
        for answer in answers:
            sure, guess = forced(answer), may_guess(answer) and self._has_guess(answer)
            if not sure and not guess:
                continue
            rest = room(answer)
            limit = min(rest, MAX_DRAFT + 1 - beside)
            if limit <= 0:
                continue
            draft: Draft | None = None
            if sure:
                draft = Draft(FORCED, sure[:limit])
            else:
                draft, gain = self._repeated(answer, limit, beside)
                if length := self._wish(answer, rest, limit, beside, gain):
                    draft, asked[answer] = None, length
            if draft is not None:
                drafts[answer] = draft
            beside += len(draft.tokens) if draft is not None else asked.get(answer, 0)
        if asked and self._small is not None:
            proposed = self._small.proposer.propose(asked)
            drafts |= {answer: Draft(MODEL, tokens) for answer, tokens in proposed.items() if tokens}
        return drafts

    def _has_guess(self, answer: S) -> bool:
        """Whether any source may have a guess; nearly always none has."""
        track = self._tracks.get(answer)
        if track is None:
            # Not at the first token, whose reader waits: a prompt of 8,000 tokens takes 3 ms to index.
            self._tracks[answer] = _Track(answer.tokens, self._recent, self.records)
            return self._small is not None
        return bool(self._small is not None or track.own_follower.agreed or track.recent_follower.agreed)

    def _repeated(self, answer: S, limit: int, beside: int) -> tuple[Draft | None, float]:
        """From the passages that the answer repeats, and the factor by which that is faster than no draft."""
        track = self._tracks[answer]
        best, best_gain = None, 1.0
        for source, follower in track.followers.items():
            if not follower.agreed:
                continue
            proposed = follower.next(min(limit, track.longest[source]))
            chances = track.reliability[source].chances(follower.agreed, len(proposed))
            length, gain = best_length(chances, self.costs, beside)
            if gain > best_gain:
                best, best_gain = Draft(source, proposed[:length]), gain
        return (best, best_gain) if best is not None and best.tokens else (None, 1.0)

    def _wish(self, answer: S, rest: int, limit: int, beside: int, gain: float) -> int:
        """How many tokens to ask the small model for, if that is faster still."""
        if self._small is None:
            return 0
        length, more = self._small.wish(answer, rest, beside, self.costs, limit)
        return length if more > gain else 0

    def said(self, answer: S) -> None:
        """The answer's tokens have grown: by the one that was due, and by those of its draft that came true."""
        track = self._tracks.get(answer)
        if track is None:
            return
        tokens = answer.tokens
        for end in range(track.seen + 1, len(tokens) + 1):
            self._step(track, tokens, end)
        track.seen = len(tokens)

    def _step(self, track: _Track, tokens: list[int], end: int) -> None:
        said = tokens[end - 1]
        for source, follower in track.followers.items():
            if follower.agreed and (proposed := follower.next(1)):
                came_true = proposed[0] == said
                track.reliability[source].observe(follower.agreed, came_true)
                self.records[source].reliability.observe(follower.agreed, came_true)
            follower.follow(tokens, end)
        track.own.extend([said])

    def settled(self, answer: S, draft: Draft, accepted: int) -> None:
        """How many tokens of its draft came true."""
        track = self._tracks.get(answer)
        if track is not None and draft.source in track.longest:
            came_true = accepted == len(draft.tokens)
            track.longest[draft.source] = 2 * accepted if came_true else max(SHORTEST_DRAFT, accepted)
        if draft.source == MODEL and self._small is not None:
            self._small.settled(answer, len(draft.tokens), accepted)
        record = self.records[draft.source]
        record.drafted += len(draft.tokens)
        record.accepted += accepted

    def forget_recent(self) -> None:
        """What was said so far is no source any more."""
        self._recent = Passages()

    def ended(self, answer: S, prompt_tokens: int) -> None:
        """The answer is complete, or no longer wanted. Its text, without its prompt, is what others may repeat."""
        if self._small is not None:
            self._small.ended(answer)
        if self._tracks.pop(answer, None) is None:
            return
        said = answer.tokens[prompt_tokens:]
        if len(self._recent.tokens) + len(said) > RECENT_TOKENS:
            # answers under way go on following the old ones
            self._recent = Passages(self._recent.tokens[-RECENT_TOKENS // 2 :])
        self._recent.extend(said)


__all__ = ["FORCED", "MIN_GAIN", "MODEL", "OWN", "RECENT", "Draft", "Drafter", "Record"]
