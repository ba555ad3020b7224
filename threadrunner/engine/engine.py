"""The engine: schedule -> decode -> sample -> detokenize, for every request at once."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from threadrunner.engine.cells import Cells
from threadrunner.engine.errors import PromptTooLong, QueueFull, Unsupported
from threadrunner.engine.events import Broken, Ended, Event, Prefilled, Text
from threadrunner.engine.kv_store import KvStore
from threadrunner.engine.llama.context import ABORTED, NO_ROOM, OK, Context
from threadrunner.engine.llama.errors import BadGrammar, EngineError
from threadrunner.engine.llama.model import Model
from threadrunner.engine.llama.sampler import Sampler
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prefix_cache import common_length
from threadrunner.engine.prompts.detokenizer import Detokenizer
from threadrunner.engine.scheduler import Scheduler
from threadrunner.engine.sequence import Request, Sequence

log = logging.getLogger("threadrunner.engine")

WORTH_A_WAIT = 64
"""Tokens; so many that another evaluates are waited for."""


@dataclass(frozen=True, slots=True)
class Limits:
    context: int
    """Most tokens of one sequence."""
    max_running: int = 16
    max_queued: int = 64


class Engine:
    def __init__(
        self, model: Model, vocab: Vocab, context: Context, limits: Limits, store: KvStore | None = None
    ) -> None:
        self._model = model
        self._vocab = vocab
        self._context = context
        self.limits = limits
        self.scheduler = Scheduler()
        self.cells = Cells(model, context, store)
        self._waiting: list[Sequence] = []
        self._running = self.cells.running
        self._siblings: dict[int, list[Sequence]] = {}
        self._arrivals = 0
        self._announced = 0
        self._arrived = 0
        self._in_flight: _InFlight | None = None

    # requests

    @property
    def active(self) -> int:
        return len(self._running)

    @property
    def queued(self) -> int:
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        return bool(self._running or self._waiting)

    def set_threads(self, threads: int) -> None:
        self._context.set_threads(threads)

    def add(self, request: Request) -> None:
        """Raises PromptTooLong, QueueFull, BadGrammar."""
        if self._model.only_embeds:
            raise Unsupported("this model only embeds; it cannot generate")
        if len(request.prompt) >= self.limits.context:
            raise PromptTooLong(len(request.prompt), self.limits.context)
        free = max(0, self.limits.max_running - len(self._running))
        if len(self._waiting) >= self.limits.max_queued + free:
            raise QueueFull(len(self._waiting), self.limits.max_queued)
        seed = request.sampling.seed
        if seed is None:
            seed = int.from_bytes(os.urandom(4), "little")
        candidates = [self._candidate(request, i, (seed + i) % 0xFFFFFFFF) for i in range(request.n)]
        if len(candidates) > 1:
            self._siblings[request.id] = candidates[1:]
        self._enqueue(candidates[0])

    def _candidate(self, request: Request, index: int, seed: int) -> Sequence:
        # llama.cpp takes seed 2**32 - 1 for "make one up", hence the modulus in add()
        sampler = Sampler(self._model, self._vocab, request.sampling, seed, request.forced)
        sampler.see_prompt(request.prompt)
        cutters = request.cutters() if request.cutters else []
        text = Detokenizer(request.stops, cutters, skip=len(request.forced))
        self._arrivals += 1
        return Sequence(request, index, sampler, text, self._arrivals, list(request.prompt))

    def _enqueue(self, sequence: Sequence) -> None:
        self._waiting.append(sequence)
        self._waiting.sort(key=lambda s: (s.priority, s.arrival))

    def cancel(self, id: int) -> None:
        """What was evaluated stays in the cache: who cancels often asks again."""
        self._waiting = [s for s in self._waiting if s.request.id != id]
        for sibling in self._siblings.pop(id, []):
            sibling.sampler.close()
        for sequence in [s for s in self._running if s.request.id == id]:
            self.cells.leave(sequence)

    # interruption: called on another thread, which says that a message is coming before the loop's thread has it

    def interrupt(self, priority: int) -> None:
        """Stop the batch under way if it is a prefill that a request of this priority should not wait for."""
        self._announced += 1
        flight = self._in_flight
        if self._model.recurrent:
            return  # an aborted prefill would begin again from its first token
        if flight is not None and flight.prefill > self.scheduler.min_chunk and priority <= flight.priority:
            self._context.set_abort()

    def interrupt_request(self, id: int | None) -> None:
        """Stop the batch under way if it is this request's prefill; with None, whatever it is."""
        self._announced += 1
        flight = self._in_flight
        if flight is not None and (id is None or id in flight.prefilling):
            self._context.set_abort()

    def arrived(self) -> None:
        """On the loop's thread: an announced message is here."""
        self._arrived = min(self._arrived + 1, self._announced)

    # the step

    def step(self) -> list[Event]:
        self._context.clear_abort()
        self._admit()
        announced = self._announced
        cautious, self._arrived = announced != self._arrived, announced
        plan = self.scheduler.plan(self._running, cautious)
        plan = self._make_room(plan)
        if not plan:
            return []
        outputs = self._fill(plan)
        began = time.monotonic()
        self._in_flight = _InFlight.of(plan)
        if self._announced != announced:
            # announced after the plan was made and, perhaps, before it could be seen in flight
            self._in_flight, self._arrived = None, announced
            return []
        status = self._context.decode()
        self._in_flight = None
        if status != OK:
            return self._recover(plan, status)
        tokens = self._context.n_tokens
        if tokens > len(outputs):
            self.scheduler.pace.learn(tokens, time.monotonic() - began)
        events: list[Event] = []
        for (sequence, count), index in zip(plan, outputs, strict=True):
            if sequence.seq < 0:
                continue  # its request broke on another candidate a moment ago
            events.extend(self._advance(sequence, count, index))
        return events

    def _fill(self, plan: list[tuple[Sequence, int]]) -> list[int]:
        """The batch, and for each part of the plan the index of its logits (-1: a prompt's middle has none)."""
        context = self._context
        context.clear_batch()
        outputs = []
        for sequence, count in plan:
            begin, end = sequence.evaluated, sequence.evaluated + count
            last = end == len(sequence.tokens)
            context.add(sequence.seq, begin, sequence.tokens[begin:end], last)
            outputs.append(context.n_tokens - 1 if last else -1)
        return outputs

    def _advance(self, sequence: Sequence, count: int, index: int) -> Iterator[Event]:
        """`count` more tokens of the sequence are evaluated; sample its next one if they were the last."""
        sequence.evaluated += count
        if index < 0:
            if sequence.generated == 0:
                yield Prefilled(sequence.request.id, sequence.evaluated, len(sequence.tokens))
            return
        if sequence.generated == 0:
            self.cells.publish(sequence)
            yield from self._start_siblings(sequence, index)
            if sequence.seq < 0:
                return
        yield from self._sample(sequence, index)

    def _sample(self, sequence: Sequence, index: int) -> Iterator[Event]:
        request = sequence.request
        if request.max_tokens == 0:
            yield self._end(sequence, "length")
            return
        try:
            token, logprob = sequence.sampler.sample(self._context, index)
        except BadGrammar as error:
            self.cancel(request.id)
            yield Broken(request.id, error)
            return
        sequence.generated += 1
        if sequence.generated == 1:
            sequence.first_token_at = time.monotonic()
        if self._vocab.ends_generation(token) or token in request.stop_tokens:
            yield from self._finish(sequence, "stop")
            return
        sequence.tokens.append(token)
        if logprob is not None:
            sequence.logprobs.append(logprob)
        text = sequence.detokenizer
        piece = text.add(self._vocab.piece(token))
        if piece:
            yield Text(request.id, sequence.index, piece)
        if text.stopped:
            yield from self._finish(sequence, "stop")
        elif sequence.generated == request.max_tokens or len(sequence.tokens) >= self.limits.context:
            yield from self._finish(sequence, "length")

    def _finish(self, sequence: Sequence, reason: str) -> Iterator[Event]:
        text = sequence.detokenizer
        if not text.stopped and (rest := text.finish()):
            yield Text(sequence.request.id, sequence.index, rest)
        yield self._end(sequence, reason)

    def _end(self, sequence: Sequence, reason: str) -> Ended:
        self.cells.leave(sequence)
        sequence.sampler.close()
        request = sequence.request
        return Ended(request.id, sequence.index, sequence.detokenizer.text, reason, sequence, sequence.logprobs)

    # sequences come and go

    def _admit(self) -> None:
        for sequence in list(self._waiting):
            if len(self._running) >= self.limits.max_running:
                return
            if self._soon_known(sequence):
                continue
            if not self.cells.place(sequence):
                return
            self._waiting.remove(sequence)
            sequence.started_at = sequence.started_at or time.monotonic()

    def _soon_known(self, sequence: Sequence) -> bool:
        """Whether somebody no less urgent evaluates much of its prompt just now: several requests with one long text
        between them, sent at once, would each evaluate it."""
        leaders = [s for s in self._running if not s.generated and s.priority <= sequence.priority]
        if not leaders or self._model.recurrent:
            return False
        shared = max(common_length(leader.tokens, sequence.tokens) for leader in leaders)
        return shared >= WORTH_A_WAIT and shared >= self.cells.cache.match(sequence.tokens)[0] + WORTH_A_WAIT

    def _start_siblings(self, sequence: Sequence, index: int) -> Iterator[Event]:
        """The other candidates fork the prompt and take their first token from the same logits."""
        for sibling in self._siblings.pop(sequence.request.id, []):
            if len(self._running) >= self.limits.max_running or not self.cells.fork(sequence, sibling):
                self._enqueue(sibling)
                continue
            sibling.started_at = sequence.started_at
            yield from self._sample(sibling, index)

    def _make_room(self, plan: list[tuple[Sequence, int]]) -> list[tuple[Sequence, int]]:
        """Evict unused leaves for the plan's tokens; where that is not enough, send the newest sequence back."""
        while sum(count for _, count in plan) > self.cells.free():
            if self.cells.evict_one():
                continue
            victim = max(self._running, key=lambda s: (s.priority, s.arrival))
            log.info("out of cells: %r goes back to the queue", victim)
            self._preempt(victim)
            plan = [(s, count) for s, count in plan if s is not victim]
        return plan

    def _preempt(self, sequence: Sequence) -> None:
        self.cells.take_back(sequence)
        self._enqueue(sequence)

    def _recover(self, plan: list[tuple[Sequence, int]], status: int) -> list[Event]:
        """After an abort or a failure: believe llama.cpp about what is in the cache."""
        for sequence, _ in plan:
            self.cells.believe(sequence)
        if status == ABORTED:
            return []
        if status == NO_ROOM and self.cells.evict_one():
            log.warning("llama.cpp found no room that our accounting has: %r", self.cells.cache)
            return []
        failed = {sequence.request.id for sequence, _ in plan}
        for id in failed:
            self.cancel(id)
        return [Broken(id, EngineError(f"llama_decode failed with {status}")) for id in failed]

    def close(self) -> None:
        """Keeps the hottest leaves, then gives everything back."""
        for sequence in list(self._running):
            self.cells.leave(sequence)
            sequence.sampler.close()
        self.cells.keep()
        for sequence in [*self._waiting, *(s for group in self._siblings.values() for s in group)]:
            sequence.sampler.close()
        self._context.close()


@dataclass(frozen=True, slots=True)
class _InFlight:
    """What the batch under way is, for the thread that may want to stop it."""

    prefill: int
    priority: int
    prefilling: frozenset[int]

    @classmethod
    def of(cls, plan: list[tuple[Sequence, int]]) -> _InFlight:
        prefill = [(s, count) for s, count in plan if not s.decoding]
        return cls(
            sum(count for _, count in prefill),
            min((s.priority for s, _ in prefill), default=0),
            frozenset(s.request.id for s, _ in prefill),
        )
