"""The backend itself, on one side a script of a server, on the other what the worker's loop does with a backend."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.backends.remote.scripted import (
    DONE,
    HANG_UP,
    UNTIL_HUNG_UP,
    Recorded,
    Reply,
    ScriptedServer,
    as_json,
    delta,
    event,
    models,
    says,
    stream,
)
from tests.support import PATIENCE
from threadrunner.api.errors import Overloaded
from threadrunner.api.generation import EmbedParams, GenerateParams, InfillParams, TokenizeParams
from threadrunner.api.remotes import RemoteModelsParams
from threadrunner.backends.base import Event, Failed, Finished, ModelSpec, Params, Piece, Progress, RemoteServer
from threadrunner.backends.remote import retries
from threadrunner.backends.remote.backend import RemoteBackend


class Asked:
    """A backend before one server, and the events of its requests."""

    def __init__(self, url: str, patience: float = PATIENCE, **table: Any) -> None:
        self._patience = patience
        self.backend = RemoteBackend()
        spec = ModelSpec(name="remote:box", max_queued=20, remote=RemoteServer(name="box", url=url, **table))
        assert self.backend.load(spec, lambda *_: None).facts["host"] == "127.0.0.1"
        self._ids = iter(range(1, 1000))

    def begin(self, params: Params | None = None, **given: Any) -> int:
        id = next(self._ids)
        self.backend.submit(id, params or msgspec.convert({"prompt": "hi", **given}, GenerateParams))
        return id

    def events(self, id: int) -> list[Event]:
        """All events of a request to its end."""
        found: list[Event] = []
        until = time.monotonic() + self._patience
        while time.monotonic() < until:
            found += [one for one in self.backend.step() if one.id == id]
            if found and isinstance(found[-1], (Finished, Failed)):
                return found
        raise AssertionError(f"request {id} has no end; it said {found}")

    def ask(self, params: Params | None = None, **given: Any) -> Any:
        """The result. Raises AssertionError for a failure."""
        last = self.events(self.begin(params, **given))[-1]
        assert isinstance(last, Finished), last
        return last.result

    def fail(self, params: Params | None = None, **given: Any) -> Failed:
        last = self.events(self.begin(params, **given))[-1]
        assert isinstance(last, Failed), last
        return last


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def asked(server: ScriptedServer) -> Iterator[Asked]:
    asked = Asked(server.url, models=["m"], dialect="compatible", key="sk-1")
    yield asked
    asked.backend.close()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "PAUSES", (0.01, 0.01))


def test_a_prompt_and_its_answer(server: ScriptedServer, asked: Asked) -> None:
    server.answers = lambda _: says("Hel", "lo")
    events = asked.events(asked.begin(temperature=0))
    assert "".join(one.text for one in events if isinstance(one, Piece)) == "Hello"
    result = events[-1].result  # type: ignore[union-attr]
    assert (result.text, result.model, result.usage.prompt_tokens) == ("Hello", "remote:box/m", 5)
    assert result.host is msgspec.UNSET  # this machine
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer sk-1"
    assert request.body["temperature"] == 0
    assert set(request.headers) == {
        "host", "authorization", "accept", "accept-encoding", "connection", "content-length", "content-type",
        "user-agent", "x-session-id",
    }  # fmt: skip
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["user-agent"] == "threadrunner"
    gauges = asked.backend.gauges()
    assert (gauges["sent_tokens"], gauges["received_tokens"], gauges["active"]) == (5, 2, 0)


def test_a_load_connects_to_no_one(server: ScriptedServer, asked: Asked) -> None:
    assert server.requests == []
    Asked("http://127.0.0.1:9/v1").backend.close()


def test_a_talk_keeps_its_mark_while_it_grows(server: ScriptedServer, asked: Asked) -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    for messages in (talk[:1], [*talk, {"role": "user", "content": "c"}], [*talk, {"role": "user", "content": "d"}]):
        asked.ask(prompt=None, messages=messages)
    marks = [request.headers["x-session-id"] for request in server.requests]
    assert marks[1] == marks[2] != marks[0]
    assert len(marks[0]) == 32


def test_many_at_once(server: ScriptedServer, asked: Asked) -> None:
    together = threading.Barrier(5, timeout=PATIENCE)

    def answer(request: Recorded) -> Reply:
        together.wait()  # each is asked while the others are
        return says(request.body["messages"][0]["content"])

    server.answers = answer
    ids = {asked.begin(prompt=f"p{i}"): f"p{i}" for i in range(5)}
    texts: dict[int, str] = {}
    while len(texts) < 5:
        texts |= {one.id: one.result.text for one in asked.backend.step() if isinstance(one, Finished)}  # type: ignore[union-attr]
    assert texts == ids


def test_more_than_max_queued_are_refused(server: ScriptedServer, asked: Asked) -> None:
    server.answers = lambda _: stream(UNTIL_HUNG_UP)
    for _ in range(20):
        asked.begin()
    with pytest.raises(Overloaded, match="max_queued"):
        asked.begin()


def test_a_cancel_hangs_up_and_nothing_follows(server: ScriptedServer, asked: Asked) -> None:
    server.answers = lambda _: stream(delta(content="a"), UNTIL_HUNG_UP)
    id = asked.begin()
    while not asked.backend.step():
        pass
    asked.backend.cancel(id)
    assert server.hung_up.get(timeout=PATIENCE) == "/v1/chat/completions"
    assert asked.backend.step() == []
    asked.backend.cancel(id)
    asked.backend.cancel(999)
    server.answers = lambda _: says("next")
    assert asked.ask().text == "next"


def test_close_hangs_up(server: ScriptedServer) -> None:
    server.answers = lambda _: stream(delta(content="a"), UNTIL_HUNG_UP)
    asked = Asked(server.url, models=["m"], dialect="compatible")
    asked.begin()
    while not asked.backend.step():
        pass
    asked.backend.close()
    assert server.hung_up.get(timeout=PATIENCE)


def test_a_message_ends_a_step_at_once(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threadrunner.backends.remote.backend.LOOK_EVERY", PATIENCE)
    threading.Timer(0.01, asked.backend.interrupt_submit, ["normal"]).start()
    assert asked.backend.step() == []
    threading.Timer(0.01, asked.backend.interrupt_cancel, [None]).start()
    assert asked.backend.step() == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (stream(delta(content="half"), HANG_UP), "RemoteFailed"),
        (stream(delta(content="half"), DONE), "RemoteFailed"),  # no finish
        (stream(DONE), "RemoteFailed"),
        (stream(), "RemoteFailed"),
        (stream(delta(content="half"), event({"error": {"message": "boom", "code": 500}}), DONE), "RemoteFailed"),
        (stream(event({"error": {"message": "maximum context length is 5 tokens, requested 9"}})), "ContextOverflow"),
        (stream(b"data: nonsense\n\n"), "RemoteFailed"),
        (stream(delta(content="half"), delta("content_filter")), "RemoteFailed"),
        (Reply([b"<html>Bad gateway</html>"], 502, {"content-type": "text/html"}), "RemoteFailed"),
        (Reply([b"<html>Welcome</html>"], 200, {"content-type": "text/html"}), "RemoteFailed"),
        (as_json({"error": {"message": "no"}}, 500), "RemoteFailed"),
        (as_json({"error": {"message": "no"}}, 401), "RemoteRefused"),
        (as_json({"error": {"message": "no"}}, 404), "ModelNotFound"),
        (as_json({"error": {"message": "too long", "n_prompt_tokens": 9, "n_ctx": 5,
                            "type": "exceed_context_size_error"}}, 400), "ContextOverflow"),
        (as_json({"error": "plain words"}, 400), "InvalidParams"),
    ],
)  # fmt: skip
def test_failures_have_their_kind_and_are_asked_once(
    server: ScriptedServer, asked: Asked, reply: Reply, kind: str
) -> None:
    reply.parts = list(reply.parts)
    server.answers = lambda _: reply
    failed = asked.fail()
    assert failed.data["kind"] == kind, failed
    assert failed.data["host"] == "127.0.0.1"
    assert len(server.requests) == 1


def test_what_came_before_a_failure_was_shown(server: ScriptedServer, asked: Asked) -> None:
    server.answers = lambda _: stream(delta(content="ha"), delta(content="lf"), HANG_UP)
    events = asked.events(asked.begin())
    assert "".join(one.text for one in events if isinstance(one, Piece)) == "half"
    assert isinstance(events[-1], Failed)


def test_a_busy_server_is_asked_three_times_at_most(server: ScriptedServer, asked: Asked) -> None:
    replies = iter([as_json({}, 429, **{"retry-after": "0.01"}), as_json({}, 503), says("at last")])
    server.answers = lambda _: next(replies)
    assert asked.ask().text == "at last"
    server.answers = lambda _: as_json({"error": {"message": "full"}}, 503)
    failed = asked.fail()
    assert failed.data["kind"] == "Overloaded"
    assert len(server.requests) == 6


def test_a_long_wait_is_for_the_user_to_decide(server: ScriptedServer, asked: Asked) -> None:
    server.answers = lambda _: as_json({}, 429, **{"retry-after": "900"})
    assert asked.fail().data["retry_after"] == 900
    assert len(server.requests) == 1


def test_a_server_that_is_not_there() -> None:
    asked = Asked("http://127.0.0.1:9/v1", models=["m"], dialect="compatible")
    failed = asked.fail()
    assert (failed.data["kind"], failed.data["host"]) == ("RemoteUnreachable", "127.0.0.1")
    asked.backend.close()
    asked = Asked("http://127.0.0.1:9/v1")  # and its list of models neither
    assert asked.fail().data["kind"] == "RemoteUnreachable"
    asked.backend.close()


def test_a_hang_up_before_any_answer_is_not_asked_again(server: ScriptedServer, asked: Asked) -> None:
    """It may have been begun: nothing is answered twice."""

    def hangs_up(_: Recorded) -> Reply:
        raise OSError

    server.answers = hangs_up
    assert asked.fail().data["kind"] == "RemoteUnreachable"
    assert len(server.requests) == 1


def test_no_redirect_is_followed(server: ScriptedServer, asked: Asked) -> None:
    with ScriptedServer() as other:
        server.answers = lambda _: Reply(status=307, headers={"location": f"{other.url}/chat/completions"})
        failed = asked.fail()
        assert (failed.data["kind"], failed.data["status"]) == ("RemoteFailed", 307)
        assert other.requests == []


def test_a_silent_server_and_read_timeout(server: ScriptedServer) -> None:
    server.answers = lambda _: stream(delta(content="a"), UNTIL_HUNG_UP)
    asked = Asked(server.url, models=["m"], dialect="compatible", read_timeout=0.05)
    assert asked.fail().data["kind"] == "Timeout"
    assert server.hung_up.get(timeout=PATIENCE)
    asked.backend.close()


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_character_cut_over_chunks(server: ScriptedServer, asked: Asked, cut: int) -> None:
    data = delta(content="x😀y")  # as escapes
    raw = 'data: {"choices": [{"delta": {"content": "x😀y"}}]}\n\n'.encode()
    at = raw.index("😀".encode()) + cut
    server.answers = lambda _: stream(data[: at % len(data)], data[at % len(data) :], raw[:at], raw[at:], delta("stop"))
    assert asked.ask().text == "x😀yx😀y"


def test_broken_utf8_is_a_sign_and_no_failure(server: ScriptedServer, asked: Asked) -> None:
    server.answers = lambda _: stream(b'data: {"choices": [{"delta": {"content": "a\xffb"}}]}\n\n', delta("stop"))
    assert asked.ask().text == "a\ufffdb"


def test_an_answer_that_is_not_streamed_all_the_same(server: ScriptedServer, asked: Asked) -> None:
    message = {"role": "assistant", "content": "whole"}
    server.answers = lambda _: as_json({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    events = asked.events(asked.begin())
    assert [one.text for one in events if isinstance(one, Piece)] == ["whole"]


def test_progress_where_the_server_tells_it(server: ScriptedServer, asked: Asked) -> None:
    told = event({"choices": [{"index": 0, "delta": {}}], "prompt_progress": {"total": 10, "processed": 4}})
    server.answers = lambda _: stream(told, delta("stop", content="a"), DONE)
    assert Progress(1, 4, 10) in asked.events(asked.begin())


def test_what_a_server_is_is_asked_once_and_then_known(server: ScriptedServer) -> None:
    asked = Asked(server.url)
    server.answers = lambda request: models("only", owner="llamacpp") if request.method == "GET" else says("x")
    assert asked.ask().model == "remote:box/only"
    asked.ask(repeat_penalty=1.1)
    assert [request.path for request in server.requests] == ["/v1/models"] + ["/v1/chat/completions"] * 2
    assert server.chats[1]["repeat_penalty"] == 1.1
    asked.backend.close()


def test_several_models_must_be_named(server: ScriptedServer) -> None:
    asked = Asked(server.url)
    server.answers = lambda _: models("a", "b")
    failed = asked.fail()
    assert failed.data["kind"] == "ModelNotFound"
    assert "remote:box/a" in failed.message
    assert asked.ask(RemoteModelsParams(remote="box")).models[1].name == "b"
    asked.backend.close()


def test_a_server_without_a_list(server: ScriptedServer) -> None:
    asked = Asked(server.url)
    server.answers = lambda request: as_json({}, 404) if request.method == "GET" else says("x")
    assert asked.ask(model="m").text == "x"
    assert asked.fail().data["kind"] == "ModelNotFound"
    asked.backend.close()


def test_candidates_where_a_dialect_gives_one_at_a_time(server: ScriptedServer) -> None:
    asked = Asked(server.url, models=["m"], dialect="llama-server")
    server.answers = lambda request: stream(
        event({"content": f"s{request.body['seed']}", "stop": False}), event({"content": "", "stop": True})
    )
    params = msgspec.convert({"prefix": "a", "n": 3, "seed": 7}, InfillParams)
    result = asked.ask(params)
    assert [choice.text for choice in result.choices] == ["s7", "s8", "s9"]
    assert {request.path for request in server.requests} == {"/infill"}
    server.answers = lambda request: as_json({}, 500) if request.body["seed"] == 8 else stream(UNTIL_HUNG_UP)
    assert asked.fail(params).data["kind"] == "RemoteFailed"
    assert [server.hung_up.get(timeout=PATIENCE) for _ in range(2)] == ["/infill"] * 2
    asked.backend.close()


def test_a_middle_is_cut_and_the_server_hung_up_on(server: ScriptedServer) -> None:
    asked = Asked(server.url, models=["m"], dialect="llama-server")
    server.answers = lambda _: stream(event({"content": "1\n\nprint(f())\n", "stop": False}), UNTIL_HUNG_UP)
    params = msgspec.convert({"prefix": "def f():\n    return ", "suffix": "\n\nprint(f())\n"}, InfillParams)
    assert asked.ask(params).text == "1"
    assert server.hung_up.get(timeout=PATIENCE) == "/infill"
    asked.backend.close()


def test_embeddings_are_of_length_1_and_in_order(server: ScriptedServer, asked: Asked) -> None:
    data = [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 4]}]
    server.answers = lambda _: as_json({"data": data, "usage": {"prompt_tokens": 6}})
    result = asked.ask(EmbedParams(input=["a", "b"]))
    assert result.embeddings == [[0.6, 0.8], [0.0, 1.0]]
    assert (result.model, result.usage.prompt_tokens) == ("remote:box/m", 6)
    assert server.chats == [{"model": "m", "input": ["a", "b"], "encoding_format": "float"}]
    short = asked.ask(EmbedParams(input=["a", "b"], dimensions=1))
    assert short.embeddings == [[1.0], [0.0]]  # cut here: not every server knows the word
    assert "dimensions" not in server.chats[-1]
    assert "have 2 numbers" in asked.fail(EmbedParams(input=["a", "b"], dimensions=3)).message
    server.answers = lambda _: as_json({"data": data[:1]})
    assert asked.fail(EmbedParams(input=["a", "b"])).data["kind"] == "RemoteFailed"
    assert asked.fail(TokenizeParams(text="a")).data["kind"] == "NotSupported"


def test_conflicts_and_words_without_a_meaning_are_not_sent(server: ScriptedServer, asked: Asked) -> None:
    assert asked.fail(messages=[{"role": "user", "content": "b"}]).data["kind"] == "InvalidParams"
    assert asked.fail(top_k=3).data["kind"] == "NotSupported"
    assert server.requests == []


def test_a_defect_of_ours_ends_one_request(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("threadrunner.backends.remote.bodies.chat", broken)
        assert asked.fail().data["kind"] == "InternalError"
    assert asked.ask().text == "hello"


def test_http_beyond_our_own_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = RemoteBackend()
    public = [(2, 1, 6, "", ("93.184.216.34", 80))]
    server = RemoteServer(name="box", url="http://box.example/v1", models=["m"], dialect="compatible", key="sk-1")
    backend.load(ModelSpec(name="x", max_queued=1, remote=server), lambda *_: None)

    async def looked_up(*_: Any, **__: Any) -> Any:
        return public

    monkeypatch.setattr(backend._loop, "getaddrinfo", looked_up)
    backend.submit(1, GenerateParams(prompt="hi"))
    events: list[Event] = []
    while not events:
        events = backend.step()
    assert isinstance(events[0], Failed)
    assert events[0].data["kind"] == "RemoteRefused"
    assert "use https" in events[0].message
    backend.close()
