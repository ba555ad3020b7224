"""The llama.cpp backend: api types to engine calls, engine errors to api errors."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from threadrunner import machine
from threadrunner.api import errors
from threadrunner.api.generation import (
    Detokenized,
    DetokenizeParams,
    Embedded,
    EmbedParams,
    GenerateParams,
    InfillParams,
    SamplingParams,
    Tokenized,
    TokenizeParams,
    Usage,
)
from threadrunner.backends.answer import AnswerBuilder
from threadrunner.backends.base import (
    PRIORITIES,
    Event,
    Failed,
    Finished,
    ModelFacts,
    ModelSpec,
    Params,
    Piece,
    Progress,
)
from threadrunner.engine import errors as engine_errors
from threadrunner.engine import sizing
from threadrunner.engine.embedder import Embedder
from threadrunner.engine.engine import Engine, Limits
from threadrunner.engine.events import Broken, Ended, Prefilled, Text
from threadrunner.engine.kv_store import KvStore
from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.errors import BadGrammar, EngineError, LoadError
from threadrunner.engine.llama.library import build
from threadrunner.engine.llama.model import Model
from threadrunner.engine.llama.sampler import Sampling
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prompts import json_schema
from threadrunner.engine.prompts.chat import ChatPrompt, fit
from threadrunner.engine.prompts.detokenizer import Cutter
from threadrunner.engine.prompts.fim import Infill
from threadrunner.engine.prompts.infill_ends import MiddleEnds, TimeBudget
from threadrunner.engine.sequence import Request
from threadrunner.engine.threads import Threads

log = logging.getLogger("threadrunner.backends.llama")

N_BATCH = 2048
N_UBATCH = 256
N_SEQ = 64
INFILL_TOKENS = 128
"""Most tokens of a middle when the request names no number: more is rarely wanted at a cursor."""


class LlamaBackend:
    """See threadrunner.backends.base."""

    def __init__(self) -> None:
        self._answers: dict[int, AnswerBuilder] = {}
        self._ready: list[Event] = []
        self._loaded = False

    # life

    def load(self, spec: ModelSpec, report: Callable[[int, int], None]) -> ModelFacts:
        try:
            return self._load(spec, report)
        except (LoadError, engine_errors.BadTemplate) as error:
            raise errors.ModelLoadFailed(
                f"{spec.name or spec.path}: {error}", reason=str(error), path=spec.path
            ) from error

    def _load(self, spec: ModelSpec, report: Callable[[int, int], None]) -> ModelFacts:
        began = time.monotonic()
        self._name = spec.name
        model = self._model = Model(spec.path, report)
        size = sizing.choose(
            asked=spec.context,
            trained=model.n_ctx_train,
            cell_bytes=model.cell_bytes(),
            model_bytes=model.size_bytes,
            free=machine.available_memory(),
            limit=spec.memory_limit,
        )
        threads = spec.threads or machine.physical_cores()
        vocab = self._vocab = Vocab(model)
        self._prompt = ChatPrompt(vocab, model.chat_template())
        context = Context(model, n_cells=size.cells, n_seq=N_SEQ, n_batch=N_BATCH, n_ubatch=N_UBATCH, threads=threads)
        limits = Limits(context=size.context, max_queued=spec.max_queued)
        self._engine = Engine(model, vocab, context, limits, _store(spec, model))
        self._threads = Threads(threads, machine.clocks())
        self._infill: Infill | None = None
        self._embedder = Embedder(model, threads=threads, max_tokens=size.context)
        facts: dict[str, Any] = {
            "backend": "llama",
            "description": model.description(),
            "parameters": model.n_params,
            "model_bytes": model.size_bytes,
            "trained_context": model.n_ctx_train,
            "threads": threads,
            "cells": size.cells,
            "cache": size.reason,
            "load_ms": round((time.monotonic() - began) * 1e3, 1),
        }
        self._loaded = True
        log.info("%s: %s", spec.name, facts)
        return ModelFacts(context=size.context, facts=facts)

    def close(self) -> None:
        if not self._loaded:
            return
        self._answers.clear()
        self._embedder.close()
        self._engine.close()
        self._model.close()

    # requests

    def submit(self, id: int, params: Params) -> None:
        self._engine.arrived()
        try:
            if isinstance(params, GenerateParams):
                self._submit_generate(id, params)
            elif isinstance(params, TokenizeParams):
                tokens = self._vocab.tokenize(params.text)
                self._ready.append(Finished(id, Tokenized(self._name, tokens)))
            elif isinstance(params, DetokenizeParams):
                self._ready.append(Finished(id, Detokenized(self._name, self._detokenize(params.tokens))))
            elif isinstance(params, InfillParams):
                self._submit_infill(id, params)
            elif isinstance(params, EmbedParams):
                texts = [params.input] if isinstance(params.input, str) else params.input
                self._embedder.add(id, [self._prompt.plain(text) for text in texts])
        except EngineError as error:
            raise _api_error(error) from None

    def _submit_generate(self, id: int, params: GenerateParams) -> None:
        arrived = time.monotonic()
        prompt, truncated = self._build_prompt(params)
        self._engine.add(
            Request(
                id,
                prompt,
                _sampling(params),
                max_tokens=params.max_tokens,
                priority=PRIORITIES[params.priority],
                stops=params.stop,
                n=params.n,
            )
        )
        self._answers[id] = AnswerBuilder(self._name, self._vocab, params, len(prompt), arrived, truncated)

    def _submit_infill(self, id: int, params: InfillParams) -> None:
        arrived = time.monotonic()
        if self._infill is None:
            self._infill = Infill(self._vocab)
        max_tokens = INFILL_TOKENS if params.max_tokens is None else params.max_tokens
        room = self._engine.limits.context - min(max_tokens, self._engine.limits.context // 4) - 1
        context = [(file.path, file.text) for file in params.context]
        prompt = self._infill.build(params.prefix, params.suffix, params.path, context, room)
        head = params.prefix[params.prefix.rfind("\n") + 1 :]

        def cutters() -> list[Cutter]:
            ends: list[Cutter] = [MiddleEnds(head, params.suffix)]
            return ends if params.max_time_ms is None else [*ends, TimeBudget(params.max_time_ms / 1e3)]

        self._engine.add(
            Request(
                id,
                prompt.tokens,
                _sampling(params),
                max_tokens=max_tokens,
                priority=PRIORITIES[params.priority],
                stops=params.stop,
                n=params.n,
                forced=prompt.forced,
                cutters=cutters,
                stop_tokens=self._infill.stop_tokens,
            )
        )
        self._answers[id] = AnswerBuilder(self._name, self._vocab, params, len(prompt.tokens), arrived, None)

    def _build_prompt(self, params: GenerateParams) -> tuple[list[int], int | None]:
        """The prompt's tokens, and how many turns `truncate` left out (None: it was not asked for)."""
        if (params.prompt is None) == (params.messages is None):
            raise errors.InvalidParams("give either `prompt` or `messages`")
        truncate = params.context_overflow == "truncate"
        if params.raw:
            if params.prompt is None:
                raise errors.InvalidParams("`raw` takes a `prompt`, not `messages`")
            return self._prompt.plain(params.prompt), 0 if truncate else None
        if params.messages is not None:
            messages = [{"role": m.role, "content": m.content} for m in params.messages]
        else:
            messages = [{"role": "user", "content": params.prompt or ""}]
        if params.system is not None:
            messages.insert(0, {"role": "system", "content": params.system})
        if not truncate:
            return self._prompt.chat(messages), None
        return fit(messages, self._prompt.chat, self._engine.limits.context)

    def _detokenize(self, tokens: list[int]) -> str:
        worst = max(tokens, default=0)
        if worst >= self._vocab.n_tokens:
            raise errors.InvalidParams(f"there is no token {worst}: the vocabulary has {self._vocab.n_tokens}")
        return self._vocab.detokenize(tokens)

    def step(self) -> list[Event]:
        if self._threads.due(time.monotonic()):
            self._count_threads()
        ready, self._ready = self._ready, []
        if self._embedder.busy:
            ready += self._step_embedder()
        for event in self._engine.step():
            answer = self._answers.get(event.id)
            if answer is None:
                continue
            if isinstance(event, Text):
                if answer.stream:
                    ready.append(Piece(event.id, event.index, event.text))
            elif isinstance(event, Ended):
                answer.ended[event.index] = event
                if len(answer.ended) == answer.candidates:
                    del self._answers[event.id]
                    ready.append(Finished(event.id, answer.result()))
            elif isinstance(event, Prefilled):
                ready.append(Progress(event.id, event.done, event.total))
            elif isinstance(event, Broken):
                del self._answers[event.id]
                ready.append(_failed(event.id, event.error))
        return ready

    def _count_threads(self) -> None:
        before, clocks = self._threads.now, machine.clocks()
        if clocks is not None and (threads := self._threads.look(clocks)) != before:
            log.info("%d of %d threads compute now: others use the cores", threads, self._threads.most)
            self._engine.set_threads(threads)
            self._embedder.set_threads(threads)

    def _step_embedder(self) -> list[Event]:
        try:
            job = self._embedder.step()
        except EngineError as error:
            return [_failed(id, error) for id in self._embedder.abandon()]
        if job is None:
            return []
        usage = Usage(prompt_tokens=sum(map(len, job.texts)))
        return [Finished(job.id, Embedded(self._name, job.vectors, usage))]

    def cancel(self, id: int) -> None:
        self._engine.arrived()
        self._answers.pop(id, None)
        self._embedder.cancel(id)
        self._ready = [event for event in self._ready if event.id != id]
        self._engine.cancel(id)

    # on the reader's thread

    def interrupt_submit(self, priority: str) -> None:
        if self._loaded:
            self._engine.interrupt(PRIORITIES.get(priority, 1))

    def interrupt_cancel(self, id: int | None) -> None:
        if self._loaded:
            self._engine.interrupt_request(id)

    def gauges(self) -> dict[str, int | float]:
        if not self._loaded:
            return {}
        engine = self._engine
        return {
            "active": engine.active,
            "queued": engine.queued,
            "cached_tokens": engine.cells.cache.cells,
            "threads": self._threads.now,
        }


def _sampling(params: SamplingParams) -> Sampling:
    grammar = params.grammar
    if params.json_schema is not None and params.json_schema is not False:
        if grammar is not None:
            raise errors.InvalidParams("give either `grammar` or `json_schema`")
        grammar = json_schema.to_grammar(params.json_schema)
    elif grammar is not None:
        json_schema.check_grammar(grammar)
    return Sampling(
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p,
        repeat_penalty=params.repeat_penalty,
        seed=params.seed,
        grammar=grammar,
        logprobs=params.logprobs,
    )


def _store(spec: ModelSpec, model: Model) -> KvStore | None:
    if not spec.cache_dir or spec.cache_bytes <= 0 or model.recurrent:
        return None
    name = re.sub(r"[^\w.-]", "_", spec.name or Path(spec.path).name).lstrip(".") or "model"
    stat = Path(spec.path).stat()
    model_is = spec.fingerprint or f"{spec.path} {stat.st_size} {stat.st_mtime_ns}"
    return KvStore(Path(spec.cache_dir) / name, f"{model_is} {build()}", spec.cache_bytes)


def _failed(id: int, error: EngineError) -> Failed:
    told = _api_error(error)
    return Failed(id, told.code, told.message, told.data)


def _api_error(error: EngineError) -> errors.ApiError:
    if isinstance(error, engine_errors.PromptTooLong):
        return errors.ContextOverflow(
            f"{error}; shorten it, or load the model with a larger context",
            prompt_tokens=error.prompt_tokens,
            limit=error.limit,
        )
    if isinstance(error, engine_errors.QueueFull):
        return errors.Overloaded(f"{error}; try again later", queued=error.queued, limit=error.limit)
    if isinstance(error, BadGrammar):
        return errors.InvalidGrammar(str(error))
    if isinstance(error, engine_errors.Unsupported):
        return errors.NotSupported(str(error))
    return errors.InternalError(str(error))
