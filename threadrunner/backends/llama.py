"""The llama.cpp backend: api types to engine calls, engine events and errors to the backend's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from threadrunner import machine
from threadrunner.api import errors
from threadrunner.api.generation import (
    MAX_NUMBERS,
    AppliedTemplate,
    ApplyTemplateParams,
    Detokenized,
    DetokenizeParams,
    Embedded,
    EmbedParams,
    GenerateParams,
    InfillParams,
    Ranked,
    Reranked,
    RerankParams,
    TokenizeParams,
    Usage,
)
from threadrunner.backends import seeing
from threadrunner.backends.answer import AnswerBuilder
from threadrunner.backends.base import Event, Finished, ModelFacts, ModelSpec, Params, Progress
from threadrunner.backends.failures import api_error, failed
from threadrunner.backends.loading import LoadedModel, load
from threadrunner.backends.requests import priority_of
from threadrunner.backends.tokens import text_of, tokens_of
from threadrunner.engine.embedder import EmbedJob
from threadrunner.engine.events import Broken, Ended, Prefilled, Text
from threadrunner.engine.llama import arrays
from threadrunner.engine.llama.errors import EngineError, LoadError
from threadrunner.engine.llama.recommended import recommended
from threadrunner.engine.sequence import Request
from threadrunner.system import cores

log = logging.getLogger("threadrunner.backends.llama")

WAIT = 0.05
"""Seconds of a step that can do nothing but wait: messages that arrive are taken after it."""


class LlamaBackend:
    """See threadrunner.backends.base."""

    def __init__(self) -> None:
        self._loaded: LoadedModel | None = None
        self._answers: dict[int, AnswerBuilder] = {}
        self._top: dict[int, int] = {}
        """Of each rerank request, how many results it wants."""
        self._ready: list[Event] = []
        """For the next step: the results of requests that are answered at once."""
        self._making = False
        """What makes matchers."""
        self._postponed: dict[int, Request] = {}
        """They have a constraint, and wait for that."""
        self._rested = False
        """Nothing has been computed yet for the requests that there are."""

    @property
    def loaded(self) -> LoadedModel:
        """What `load` made; for tests and benchmarks too."""
        assert self._loaded is not None, "load() comes first"
        return self._loaded

    # life

    def load(self, spec: ModelSpec, report: Callable[[int, int], None]) -> ModelFacts:
        began = time.monotonic()
        try:
            loaded, size, attempt = load(spec, report)
        except LoadError as error:
            raise errors.ModelLoadFailed(
                f"{spec.name or spec.path}: {error}", reason=str(error), path=spec.path
            ) from error
        facts: dict[str, Any] = {
            "backend": "llama",
            "description": loaded.model.description(),
            "parameters": loaded.model.n_params,
            "model_bytes": loaded.model.size_bytes,
            "trained_context": loaded.model.n_ctx_train,
            "threads": loaded.threads.decode,
            "threads_batch": loaded.threads.prefill,
            "cache": size.reason,
            "sampling": recommended(loaded.model.meta).said,
            "max_cells": size.cells,
            "cache_bytes": size.cells * loaded.model.cell_bytes(*attempt.attention.types),
            **attempt.facts(loaded.model),
            **(loaded.draft.facts() if loaded.draft else {}),
            **seeing.facts(spec, loaded.requests.blind_because),
            **loaded.requests.adapters.facts(),
            "load_ms": round((time.monotonic() - began) * 1e3, 1),
        }
        self._loaded = loaded
        log.info("%s: %s", spec.name, facts)
        return ModelFacts(context=size.context, facts=facts)

    def close(self) -> None:
        if self._loaded is not None:
            self._answers.clear()
            self._loaded.close()

    # requests

    def submit(self, id: int, params: Params) -> None:
        loaded = self.loaded
        loaded.engine.interruption.arrived()
        self._rested = self._rested or not (loaded.engine.busy or loaded.embedder.busy)
        try:
            match params:
                case GenerateParams() | InfillParams():
                    self._submit_generation(id, params)
                case TokenizeParams():
                    self._ready.append(Finished(id, tokens_of(loaded.name, loaded.vocab, params)))
                case DetokenizeParams():
                    self._ready.append(Finished(id, Detokenized(loaded.name, text_of(loaded.vocab, params.tokens))))
                case ApplyTemplateParams():
                    prompt = loaded.requests.apply_template(params)
                    applied = AppliedTemplate(loaded.name, prompt.text, len(prompt.tokens))
                    self._ready.append(Finished(id, applied))
                case EmbedParams():
                    loaded.embedder.add(_embed_job(id, params, loaded))
                case RerankParams():
                    loaded.embedder.add(EmbedJob(id, loaded.pairs.tokens(params.query, params.documents), ranks=True))
                    self._top[id] = params.top_n or len(params.documents)
        except EngineError as error:
            raise api_error(error) from None

    def _submit_generation(self, id: int, params: GenerateParams | InfillParams) -> None:
        arrived = time.monotonic()
        loaded = self.loaded
        truncated = None
        if isinstance(params, GenerateParams):
            request, truncated = loaded.requests.generate(id, params)
        else:
            request = loaded.requests.infill(id, params)
        answer = AnswerBuilder(loaded.name, loaded.vocab, params, request, arrived, truncated)
        if self._must_wait(request):
            self._postponed[id] = request
        else:
            loaded.engine.add(request)
        self._answers[id] = answer

    def _must_wait(self, request: Request) -> bool:
        """The first request with a constraint waits for what makes matchers; others go on meanwhile. Where it may have
        one later, if it calls a tool, that is begun."""
        guide = self.loaded.engine.guide
        if guide.ready or not (request.sampling.constraint or request.rules):
            return False
        if not guide.making:
            guide.begin()
            self._making = True
            self.loaded.set_threads()
        return request.sampling.constraint is not None

    def _add_postponed(self) -> list[Event]:
        """Those that can be kept to their constraint now, and what refuses them."""
        loaded, failures = self.loaded, list[Event]()
        idle = not (loaded.engine.busy or loaded.embedder.busy or self._ready)
        if not loaded.engine.guide.wait(WAIT if idle else 0.0):
            return failures
        self._making = False
        loaded.set_threads()
        postponed, self._postponed = self._postponed, {}
        for id, request in postponed.items():
            try:
                loaded.engine.add(request)
            except EngineError as error:
                del self._answers[id]
                failures.append(failed(id, error))
        return failures

    def step(self) -> list[Event]:
        threads = self.loaded.threads
        # where all compute already, a look after a rest could only find the same: the first token does not wait for it
        if threads.due(time.monotonic()) and not (self._rested and threads.now == threads.max_threads):
            self._count_threads()
        if not self._rested:
            return self._step()
        with cores.others_elsewhere(threads.now):
            events = self._step()
        self._rested = bool(self._postponed) and not events
        return events

    def _step(self) -> list[Event]:
        loaded = self.loaded
        failures = self._add_postponed() if self._making else []
        ready, self._ready = [*failures, *self._ready], []
        if loaded.embedder.busy:
            ready += self._step_embedder()
        for event in loaded.engine.step():
            answer = self._answers.get(event.id)
            if answer is None:
                continue
            if isinstance(event, Text):
                ready += answer.said(event)
            elif isinstance(event, Ended):
                ready += self._end(answer, event)
            elif isinstance(event, Prefilled):
                ready.append(Progress(event.id, event.done, event.total))
            elif isinstance(event, Broken):
                del self._answers[event.id]
                ready.append(failed(event.id, event.error))
        return ready

    def _end(self, answer: AnswerBuilder, event: Ended) -> list[Event]:
        """A candidate is complete; where a check refuses it, it is asked for again."""
        try:
            again = answer.checked.again(event) if answer.checked is not None else None
            if again is not None:
                self.loaded.engine.add(again)
                return []
        except EngineError as error:
            self.loaded.engine.cancel(event.id)
            del self._answers[event.id]
            return [failed(event.id, error)]
        ready: list[Event] = [*answer.end(event)]
        if answer.votes:
            running = [one for one in self.loaded.engine.cells.running if one.request.id == event.id]
            ready.append(answer.alone(event.index, running))
        if len(answer.ended) == answer.candidates:
            del self._answers[event.id]
            ready.append(Finished(event.id, answer.result()))
        return ready

    def _count_threads(self) -> None:
        counter = self.loaded.threads
        before, clocks = counter.now, machine.clocks()
        if clocks is not None and (threads := counter.look(clocks)) != before:
            log.info("%d of %d threads compute now: others use the cores", threads, counter.max_threads)
            self.loaded.set_threads()

    def _step_embedder(self) -> list[Event]:
        embedder = self.loaded.embedder
        try:
            job = embedder.step()
        except EngineError as error:
            return [failed(embedder.abandon(), error)]
        if not job.complete:
            return [Progress(job.id, job.tokens_done, job.tokens)]
        usage = Usage(prompt_tokens=job.tokens)
        if not job.ranks:
            return [Finished(job.id, Embedded(self.loaded.name, job.vectors, usage))]
        ranked = [Ranked(i, score) for i, (score,) in enumerate(job.vectors)]
        best = sorted(ranked, key=lambda result: -result.score)[: self._top.pop(job.id)]
        return [Finished(job.id, Reranked(self.loaded.name, best, usage))]

    def cancel(self, id: int) -> None:
        loaded = self.loaded
        loaded.engine.interruption.arrived()
        self._answers.pop(id, None)
        self._postponed.pop(id, None)
        loaded.embedder.cancel(id)
        self._top.pop(id, None)
        self._ready = [event for event in self._ready if event.id != id]
        loaded.engine.cancel(id)

    # on the reader's thread

    def interrupt_submit(self, priority: str) -> None:
        if self._loaded is not None:
            self._loaded.engine.interruption.announce_request(priority_of(priority))

    def interrupt_cancel(self, id: int | None) -> None:
        if self._loaded is not None:
            self._loaded.engine.interruption.announce_cancel(id)

    def tidy(self) -> bool:
        if self._loaded is None:
            return False
        cells = self._loaded.engine.cells
        if cells.tidy():
            return True
        if cells.came:  # not before the first request, which is on its way when a model was loaded for it
            arrays.prepare()
        return False

    def gauges(self) -> dict[str, int | float]:
        if self._loaded is None:
            return {}
        engine = self._loaded.engine
        drafts = engine.speculation.drafter.records.values()
        return {
            "active": engine.active,
            "queued": engine.queued + len(self._postponed),
            "cached_tokens": engine.cells.cache.cells,
            "cells": engine.context.n_cells,
            "parked_tokens": engine.cells.parking.tier.tokens,
            "parked_bytes": engine.cells.parking.bytes,
            "threads": self._loaded.threads.decode,
            "drafted_tokens": sum(record.drafted for record in drafts),
            "accepted_tokens": sum(record.accepted for record in drafts),
        }


def _embed_job(id: int, params: EmbedParams, loaded: LoadedModel) -> EmbedJob:
    """Raises InvalidParams for more than an answer can hold."""
    texts = [params.input] if isinstance(params.input, str) else params.input
    width = loaded.model.n_embd_out
    if (params.dimensions or 0) > width:
        raise errors.InvalidParams(f"`dimensions` is {params.dimensions}; this model's vectors have {width} numbers")
    if len(texts) * (params.dimensions or width) > MAX_NUMBERS:
        most = MAX_NUMBERS // (params.dimensions or width)
        raise errors.InvalidParams(
            f"{len(texts)} vectors are too many for one answer; ask for at most {most} at a time"
        )
    return EmbedJob(id, [loaded.vocab.whole(text) for text in texts], params.dimensions)
