"""The engine: schedule -> decode -> sample -> detokenize, for every request at once."""

from __future__ import annotations

import logging
import time

from threadrunner.engine.adapters import Turns
from threadrunner.engine.admission import Admission
from threadrunner.engine.batching import up_to_pictures
from threadrunner.engine.candidates import CandidateMaker
from threadrunner.engine.choosing import choose
from threadrunner.engine.events import Broken, Ended, Event, Prefilled, Text
from threadrunner.engine.interruption import Interruption
from threadrunner.engine.kv.cells import Cells
from threadrunner.engine.kv.compaction import Compaction
from threadrunner.engine.kv.growth import Growth
from threadrunner.engine.kv.parking import Parking
from threadrunner.engine.limits import Limits, must_generate
from threadrunner.engine.llama.context import ABORTED, NO_ROOM, OK, Context
from threadrunner.engine.llama.errors import EngineError
from threadrunner.engine.llama.model import Model
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.scheduler import Chunk, Scheduler, batch_of
from threadrunner.engine.scoring import score_prompts, scored_in_parts
from threadrunner.engine.sequence import Request, Sequence
from threadrunner.engine.sight import Sight
from threadrunner.engine.speculation import SpeculativeDecoding
from threadrunner.engine.steady import BatchFiller, SteadyPlan
from threadrunner.engine.waiting import Waiting, end_outgrown

log = logging.getLogger("threadrunner.engine")


class Engine:
    """All requests of one model: the queue, the running sequences, and one batch after another for them.

    The backend calls it on one thread: `add` and `cancel` between steps, `step` while `busy`. What is
    on its way is told to `interruption`, which alone another thread may call.
    """

    def __init__(self, model: Model, vocab: Vocab, context: Context, limits: Limits, parking: Parking) -> None:
        """It owns the context from now on, and closes it; the model stays the caller's."""
        self._model = model
        self._vocab = vocab
        self.context = context
        self.limits = limits
        self._maker = CandidateMaker(model, vocab)
        self.guide = self._maker.guide
        self.scheduler = Scheduler(abortable=context.abortable and not model.recurrent)
        self.cells = Cells(context, parking, recurrent=model.recurrent, window=model.n_swa)
        self.speculation = SpeculativeDecoding(self.cells, limits.context, recurrent=model.recurrent)
        self._turns: Turns[Sequence] = Turns()
        self.sight: Sight | None = None  # for a model that takes pictures; ours from then on
        self._steady = SteadyPlan(self.cells)
        self._filler = BatchFiller(context)
        self._waiting = Waiting()
        self._growth = Growth(context, self.cells, limits.cells, self._waiting.add)
        self._compaction = Compaction(self.cells, self._waiting.add, allowed=context.abortable)
        self._admission = Admission(self._waiting, self.cells)
        self._siblings: dict[int, list[Sequence]] = {}
        """By request, the candidates that wait for the first one's prompt to be evaluated."""
        self.interruption = Interruption(context, min_prefill=self.scheduler.min_chunk, recurrent=model.recurrent)

    @property
    def active(self) -> int:
        return len(self.cells.running)

    @property
    def queued(self) -> int:
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        return bool(self.cells.running or self._waiting)

    def add(self, request: Request) -> None:
        """Take a request; its end is an Ended for each candidate, or one Broken, from later steps. Raises
        PromptTooLong, QueueFull, BadGrammar, and Unsupported for a model that only embeds."""
        must_generate(self._model, remembers=self.context.remembers)
        self.limits.check(len(request.prompt), len(self._waiting), self.active)
        candidates = self._maker.candidates(request)
        if len(candidates) > 1:
            self._siblings[request.id] = candidates[1:]
        self._waiting.add(candidates[0])

    def cancel(self, id: int) -> None:
        """Forget a request; an unknown id is not an error. What was evaluated stays in the cache: a client that cancels
        often asks again."""
        for sequence in self._waiting.forget(id):
            self.speculation.ended(sequence)  # it may have run before
        for sibling in self._siblings.pop(id, []):
            sibling.sampler.close()
        for sequence in [s for s in self.cells.running if s.request.id == id]:
            self.cells.finish(sequence)
            self._admission.ended()
            self.speculation.ended(sequence)

    # the step

    def step(self) -> list[Event]:
        """Admit what waits, evaluate one batch, sample a token of each sequence whose logits it gave: what came of it
        in order, for each sequence in a row.

        Nothing comes of it when there is nothing to do, or after an abort. It takes as long as one batch: Scheduler
        bounds that, and an announcement shortens it. Between two steps the caller must take the messages that have
        arrived, or what was announced is never expected again. An error of one request is its Broken; an exception is
        a defect.
        """
        if self._waiting:
            if outgrown := end_outgrown(self._waiting, self.limits.context, self.cancel, self._finish):
                return outgrown
            self.admit()
        cautious = self.interruption.begin_step()
        if self.sight is not None and (looking := self.sight.turn(self.cells.running)) is not None:
            return [] if cautious else self._look(looking, self.sight)
        chunks = self._next_batch(cautious)
        if not chunks:
            return []
        context, same = self.context, self._filler.fill(chunks)
        began = time.monotonic()
        if not self.interruption.begin_batch(() if same else chunks):
            return []
        status = context.decode()
        self.interruption.end_batch()
        if status != OK:
            self._steady.forget()
            return self._recover(chunks, status)
        if not (same and self._steady.plain):
            seconds = time.monotonic() - began
            self.scheduler.pace.learn(context.n_tokens, seconds, len(chunks))
            self.speculation.learn(chunks, context.n_tokens, seconds)
        if not same:
            score_prompts(context, chunks)
        events: list[Event] = []
        for chunk in chunks:
            if chunk.sequence.seq >= 0:  # else its request broke on another candidate a moment ago
                self._evaluated(chunk, events)
        if self.cells.after_batch():
            self._compaction.turn()
        return events

    def _next_batch(self, cautious: bool) -> list[Chunk[Sequence]]:
        """What there is room for: last time's, where nothing has changed."""
        if (chunks := self._steady.next()) is None:
            chunks = self._make_room(self._plan(cautious))
            self._steady.planned(chunks, self.speculation.never(chunks))
        elif self._steady.plain:
            return chunks
        longer = self.speculation.extend(chunks)
        if longer is not chunks:
            self._steady.forget()
            longer = self._make_room(longer)
        return longer

    def _plan(self, cautious: bool = False) -> list[Chunk[Sequence]]:
        readers, others_wait = self._turns.take([s for s in self.cells.running if s.span is None])
        plan = scored_in_parts(self.scheduler.schedule(readers, cautious or others_wait))
        return self.cells.before_last(up_to_pictures(plan))

    def _look(self, sequence: Sequence, sight: Sight) -> list[Event]:
        """A step for a sequence's picture: it is encoded, or a part of what came of that is evaluated."""
        try:
            if sight.encode(sequence):
                return []
        except EngineError as error:
            self.cancel(sequence.request.id)
            return [Broken(sequence.request.id, error)]
        size = sight.room(sequence, self.scheduler, others=len(self.cells.running) > 1)
        chunks = self._make_room([Chunk(sequence, size, None)])
        if chunks != [Chunk(sequence, size, None)] or not self.interruption.begin_batch(chunks):
            return []  # it lost its place, or has got another
        self.context.apply(sequence.request.blend.parts)
        status = sight.decode(sequence, size, self.scheduler.pace)
        self.interruption.end_batch()
        if status != OK:
            return self._recover(chunks, status)
        sequence.evaluated += size
        self.cells.after_batch()
        return [Prefilled(sequence.request.id, sequence.evaluated, len(sequence.tokens))]

    def _evaluated(self, chunk: Chunk[Sequence], events: list[Event]) -> None:
        sequence = chunk.sequence
        sequence.evaluated += chunk.size
        if sequence.generated and chunk.logits_at is not None:
            self._sample(sequence, chunk.logits_at, events)
        else:
            self._advance(sequence, chunk.logits_at, events)
        if chunk.draft:
            for place in self.speculation.accepted(chunk):
                self._sample(sequence, place, events)
        if not self._steady.plain:
            self.speculation.sampled(sequence)

    def _advance(self, sequence: Sequence, logits_at: int | None, events: list[Event]) -> None:
        """A part of its prompt, or of what must be evaluated again, was evaluated: its next token, if that was all."""
        if logits_at is None:
            self.cells.checkpoint(sequence)
            if sequence.generated == 0:
                events.append(Prefilled(sequence.request.id, sequence.evaluated, len(sequence.tokens)))
            return
        self.cells.publish(sequence)
        self._start_siblings(sequence, logits_at, events)
        if sequence.seq >= 0:
            self._sample(sequence, logits_at, events)

    def _sample(self, sequence: Sequence, logits_at: int, events: list[Event]) -> None:
        request = sequence.request
        if request.max_tokens == 0:
            events.append(self._end(sequence, "length"))
            return
        try:
            token, logprob = choose(sequence, self.context, logits_at)
            sequence.generated += 1
            if sequence.generated == 1:
                sequence.first_token_at = time.monotonic()
            if self._vocab.ends_generation(token) or token in request.stop_tokens:
                self._finish(sequence, "stop", events)
                return
            sequence.tokens.append(token)
            utterance = sequence.utterance
            data = request.markers.get(token) or self._vocab.piece(token)
            if logprob is not None and not utterance.takes(data):
                sequence.logprobs.append((logprob, utterance.position))
            parts = utterance.add(data)
        except EngineError as error:  # no token to choose, or what the answer is to be kept to cannot be followed
            self.cancel(request.id)
            events.append(Broken(request.id, error))
            return
        for part in parts:
            events.append(Text(request.id, sequence.index, part, sequence))  # noqa: PERF401 - a comprehension is a call
        if utterance.stopped or sequence.sampler.complete:
            self._finish(sequence, "stop", events)
        elif sequence.generated == request.max_tokens or len(sequence.tokens) >= self.limits.context:
            self._finish(sequence, "length", events)

    def _finish(self, sequence: Sequence, reason: str, events: list[Event]) -> None:
        rest = sequence.utterance.finish(cut=reason == "length")
        events += [Text(sequence.request.id, sequence.index, part, sequence) for part in rest]
        events.append(self._end(sequence, reason))

    def _end(self, sequence: Sequence, reason: str) -> Ended:
        if sequence.seq >= 0:
            self.cells.finish(sequence)
            self._admission.ended()
        self.speculation.ended(sequence)
        sequence.sampler.close()
        said, logprobs = sequence.utterance, sequence.utterance.shares(sequence.logprobs)
        return Ended(sequence.request.id, sequence.index, said.text, reason, sequence, logprobs, said.told())

    # sequences come and go

    def admit(self) -> None:
        """Let those that wait run, as far as there is room; each `step` begins with it."""
        self._admission.admit(self.limits.max_running, self._grow)

    def _start_siblings(self, sequence: Sequence, logits_at: int, events: list[Event]) -> None:
        """The other candidates fork the prompt and take their first token from the same logits."""
        for sibling in self._siblings.pop(sequence.request.id, []):
            if sequence.seq < 0:  # a sibling before this one has broken the request
                sibling.sampler.close()
                continue
            if self.active >= self.limits.max_running or not self.cells.fork(sequence, sibling):
                self._waiting.add(sibling)
                continue
            sibling.started_at = sequence.started_at
            self._sample(sibling, logits_at, events)

    def _make_room(self, chunks: list[Chunk[Sequence]]) -> list[Chunk[Sequence]]:
        """Evict unused leaves for the batch's tokens; where that is not enough, send the newest sequence back."""
        while sum(chunk.size + len(chunk.draft) for chunk in chunks) > self.cells.free():
            if self.cells.evict_one():
                continue
            if self._grow(1):
                return self._make_room(self._plan())
            victim = self._admission.send_back()
            chunks = batch_of((sequence, size) for sequence, size, *_ in chunks if sequence is not victim)
        return chunks

    def _grow(self, lacking: int) -> bool:
        moved = self._growth.grow(lacking)
        self.limits = self.limits.within(self._growth.max_cells)
        return moved

    def preempt(self, sequence: Sequence) -> None:
        """Send a running sequence back to the queue: it loses its cells, not its text."""
        self._admission.preempt(sequence)

    def _recover(self, chunks: list[Chunk[Sequence]], status: int) -> list[Event]:
        """After an abort or a failure: what llama.cpp has in the cache is what counts."""
        for sequence, *_ in chunks:
            self.cells.resync(sequence)
            if sequence.seq < 0:
                self._waiting.add(sequence)
            elif sequence.scoring:  # of what is in the cache, the logits of a part may be lost
                self.cells.rewind(sequence, len(sequence.prompt_logprobs))
        if status == ABORTED:
            return []
        if status == NO_ROOM and (self.cells.evict_one() or self._admission.run_fewer()):
            log.warning("llama.cpp found no room that our accounting has: %r", self.cells.cache)
            return []
        failed = {chunk.sequence.request.id for chunk in chunks}
        for id in failed:
            self.cancel(id)
        return [Broken(id, EngineError(f"llama_decode failed with {status}")) for id in failed]

    def close(self) -> None:
        """Saves the hottest leaves, then gives everything back."""
        for sequence in list(self.cells.running):
            self.cells.finish(sequence)
            sequence.sampler.close()
        self.cells.save()
        for sequence in [*self._waiting, *(s for group in self._siblings.values() for s in group)]:
            sequence.sampler.close()
        self.guide.close()
        if self.sight is not None:
            self.sight.close()
        self.context.close()
