"""Pictures over the port: the shapes of all dialects, before a tiny model with a tiny encoder."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest

from tests.backends.tiny_sight import png
from tests.http.served import Served

DATA = [base64.b64encode(png(seed=seed)).decode() for seed in (1, 2)]
URLS = [f"data:image/png;base64,{data}" for data in DATA]
COUNT = 4
"""Rows that the encoder makes of a picture."""


def openai(served: Served, *parts: Any, **more: Any) -> Any:
    content = [*({"type": "image_url", "image_url": part} for part in parts), {"type": "text", "text": "what is it?"}]
    body = {"model": "tiny", "max_tokens": 4, "temperature": 0, "messages": [{"role": "user", "content": content}]}
    return served.post("/v1/chat/completions", {**body, **more})


def anthropic(served: Served, *blocks: dict[str, Any]) -> Any:
    said = {"role": "user", "content": [*blocks, {"type": "text", "text": "what is it?"}]}
    return served.post("/v1/messages", {"model": "tiny", "max_tokens": 4, "temperature": 0, "messages": [said]})


def block(data: str, **more: Any) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data, **more}}


def ollama(served: Served, path: str, images: list[str]) -> Any:
    shared = {"model": "tiny", "stream": False, "options": {"num_predict": 4, "temperature": 0}}
    if path == "/api/generate":
        return served.post(path, {**shared, "prompt": "what is it?", "images": images})
    return served.post(path, {**shared, "messages": [{"role": "user", "content": "what is it?", "images": images}]})


def responses(served: Served, url: str | None) -> Any:
    content: list[dict[str, Any]] = [{"type": "input_text", "text": "what is it?"}]
    content[:0] = [{"type": "input_image", "image_url": url, "detail": "auto"}] if url else []
    given = [{"role": "user", "content": content}]
    return served.post("/v1/responses", {"model": "tiny", "max_output_tokens": 4, "temperature": 0, "input": given})


def test_each_dialect_shows_the_same_picture(tiny: Served) -> None:
    plain = openai(tiny).json["usage"]["prompt_tokens"]
    first = openai(tiny, {"url": URLS[0], "detail": "low"}, logprobs=True)
    assert first.status == 200, first.body
    assert first.json["usage"]["prompt_tokens"] > plain + COUNT
    for again in (openai(tiny, URLS[0], logprobs=True), openai(tiny, {"url": URLS[0]}, logprobs=True)):
        assert again.json["usage"]["prompt_tokens_details"]["cached_tokens"] > plain  # by its hash
    said = first.json["choices"][0]["message"]["content"]
    assert anthropic(tiny, block(DATA[0])).json["content"][0]["text"] == said
    assert ollama(tiny, "/api/chat", [DATA[0]]).json["message"]["content"] == said
    assert ollama(tiny, "/api/generate", [DATA[0]]).json["response"] == said
    assert responses(tiny, URLS[0]).json["output"][0]["content"][0]["text"] == said
    other = openai(tiny, URLS[1], logprobs=True)
    tokens = [answer.json["choices"][0]["logprobs"]["content"][0]["logprob"] for answer in (first, other)]
    assert tokens[0] != tokens[1]


def test_a_stream_and_a_tools_picture(tiny: Served) -> None:
    call = {"type": "tool_use", "id": "c", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "seen"}, block(DATA[0])]}
    talk = [{"role": "user", "content": "look"}, {"role": "assistant", "content": [call]}]
    body = {"model": "tiny", "max_tokens": 2, "messages": [*talk, {"role": "user", "content": [result]}]}
    counted = tiny.post("/v1/messages/count_tokens", body).json["input_tokens"]
    without = {**result, "content": "seen"}
    talk = [*talk, {"role": "user", "content": [without]}]
    assert counted > tiny.post("/v1/messages/count_tokens", {**body, "messages": talk}).json["input_tokens"] + COUNT
    assert openai(tiny, URLS[0], stream=True).events[-1] == "[DONE]"


REFUSED = [
    ("http://example.com/cat.png", "never fetched"),
    ("https://example.com/cat.png", "never fetched"),
    ("file:///etc/passwd", "never fetched"),
    ("data:image/png,notbase64", "must be in the request"),
    ("data:image/png;base64,***", "no base64"),
    ("data:image/png;base64,", "is empty"),
]


@pytest.mark.parametrize(("url", "says"), REFUSED)
def test_nothing_is_ever_fetched(tiny: Served, url: str, says: str) -> None:
    for answer in (openai(tiny, {"url": url}), responses(tiny, url), ollama(tiny, "/api/chat", [url])):
        assert answer.status == 400
        error = answer.json["error"]
        assert says in (error if isinstance(error, str) else error["message"])
    given = {"type": "image", "source": {"type": "url", "url": url}}
    assert "never fetched" in anthropic(tiny, given).json["error"]["message"]


def bomb() -> bytes:
    """A hundred bytes that say they have 10,000 million pixels."""
    return png()[:16] + (100_000).to_bytes(4, "big") * 2 + png()[24:]


def hostile() -> list[bytes]:
    """Cut short, with bytes that are changed, of other kinds, and bombs."""
    whole, dice = png(), random.Random(7)
    cut = [whole[: dice.randrange(1, len(whole))] for _ in range(12)]
    for _ in range(24):
        changed = bytearray(whole)
        for _ in range(dice.randrange(1, 6)):
            changed[dice.randrange(8, len(changed))] = dice.randrange(256)
        cut.append(bytes(changed))
    heads = [
        b"\xff\xd8\xff\xc0\0\x11\x08\0\x20\0\x20\x03",
        b"GIF89a\x20\0\x20\0\xf7\0\0",
        b"BM" + bytes(12) + b"(\0\0\0\x20\0\0\0\x20",
    ]
    return [*cut, *(head + dice.randbytes(200) for head in heads), b"RIFF\0\0\0\0WEBP", dice.randbytes(100), bomb()]


def test_no_picture_ends_the_worker(tiny: Served) -> None:
    assert openai(tiny, URLS[0]).status == 200
    before = tiny.daemon.workers()
    statuses = set()
    for data in hostile():
        answer = openai(tiny, f"data:image/png;base64,{base64.b64encode(data).decode()}", max_tokens=1)
        statuses.add(answer.status)
        assert answer.status == 200 or answer.json["error"]["message"], data
    assert statuses == {200, 400}
    assert tiny.daemon.workers() == before
    assert "scale it down" in openai(tiny, f"data:;base64,{base64.b64encode(bomb()).decode()}").json["error"]["message"]
    assert openai(tiny, URLS[0]).status == 200


def test_clients_learn_what_takes_pictures(tiny: Served) -> None:
    listed = {model["id"].removesuffix(".gguf"): model for model in tiny.get("/v1/models").json["data"]}
    assert listed["tiny"]["architecture"]["input_modalities"] == ["text", "image"]
    assert "vision" in listed["tiny"]["capabilities"]
    assert listed["tiny-embed"]["architecture"]["input_modalities"] == ["text"]
    assert tiny.get("/props").json["modalities"]["vision"] is True
    assert "vision" in tiny.post("/api/show", {"model": "tiny"}).json["capabilities"]


def test_a_model_that_takes_none_says_what_to_do(tiny: Served) -> None:
    error = openai(tiny, URLS[0], model="tiny-embed").json["error"]
    assert error["code"] == "not_supported" and "mmproj" in error["message"]


def test_a_conversation_keeps_its_pictures(tiny: Served) -> None:
    wire = tiny.daemon.wire()
    shared = {"session": "album", "max_tokens": 2, "temperature": 0}
    images = [{"type": "image", "data": DATA[0]}]
    first = wire.call("generate", prompt="what is it?", images=images, **shared)
    second = wire.call("generate", prompt="and now?", **shared)
    assert second["usage"]["cached_tokens"] >= first["usage"]["prompt_tokens"] - 1
    shown = wire.call("sessions.show", session="album")["turns"]
    assert [turn.get("pictures") for turn in shown] == [1, None]
    again = wire.call("generate", prompt="what is it?", replace=2, **shared)  # in the place of the first
    assert again["usage"]["prompt_tokens"] == first["usage"]["prompt_tokens"] and again["text"] == first["text"]
    wire.call("sessions.fork", session="album", name="copy")
    assert wire.call("sessions.show", session="copy")["turns"][0]["pictures"] == 1
    without = wire.call("generate", prompt="what is it?", replace=1, images=[], **{**shared, "session": "copy"})
    assert without["usage"]["prompt_tokens"] < first["usage"]["prompt_tokens"] - COUNT
    assert wire.call("sessions.show", session="album")["turns"][0]["pictures"] == 1


def test_over_the_port_too(tiny: Served) -> None:
    ours = {"session": "seen", "memory": True}
    assert openai(tiny, URLS[0], threadrunner=ours).status == 200
    assert tiny.daemon.wire().call("sessions.show", session="seen")["turns"][0]["pictures"] == 1
