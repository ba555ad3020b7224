"""What a client of Anthropic's or Ollama's dialect meets between its question and the answer's end: silence is filled,
errors have their shape, and hanging up ends the work."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import Message

from tests.http.served import Served
from tests.support import PATIENCE
from threadrunner.api import errors
from threadrunner.api.errors import ApiError
from threadrunner.http import failures, streams
from threadrunner.http.anthropic_objects import MessageWriter
from threadrunner.http.exchange import Exchanges, Order
from threadrunner.http.ollama_objects import Lines
from threadrunner.http.streams import Stream, Writer

ORDER = Order("generate", {}, "m")


class Scripted:
    """A daemon that gives these pieces, with a silence before each, and then the error."""

    def __init__(self, pieces: list[Any], error: ApiError, heard: asyncio.Event) -> None:
        self._pieces = pieces
        self._error = error
        self._heard = heard

    async def request(self, method: str, params: dict[str, Any], notice: Any = None) -> Any:
        for name, payload in self._pieces:
            self._heard.clear()
            await self._heard.wait()  # something was sent meanwhile
            notice(name, payload)
        raise self._error


def sent(writer: Writer, pieces: list[Any], error: ApiError) -> list[bytes]:
    """What a stream sends, each write by itself."""

    async def run() -> list[bytes]:
        written: list[bytes] = []
        heard = asyncio.Event()

        async def send(message: Message) -> None:
            if body := message.get("body", b""):
                written.append(body)
                heard.set()

        stream = Stream(Exchanges(Scripted(pieces, error, heard)), ORDER, writer, silence=0.01)
        await stream({"type": "http"}, None, send)  # type: ignore[arg-type]
        return written

    return asyncio.run(run())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "FIRST_WORD", 0.01)


PREFILL = ("progress", {"stage": "prefill", "done": 512, "total": 9000})
TEXT = ("token", {"index": 0, "text": "Hi"})


@pytest.mark.usefixtures("impatient")
def test_silence_is_filled_with_pings() -> None:
    """4: Node gives a server up that is silent for 300 seconds."""
    written = sent(MessageWriter(ORDER, 100, "req_1"), [PREFILL, TEXT], errors.WorkerCrashed("it died"))
    events = [json.loads(line[6:]) for line in b"".join(written).splitlines() if line.startswith(b"data: ")]
    kinds = [event["type"] for event in events]
    assert kinds[0] == "ping" and kinds.index("message_start") < kinds.index("content_block_delta")
    assert "ping" in kinds[kinds.index("message_start") :]
    (start,) = [event for event in events if event["type"] == "message_start"]
    assert start["message"]["usage"]["input_tokens"] == 9000
    assert events[-1] == {"type": "error", "error": {"type": "api_error", "message": "it died"}, "request_id": "req_1"}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("chat", [True, False])
def test_silence_is_filled_with_lines_that_say_nothing(chat: bool) -> None:
    """4, and an error in mid-stream in Ollama's shape."""
    written = sent(Lines(ORDER, chat=chat), [PREFILL, TEXT], errors.WorkerCrashed("it died"))
    lines = [json.loads(line) for line in b"".join(written).splitlines()]
    said = [line["message"]["content"] if chat else line["response"] for line in lines[:-1]]
    assert said[0] == "" and "".join(said) == "Hi" and len(said) > 2
    assert not any(line["done"] for line in lines[:-1]) and lines[-1] == {"error": "it died"}


def test_too_much_work_is_529() -> None:
    busy = failures.of(errors.Overloaded("come again", queued=9, limit=8))
    status, headers, body = failures.spoken(busy, "/v1/messages")
    assert status == 529 and headers["retry-after"] == "1" and body["error"]["type"] == "overloaded_error"
    assert headers["request-id"] == body["request_id"]
    assert failures.spoken(busy, "/api/chat")[0] == 429


LONG = "word " * 150_000
ASKED = {
    "/v1/messages": {"model": "dummy", "messages": [{"role": "user", "content": LONG}]},
    "/api/chat": {"model": "dummy", "messages": [{"role": "user", "content": LONG}]},
}


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("stream", [True, False])
def test_hanging_up_ends_the_work(served: Served, path: str, stream: bool) -> None:
    """3: in mid-stream, and before there is anything to send."""
    before = _work(served)
    connection = served.open()
    connection.request(
        "POST", path, json.dumps({**ASKED[path], "stream": stream}), {"Content-Type": "application/json"}
    )
    if stream:
        assert connection.getresponse().read1(100)
    else:
        next(active for active in _active(served) if active)
    assert connection.sock
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    next(True for active in _active(served) if not active)
    assert _work(served) == before, "it was completed for no client"


def _active(served: Served) -> Iterator[int]:
    with served.daemon.wire() as wire:
        wire.sock.settimeout(PATIENCE)
        while True:
            yield sum(model["active"] + model["queued"] for model in wire.call("status")["models"])


def _work(served: Served) -> int:
    with served.daemon.wire() as wire:
        return sum(work["requests"] for work in wire.call("status")["work"])
