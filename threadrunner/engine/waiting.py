"""Sequences that wait to run, the most urgent first and of those the oldest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from threadrunner.engine.errors import PromptTooLong
from threadrunner.engine.events import Broken, Event
from threadrunner.engine.kv.prefix_cache import PrefixCache, common_length
from threadrunner.engine.sequence import Sequence

WORTH_A_WAIT = 64
"""Tokens; a prompt waits for another that evaluates this many of its own."""


class Waiting:
    """The queue of one engine."""

    def __init__(self) -> None:
        self._sequences: list[Sequence] = []

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[Sequence]:
        """As they are now: the queue may change meanwhile."""
        return iter(list(self._sequences))

    def add(self, sequence: Sequence) -> None:
        self._sequences.append(sequence)
        self._sequences.sort(key=lambda s: (s.priority, s.arrival))

    def remove(self, sequence: Sequence) -> None:
        self._sequences.remove(sequence)

    def forget(self, id: int) -> list[Sequence]:
        """All of a request's, which wait no longer."""
        forgotten = [s for s in self._sequences if s.request.id == id]
        self._sequences = [s for s in self._sequences if s.request.id != id]
        return forgotten


def end_outgrown(
    waiting: Waiting,
    context: int,
    cancel: Callable[[int], None],
    finish: Callable[[Sequence, str, list[Event]], None],
) -> list[Event]:
    """The end of those that have as many tokens as a sequence can ever have cells, or more. None waits like that but
    where the system had no memory for the cells that were planned: then it would wait for ever, and all behind it."""
    events: list[Event] = []
    for sequence in waiting:
        id, tokens = sequence.request.id, len(sequence.tokens)
        if tokens < context:
            continue
        if sequence.generated:
            waiting.remove(sequence)
            finish(sequence, "length", events)
        else:
            cancel(id)
            events.append(Broken(id, PromptTooLong(tokens, context)))
    return events


def soon_known(sequence: Sequence, running: Iterable[Sequence], cache: PrefixCache) -> bool:
    """Whether a sequence no less urgent evaluates much of its prompt at present that is not in the cache: several
    requests with one long text between them, sent at once, would each evaluate it."""
    blend = sequence.blend
    leaders = [s for s in running if not s.generated and s.priority <= sequence.priority and s.blend == blend]
    if not leaders or sequence.scoring:
        return False
    shared = max(common_length(leader.tokens, sequence.tokens) for leader in leaders)
    return shared >= WORTH_A_WAIT and shared >= cache.match(sequence.known_as(len(sequence.tokens)))[0] + WORTH_A_WAIT
