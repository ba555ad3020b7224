"""`generate` with a `session`: one turn of a conversation, from its place in the file to its answer in the file."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from threadrunner.api.conversations import SessionInfo, Source
from threadrunner.api.errors import ApiError, ContextOverflow, InvalidParams
from threadrunner.api.generation import Generated, GenerateParams
from threadrunner.daemon.conversations import window as window
from threadrunner.daemon.conversations.queue import Conversations
from threadrunner.daemon.conversations.store import NEW, OpenTurn, SessionUpdate, Store, check_name, with_recalled

log = logging.getLogger("threadrunner.daemon.sessions")

REMEMBERED = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "stop", "memory")
"""What a conversation keeps of a turn's params. Seed, grammar, schema and the most tokens are about one answer."""

Fit = Callable[[int], GenerateParams]
"""The params for a model with so large a context."""


class Sink(Protocol):
    def piece(self, index: int, text: str) -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None: ...


Answer = Callable[[GenerateParams, Sink, Fit], Awaitable[Generated]]
"""Loads the model that the params name and asks it."""

Recall = Callable[[GenerateParams, OpenTurn], Awaitable[list[Source]]]
"""What is remembered of the matter, for this turn of this conversation."""


class Recorder:
    """Passes an answer on and keeps what has been said, for the case that it ends early."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def piece(self, index: int, text: str) -> None:
        self._pieces.append(text)
        self._sink.piece(index, text)

    def progress(self, stage: str, done: int, total: int) -> None:
        self._sink.progress(stage, done, total)


def check(params: GenerateParams) -> None:
    """What a turn of a conversation cannot be. Raises InvalidParams."""
    if params.prompt is None:
        raise InvalidParams("a session has its messages: give the next turn as `prompt`, or `sessions.import` a talk")
    if params.raw or params.n > 1:
        raise InvalidParams("a session's turns follow its chat template, one answer each: leave out `raw` and `n`")
    if params.session not in (None, NEW, "@last"):
        check_name(str(params.session))


class Defaults(NamedTuple):
    """What the daemon takes where nobody says anything, and its check of a model's name, which raises ApiError."""

    backend: str
    model: str
    check_model: Callable[[str], None]


def remembering(
    params: GenerateParams, given: frozenset[str], kept: SessionInfo | None, defaults: Defaults
) -> tuple[GenerateParams, SessionUpdate]:
    """The params with what the conversation remembers where the request says nothing, and what it is to remember."""
    chosen: dict[str, Any] = {}
    if kept is not None:
        chosen = {name: value for name, value in kept.params.items() if name in REMEMBERED and name not in given}
        if "system" not in given:
            chosen["system"] = kept.system
    wanted_backend = params.backend or (kept and kept.backend) or params.default_backend or defaults.backend
    same = kept is not None and kept.backend == wanted_backend
    wanted_model = params.model or (kept.model if kept and same else None) or params.default_model
    if wanted_model is None:
        wanted_model = defaults.model if wanted_backend == "llama" else wanted_backend
    if wanted_backend == "llama":  # before anything is written: a misspelt name must not be what is remembered
        defaults.check_model(wanted_model)
    chosen |= {"backend": wanted_backend, "model": wanted_model, "default_model": None, "default_backend": None}
    wish = SessionUpdate(
        model=wanted_model,
        backend=wanted_backend,
        mode=params.mode,
        system=params.system if "system" in given else None,
        params={name: getattr(params, name) for name in REMEMBERED if name in given},
    )
    changed: GenerateParams = msgspec.structs.replace(params, **chosen)
    return changed, wish


async def begin(
    sessions: Conversations, params: GenerateParams, given: frozenset[str], defaults: Defaults
) -> tuple[GenerateParams, OpenTurn]:
    """The turn, on the disk, and its params. Where the caller is cancelled just now, it does not stay open for good.

    One job for the file's thread, queued before anything is waited for: requests take their places as they arrive.
    """
    name, prompt = str(params.session), str(params.prompt)

    def work(store: Store) -> tuple[GenerateParams, OpenTurn]:
        changed, wish = remembering(params, given, store.info(name), defaults)
        return changed, store.begin(name, prompt, wish, params.replace)

    future = sessions.queue(work)
    try:
        return await asyncio.shield(asyncio.wrap_future(future))
    except asyncio.CancelledError:
        sessions.queue(lambda store: store.finish(future.result()[1].turn, "stopped", None))
        raise


async def answer(
    sessions: Conversations, params: GenerateParams, begun: OpenTurn, sink: Sink, ask: Answer, recall: Recall
) -> Generated:
    """The answer to a turn that has begun; when this ends, however it does, so has the turn."""
    heard = Recorder(sink)
    async with contextlib.AsyncExitStack() as held:
        try:
            await held.enter_async_context(sessions.turn(begun))
            info, past, first, limit = await sessions.run(lambda store: store.past(begun))
            sources = await recall(params, begun) if params.memory else []
            if sources:
                text = recalled_text(sources)
                await sessions.run(lambda store: store.recalled(begun.turn, text, sources))
                params = msgspec.structs.replace(params, prompt=with_recalled(text, params.prompt or ""))
            shown = TurnWindow(params, past, first, limit)
            result = await _asked(ask, shown, heard)
            if (shown.window.first, shown.limit) != (first, limit):
                sessions.queue(lambda store: store.window(begun.session, shown.window.first, shown.limit))
            usage = result.usage
            kept = sessions.queue(
                lambda store: store.finish(
                    begun.turn, "done", result.text, result.model, None, usage.prompt_tokens, usage.completion_tokens
                )
            )
        except BaseException as error:
            sessions.queue(functools.partial(_broken_off, begun=begun, error=error, text=heard.text))
            raise
        await asyncio.shield(asyncio.wrap_future(kept))
    result.session = info.name
    if shown.window.left_out:
        result.truncated_turns = shown.window.left_out
    if lost := window.lost_answers(past):
        result.lost_answers = lost
    if params.memory:
        result.sources = sources
    return result


class TurnWindow:
    """The window that a turn is asked with; it may have to shrink when the model has counted."""

    def __init__(self, params: GenerateParams, past: list[window.PastTurn], first: int, limit: int) -> None:
        self.params = params
        self.past = past
        self.limit = limit
        self.window = window.Window([], first, 0)

    def fit(self, context: int) -> GenerateParams:
        """The first request: with the window of the turn before, moved on if the context is nearly full."""
        params = self.params
        if context != self.limit:  # another model, or a larger context: what left the window may fit again
            self.window, self.limit = window.Window([], 0, 0), context
        self.window = window.choose(
            params.system, self.past, params.prompt or "", first=self.window.first,
            limit=context or 1 << 62, max_tokens=params.max_tokens,
        )  # fmt: skip
        return self._request()

    def shrink(self, overflow: ContextOverflow) -> None:
        """Raises the overflow itself where there is no turn left to leave out."""
        tokens, limit = overflow.facts.get("prompt_tokens"), overflow.facts.get("limit")
        if not any(turn.id >= self.window.first for turn in self.past) or not isinstance(tokens, int):
            raise overflow
        self.window = window.shorter(
            self.params.system, self.past, self.params.prompt or "", first=self.window.first,
            most=limit // 2 if isinstance(limit, int) else 0, counted=tokens,
        )  # fmt: skip

    def again(self, context: int) -> GenerateParams:
        return self._request()

    def _request(self) -> GenerateParams:
        return msgspec.structs.replace(
            self.params, prompt=None, system=None, messages=self.window.messages, session=None, mode=None, memory=None,
            replace=0, stream=True, timeout=None, context_overflow="error",
        )  # fmt: skip


async def _asked(ask: Answer, shown: TurnWindow, heard: Recorder) -> Generated:
    fit: Fit = shown.fit
    while True:
        try:
            return await ask(shown.params, heard, fit)
        except ContextOverflow as overflow:
            shown.shrink(overflow)
            fit = shown.again


def _broken_off(store: Store, begun: OpenTurn, error: BaseException, text: str) -> None:
    """Keep what has been said. Nobody waits for this, so a failure is only logged."""
    stopped = isinstance(error, asyncio.CancelledError)
    kind = None if stopped else error.kind if isinstance(error, ApiError) else "InternalError"
    try:
        store.finish(begun.turn, "stopped" if stopped else "failed", text or None, None, kind)
    except ApiError as failure:
        log.error("turn %d of %r: %s", begun.turn, begun.name, failure)


def recalled_text(sources: list[Source]) -> str:
    """The passages as the model is shown them, before what the user says."""
    passages = "\n".join(f"- {source.text}" for source in sources)
    return f"Notes from earlier that may help with what follows (ignore them if they do not):\n{passages}"
