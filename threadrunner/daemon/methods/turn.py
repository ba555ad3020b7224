"""`generate` with a `session`: one turn of a conversation, from its place in the file to its answer in the file."""

from __future__ import annotations

import asyncio
import functools
import logging
from concurrent.futures import Future

import msgspec

from threadrunner.api.chat import CallPart, PieceKind
from threadrunner.api.conversations import SessionInfo, Source
from threadrunner.api.errors import ApiError, ContextOverflow, InvalidParams
from threadrunner.api.generation import Generated, GenerateParams
from threadrunner.api.names import LAST, NEW
from threadrunner.daemon.conversations import sessions, turns, window
from threadrunner.daemon.conversations.queue import Conversations
from threadrunner.daemon.conversations.recall import Recall
from threadrunner.daemon.conversations.sessions import REMEMBERED_PARAMS
from threadrunner.daemon.conversations.store import Store
from threadrunner.daemon.conversations.turns import History, OpenTurn, Outcome, SessionUpdate
from threadrunner.daemon.conversations.window import TurnWindow
from threadrunner.daemon.methods.choice import NOTHING, ModelChoice, Preference
from threadrunner.daemon.methods.generation import Generation, ModelEmbedder, deadline
from threadrunner.daemon.methods.modes import Applied
from threadrunner.daemon.workers.sink import Sink

log = logging.getLogger("threadrunner.daemon.sessions")


LOOK_EVERY = 0.2
"""Seconds."""


class Recorder:
    """Passes an answer on and keeps its text, for the case that it ends early."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def piece(self, index: int, text: str, kind: PieceKind = "text", call: CallPart | None = None) -> None:
        if kind == "text":
            self._pieces.append(text)
        self._sink.piece(index, text, kind, call)

    def progress(self, stage: str, done: int, total: int) -> None:
        self._sink.progress(stage, done, total)


def check(params: GenerateParams) -> None:
    """What a turn of a conversation cannot be. Raises InvalidParams."""
    if params.prompt is None:
        raise InvalidParams("a session has its messages: give the next turn as `prompt`, or `sessions.import` a talk")
    if params.raw or params.n > 1:
        raise InvalidParams("a session's turns follow its chat template, one answer each: leave out `raw` and `n`")
    if params.session not in (None, NEW, LAST):
        sessions.check_name(str(params.session))


def with_remembered(params: GenerateParams, given: frozenset[str], info: SessionInfo | None) -> GenerateParams:
    """The params with what the conversation remembers where the request says nothing; `info` is None for a new one."""
    if info is None:
        return params
    names = [name for name in REMEMBERED_PARAMS if name in info.params and name not in given]
    known = msgspec.convert({name: info.params[name] for name in names}, GenerateParams)
    remembered = {name: getattr(known, name) for name in names}
    if "system" not in given:
        remembered["system"] = info.system
    changed: GenerateParams = msgspec.structs.replace(params, **remembered)
    return changed


def to_remember(params: GenerateParams, given: frozenset[str], choice: ModelChoice) -> SessionUpdate:
    """What this turn makes its conversation remember."""
    return SessionUpdate(
        model=choice.name,
        backend=choice.backend,
        mode=params.mode,
        system=params.system if "system" in given else None,
        params=msgspec.to_builtins({name: getattr(params, name) for name in REMEMBERED_PARAMS if name in given}),
    )


class SessionTurn:
    """One turn of a conversation, made for one request and run once. Conversations know no models, Generation knows no
    conversations; this is where they meet."""

    def __init__(
        self,
        conversations: Conversations,
        generation: Generation,
        recall: Recall,
        request: Applied[GenerateParams],
        sink: Sink,
    ) -> None:
        self._conversations = conversations
        self._generation = generation
        self._recall = recall
        self._request = request
        self._params = request.params
        self._choice: ModelChoice
        self._answer = Recorder(sink)

    @property
    def embedder(self) -> ModelEmbedder:
        """Vectors from the model that answers this turn."""
        return ModelEmbedder(self._generation, self._params, self._answer)

    async def run(self) -> Generated:
        """The answer. However this ends, the turn in the file has ended with it. Raises ApiError."""
        async with deadline(self._params.timeout):
            opened = await self._opened()
            try:
                async with self._conversations.turn(opened):
                    result, saved = await self._answered(opened)
            except BaseException as error:
                # Submitted before any other task runs, so a turn that waited for this one sees it ended.
                _log_failure(
                    self._conversations.submit(
                        functools.partial(_broken_off, opened=opened, error=error, text=self._answer.text), opened
                    )
                )
                raise
            await asyncio.shield(asyncio.wrap_future(saved))
            return result

    async def _opened(self) -> OpenTurn:
        """The turn, in the file; it does not stay open where the request is cancelled just now."""
        opening = await self._submitted()
        try:
            return await asyncio.shield(asyncio.wrap_future(opening))
        except asyncio.CancelledError:
            _log_failure(self._conversations.submit(lambda store: _stopped(store, opening.result())))
            raise

    async def _submitted(self) -> Future[OpenTurn]:
        """Decides what the turn is generated with and has it written, in the order of the requests' arrival."""
        params, given = self._params, self._request.given
        name, prompt, conversations = str(params.session), str(params.prompt), self._conversations
        async with conversations.arrivals:
            info = await conversations.run(lambda store: sessions.info(store, name))
            session = NOTHING if info is None else Preference(info.model, info.backend)
            choice = self._choice = self._generation.choose(params, self._request.preference, session)
            if choice.backend == "llama":  # before anything is written: a misspelt name must not be remembered
                await self._generation.resolve(choice)
            params = with_remembered(params, given, info)
            self._params = msgspec.structs.replace(params, model=choice.name, backend=choice.backend)
            update = to_remember(params, given, choice)
            return conversations.submit(lambda store: turns.open_turn(store, name, prompt, update, params.replace))

    async def _answered(self, opened: OpenTurn) -> tuple[Generated, Future[None]]:
        """The answer, and when it is in the file."""
        history = await self._history(opened)
        sources = await self._remembered(opened) if self._params.memory else None
        shown = TurnWindow(self._params, history.turns, history.window_start, history.window_limit)
        result = await self._generated(shown)
        saved = self._save(opened, history, shown, result)
        result.session = history.info.name
        if shown.window.left_out:
            result.truncated_turns = shown.window.left_out
        if lost := window.lost_answers(history.turns):
            result.lost_answers = lost
        if sources is not None:
            result.sources = sources
        return result, saved

    async def _history(self, opened: OpenTurn) -> History:
        """The conversation up to this turn. Another daemon's turn in it ends without an event that reaches us, so this
        looks again; one home with two daemons that use one conversation at the same moment is rare."""
        while True:
            history = await self._conversations.run(lambda store: turns.history(store, opened), opened)
            if history is not None:
                return history
            await asyncio.sleep(LOOK_EVERY)

    async def _remembered(self, opened: OpenTurn) -> list[Source]:
        """Passages that are relevant to the prompt; the prompt now begins with them."""
        prompt = self._params.prompt or ""
        sources = await self._recall.search(prompt, self.embedder, opened.session)
        if sources:
            text = recalled_text(sources)
            await self._conversations.run(lambda store: turns.save_recalled(store, opened.turn, text, sources), opened)
            self._params = msgspec.structs.replace(self._params, prompt=turns.with_recalled(text, prompt))
        return sources

    async def _generated(self, shown: TurnWindow) -> Generated:
        async with self._generation.use(self._choice, self._params, self._answer) as model:
            shown.fit(model.context)
            while True:
                try:
                    return await model.answer("generate", shown.request(), self._answer)
                except ContextOverflow as overflow:
                    shown.shrink(overflow)

    def _save(self, opened: OpenTurn, history: History, shown: TurnWindow, result: Generated) -> Future[None]:
        first, limit, usage = shown.window.first, shown.limit, result.usage
        if (first, limit) != (history.window_start, history.window_limit):
            self._conversations.submit(lambda store: turns.save_window(store, opened.session, first, limit), opened)
        outcome = Outcome("done", result.text, result.model, None, usage.prompt_tokens, usage.completion_tokens)
        return self._conversations.submit(lambda store: turns.finish(store, opened.turn, outcome), opened)


def _stopped(store: Store, opened: OpenTurn) -> None:
    if opened.store == store.number:
        turns.finish(store, opened.turn, Outcome("stopped", None))


def _broken_off(store: Store, opened: OpenTurn, error: BaseException, text: str) -> None:
    """Keep the part of the answer that there is."""
    stopped = isinstance(error, asyncio.CancelledError)
    kind = None if stopped else error.kind if isinstance(error, ApiError) else "InternalError"
    turns.finish(store, opened.turn, Outcome("stopped" if stopped else "failed", text or None, None, kind))


def _log_failure(saved: Future[None]) -> None:
    """No request waits for this."""

    def look(done: Future[None]) -> None:
        if not done.cancelled() and (failure := done.exception()):
            log.error("a turn that was broken off: %s", failure)

    saved.add_done_callback(look)


def recalled_text(sources: list[Source]) -> str:
    """The passages as the model is shown them, before the user's text."""
    passages = "\n".join(f"- {source.text}" for source in sources)
    return f"Notes from earlier that may help with what follows (ignore them if they do not):\n{passages}"
