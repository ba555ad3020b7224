"""`generate` with a `session`: one turn of a conversation, from its place in the file to its answer in the file."""

from __future__ import annotations

import asyncio
import functools
import logging
from concurrent.futures import Future

import msgspec

from threadrunner.api.chat import ImagePart, Message, TextPart, tool_conflicts
from threadrunner.api.conversations import SessionInfo, Source, ToolResult
from threadrunner.api.errors import ApiError, ContextOverflow, InvalidParams
from threadrunner.api.generation import Generated, GenerateParams
from threadrunner.api.names import LAST, NEW
from threadrunner.daemon.conversations import sessions, turns
from threadrunner.daemon.conversations.queue import Conversations
from threadrunner.daemon.conversations.recall import Recall
from threadrunner.daemon.conversations.said import lost_answers, open_calls, results_conflict, unanswered_calls
from threadrunner.daemon.conversations.store import Store
from threadrunner.daemon.conversations.turns import History, OpenTurn, Outcome
from threadrunner.daemon.conversations.window import TurnWindow
from threadrunner.daemon.methods.ballot import Ballot
from threadrunner.daemon.methods.choice import NOTHING, ModelChoice, Preference
from threadrunner.daemon.methods.generation import Generation, ModelEmbedder, deadline
from threadrunner.daemon.methods.modes import Applied
from threadrunner.daemon.methods.recorder import Recorder
from threadrunner.daemon.methods.remembered import (
    also_given,
    forgotten,
    to_remember,
    with_remembered,
    without_former_mode,
)
from threadrunner.daemon.workers.sink import Sink
from threadrunner.remote_settings import BACKEND as REMOTE

log = logging.getLogger("threadrunner.daemon.sessions")


LOOK_EVERY = 0.2
"""Seconds."""


TOOLS_BYTES = 1 << 20
"""Of JSON, that a conversation remembers: they are in each page of `sessions.show`."""


def check(params: GenerateParams) -> None:
    """What a turn of a conversation cannot be. Raises InvalidParams."""
    if params.raw or (params.n > 1 and params.vote is None):
        raise InvalidParams(
            "a session's turns follow its chat template, one answer each: leave out `raw`, and `n` where no `vote` "
            "chooses among them"
        )
    if params.prompt is None and not _are_results(params.messages or []):
        raise InvalidParams(
            "a session has its messages: give the next turn as `prompt`, or as `messages` the results of its open "
            "calls (role tool, with tool_call_id) and after them one message of the user at most; `sessions.import` "
            "keeps a whole talk"
        )
    if any(message.images for message in params.messages or () if message.role == "tool"):
        raise InvalidParams(
            "a session keeps no pictures of tools: leave them out, or send the whole talk without `session`"
        )
    if (size := len(msgspec.json.encode(params.tools))) > TOOLS_BYTES:
        raise InvalidParams(f"`tools` has {size} bytes; a session remembers at most {TOOLS_BYTES}")
    if params.session not in (None, NEW, LAST):
        sessions.check_name(str(params.session))


def _are_results(messages: list[Message]) -> bool:
    results = messages[:-1] if messages and messages[-1].role == "user" else messages
    return bool(results) and all(message.role == "tool" and message.tool_call_id for message in results)


def as_turn(params: GenerateParams) -> tuple[GenerateParams, list[ToolResult]]:
    """The params with what the user says as their prompt, and the results that come with it."""
    if params.prompt is not None:
        return params, []
    messages = params.messages or []
    results = [ToolResult(message.tool_call_id, message.text) for message in messages if message.tool_call_id]
    if messages[-1].role != "user":
        return msgspec.structs.replace(params, prompt="", messages=None), results
    text, images = _said(messages[-1])
    return msgspec.structs.replace(params, prompt=text, images=images, messages=None), results


def _said(message: Message) -> tuple[str, list[ImagePart]]:
    """What a user's message says, and its pictures."""
    if not isinstance(message.content, list):
        return message.content or "", []
    return "".join(part.text for part in message.content if isinstance(part, TextPart)), message.images


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
        ballot: Ballot | None = None,
    ) -> None:
        self._conversations = conversations
        self._generation = generation
        self._recall = recall
        self._request = request
        self._params, self._results = as_turn(request.params)
        self._choice: ModelChoice
        self._given = request.given
        self._answer = Recorder(sink)
        self._ballot = ballot

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
                        functools.partial(_broken_off, opened=opened, outcome=self._broken_off(error)), opened
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
        images = params.images if params.images or "images" in given or not params.replace else None
        async with conversations.arrivals:
            info = await conversations.run(lambda store: sessions.info(store, name))
            session = NOTHING if info is None else Preference(info.model, info.backend)
            choice = self._choice = self._generation.choose(params, self._request.preference, session)
            if choice.backend in (
                "llama",
                REMOTE,
            ):  # before anything is written: a misspelt name must not be remembered
                await self._generation.resolve(choice)
            kept = without_former_mode(info, params.mode, self._request.modes)
            params = with_remembered(params, given, kept)
            self._given = also_given(given, kept)
            if conflict := tool_conflicts(params.tools, params.tool_choice):
                raise InvalidParams(conflict)
            await self._permit(params, choice, info)
            if self._ballot is not None and self._ballot.otherwise is not None:
                await self._permit(params, self._ballot.otherwise, info)
            self._params = msgspec.structs.replace(params, model=choice.name, backend=choice.backend)
            update = to_remember(params, given, choice, forgotten(info, kept))
            return conversations.submit(
                lambda store: turns.open_turn(store, name, prompt, update, params.replace, self._results, images)
            )

    async def _permit(self, params: GenerateParams, choice: ModelChoice, info: SessionInfo | None) -> None:
        """Before anything is written. Raises InvalidParams where the model is on another machine, and may not be sent
        what this turn would send."""
        if choice.backend != REMOTE:
            return
        if params.memory:
            self._generation.permit(choice, "memory")
        if info is not None and info.turns:
            models = await self._conversations.run(lambda store: sessions.models(store, info.name))
            self._generation.permit(choice, "history", models=models, remembered=info.model)

    async def _answered(self, opened: OpenTurn) -> tuple[Generated, Future[None]]:
        """The answer, and when it is in the file."""
        history = await self._history(opened)
        if self._results:
            waiting = open_calls(history.turns)
            if conflict := results_conflict(waiting, self._results, self._params.prompt or ""):
                raise InvalidParams(conflict)
        sources = await self._remembered(opened) if self._params.memory and self._params.prompt else None
        self._params = msgspec.structs.replace(self._params, images=history.images)
        shown = TurnWindow(self._params, self._results, history.turns, history.window_start, history.window_limit)
        result = await self._generated(shown)
        saved = self._save(opened, history, shown, result)
        result.session = history.info.name
        if shown.window.left_out:
            result.truncated_turns = shown.window.left_out
        if lost := lost_answers(history.turns):
            result.lost_answers = lost
        if unanswered := unanswered_calls(history.turns, shown.asked):
            result.unanswered_calls = unanswered
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
        ask = functools.partial(self._asked, shown)
        if self._ballot is None:
            return await ask(self._choice, self._params, self._answer)
        return await self._ballot.result(self._choice, self._params, self._answer, ask)

    async def _asked(self, shown: TurnWindow, choice: ModelChoice, params: GenerateParams, sink: Sink) -> Generated:
        async with self._generation.use(choice, params, sink) as model:
            shown.fit(model.context, model.with_defaults(self._params, self._given))
            while True:
                request = msgspec.structs.replace(
                    shown.request(), n=params.n, vote=params.vote, model=params.model, backend=params.backend
                )
                try:
                    return await model.answer("generate", request, sink)
                except ContextOverflow as overflow:
                    shown.shrink(overflow)

    def _save(self, opened: OpenTurn, history: History, shown: TurnWindow, result: Generated) -> Future[None]:
        first, limit, usage = shown.window.first, shown.limit, result.usage
        if (first, limit) != (history.window_start, history.window_limit):
            self._conversations.submit(lambda store: turns.save_window(store, opened.session, first, limit), opened)
        outcome = Outcome(
            "done", result.text, result.model, None, usage.prompt_tokens, usage.completion_tokens,
            result.tool_calls or (), result.reasoning or None, usage.reasoning_tokens or None,
        )  # fmt: skip
        return self._conversations.submit(lambda store: turns.finish(store, opened.turn, outcome), opened)

    def _broken_off(self, error: BaseException) -> Outcome:
        """What there is of the answer."""
        if isinstance(error, asyncio.CancelledError):
            return self._answer.outcome("stopped", None)
        return self._answer.outcome("failed", error.kind if isinstance(error, ApiError) else "InternalError")


def _stopped(store: Store, opened: OpenTurn) -> None:
    if opened.store == store.number:
        turns.finish(store, opened.turn, Outcome("stopped", None))


def _broken_off(store: Store, opened: OpenTurn, outcome: Outcome) -> None:
    turns.finish(store, opened.turn, outcome)


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
