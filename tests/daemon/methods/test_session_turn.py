"""One turn of a conversation over a generation that misbehaves at a chosen moment; the file is a real one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from threadrunner.api.conversations import SessionShown
from threadrunner.api.errors import ContextOverflow, ModelNotFound, WorkerCrashed
from threadrunner.api.fields import Priority
from threadrunner.api.generation import Generated, GenerateParams, Timings, Usage
from threadrunner.daemon.conversations import notes, sessions
from threadrunner.daemon.conversations.queue import Conversations
from threadrunner.daemon.conversations.recall import Recall
from threadrunner.daemon.methods.choice import NOTHING, ModelChoice, Preference, choose_model
from threadrunner.daemon.methods.modes import Applied
from threadrunner.daemon.methods.turn import SessionTurn
from threadrunner.daemon.workers.sink import SilentSink, Sink, encoded
from threadrunner.model_defaults import NONE, applied

Answer = Callable[[GenerateParams, Sink], Awaitable[str]]


async def echo(params: GenerateParams, sink: Sink) -> str:
    assert params.messages
    text = f"heard {len(params.messages)}"
    sink.piece(encoded(0, text))
    return text


class Generation:
    """Answers as a test says; counts how often a model was taken."""

    def __init__(self, answer: Answer = echo, context: int = 1000) -> None:
        self.answer_with = answer
        self.context = context
        self.taken = 0
        self.known = True
        self.defaults = NONE
        self.asked: list[GenerateParams] = []

    def choose(self, params: Any, mode: Preference = NOTHING, session: Preference = NOTHING) -> ModelChoice:
        request = Preference(params.model, params.backend)
        return choose_model(request, mode=mode, session=session, config=Preference("default", "llama"))

    async def resolve(self, choice: ModelChoice) -> None:
        if not self.known:
            raise ModelNotFound(f"no model is named {choice.name!r}")

    @contextlib.asynccontextmanager
    async def use(self, choice: ModelChoice, params: Any, sink: Sink) -> AsyncIterator[Generation]:
        self.taken += 1
        yield self

    def with_defaults(self, params: GenerateParams, given: frozenset[str]) -> GenerateParams:
        return applied(self.defaults, params, given)

    async def answer(self, method: str, params: GenerateParams, sink: Sink) -> Generated:
        self.asked.append(params)
        text = await self.answer_with(params, sink)
        return Generated(text, "stop", "default", Usage(10, 0, 2), Timings())

    async def pass_on(self, method: str, params: Any, sink: Sink, what: str = "") -> bytes:
        raise WorkerCrashed("no embeddings here")

    async def embed(self, texts: list[str], priority: Priority) -> tuple[str, list[list[float]]]:
        raise WorkerCrashed("no embeddings here")


class Room:
    """Conversations in a file of a test's own."""

    def __init__(self, path: Path, generation: Generation) -> None:
        self.conversations = Conversations(str(path / "sessions.db"))
        self.generation = generation

    def turn(self, prompt: str, session: str = "s", **more: Any) -> SessionTurn:
        params = GenerateParams(prompt=prompt, session=session, **more)
        request = Applied(params, frozenset({"prompt", "session", *more}))
        recall = Recall(self.conversations)
        return SessionTurn(self.conversations, self.generation, recall, request, SilentSink())  # type: ignore[arg-type]

    async def shown(self, name: str = "s") -> SessionShown:
        return await self.conversations.run(lambda store: sessions.show(store, name, 0, None))

    async def states(self) -> list[tuple[str, str, str | None]]:
        return [(turn.prompt, turn.state, turn.answer) for turn in (await self.shown()).turns]


def run(path: Path, work: Callable[[Room], Awaitable[None]], **settings: Any) -> None:
    async def within() -> None:
        room = Room(path, Generation(**settings))
        try:
            await work(room)
        finally:
            await room.conversations.close()

    asyncio.run(within())


def test_an_answer_is_in_the_file_before_it_is_given_back(tmp_path: Path) -> None:
    async def work(room: Room) -> None:
        result = await room.turn("hello").run()
        assert (result.session, result.text) == ("s", "heard 1")
        assert await room.states() == [("hello", "done", "heard 1")]
        assert (await room.turn("again").run()).text == "heard 3"

    run(tmp_path, work)


def test_what_does_not_fit_is_asked_again_with_fewer_turns_and_the_same_model(tmp_path: Path) -> None:
    async def work(room: Room) -> None:
        for n in range(4):
            await room.turn(f"question {n}").run()
        room.generation.answer_with = tight
        room.generation.taken = 0
        result = await room.turn("last").run()
        assert room.generation.taken == 1
        assert result.truncated_turns and result.text == "heard 1"
        shown = await room.shown()
        assert [turn.in_window for turn in shown.turns] == [False] * 4 + [True]

    async def tight(params: GenerateParams, sink: Sink) -> str:
        assert params.messages
        if len(params.messages) > 1:
            raise ContextOverflow("too long", prompt_tokens=1000, limit=20)
        return await echo(params, sink)

    run(tmp_path, work)


def test_a_prompt_that_alone_does_not_fit_fails(tmp_path: Path) -> None:
    async def never(params: GenerateParams, sink: Sink) -> str:
        raise ContextOverflow("too long", prompt_tokens=1000, limit=20)

    async def work(room: Room) -> None:
        with pytest.raises(ContextOverflow):
            await room.turn("much too long").run()
        assert await room.states() == [("much too long", "failed", None)]

    run(tmp_path, work, answer=never)


def test_the_part_of_an_answer_that_there_is_is_kept(tmp_path: Path) -> None:
    async def crash(params: GenerateParams, sink: Sink) -> str:
        sink.piece(encoded(0, "half an ans"))
        raise WorkerCrashed("gone")

    async def work(room: Room) -> None:
        with pytest.raises(WorkerCrashed):
            await room.turn("hello").run()
        assert await room.states() == [("hello", "failed", "half an ans")]

    run(tmp_path, work, answer=crash)


def test_a_model_that_does_not_exist_is_not_remembered(tmp_path: Path) -> None:
    async def work(room: Room) -> None:
        await room.turn("hello", model="good").run()
        room.generation.known = False
        with pytest.raises(ModelNotFound):
            await room.turn("again", model="mispelt").run()
        shown = await room.shown()
        assert (shown.session.model, len(shown.turns)) == ("good", 1)

    run(tmp_path, work)


def test_turns_are_answered_in_the_order_of_arrival_and_a_cancelled_one_lets_the_next_go(tmp_path: Path) -> None:
    async def work(room: Room) -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def wait(params: GenerateParams, sink: Sink) -> str:
            begun.set()
            await go.wait()
            return await echo(params, sink)

        room.generation.answer_with = wait
        tasks = [asyncio.create_task(room.turn(f"{n}").run()) for n in range(4)]
        await begun.wait()
        while len((await room.shown()).turns) < 4:
            pass  # each pass asks the file, which the turns that arrive are waiting for too
        tasks[1].cancel()
        await asyncio.wait({tasks[1]})
        go.set()
        await asyncio.gather(tasks[0], tasks[2], tasks[3])
        assert [(prompt, state) for prompt, state, _ in await room.states()] == [
            ("0", "done"), ("1", "stopped"), ("2", "done"), ("3", "done"),
        ]  # fmt: skip
        assert [len(params.messages or []) for params in room.generation.asked] == [1, 3, 5]

    run(tmp_path, work)


def test_the_mode_and_the_system_prompt_are_remembered(tmp_path: Path) -> None:
    async def work(room: Room) -> None:
        await room.turn("hello", system="be brief", temperature=0.5).run()
        await room.turn("again").run()
        assert room.generation.asked[1].temperature == 0.5
        messages = room.generation.asked[1].messages
        assert messages and (messages[0].role, messages[0].content) == ("system", "be brief")

    run(tmp_path, work)


def test_passages_are_put_before_the_prompt_and_shown_again_with_the_next_turn(tmp_path: Path) -> None:
    async def work(room: Room) -> None:
        await room.conversations.run(lambda store: notes.add(store, "the cat is called Minka", 1.0))
        result = await room.turn("what is the cat called?", memory=True).run()
        assert result.sources and result.sources[0].text == "the cat is called Minka"
        await room.turn("and the dog?").run()
        first, second = (params.messages or [] for params in room.generation.asked)
        assert first[0].content == second[0].content
        assert "Minka" in first[0].content and first[0].content.endswith("what is the cat called?")

    run(tmp_path, work)
