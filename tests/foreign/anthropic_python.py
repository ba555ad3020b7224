"""The `anthropic` package as a judge of our answers: run by hand, since the package is large.

    pip install anthropic && python tests/foreign/anthropic_python.py

It lets the SDK parse each answer in its strict mode, in which a member that is missing or of another type is an error.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import anthropic
from anthropic import Anthropic, beta_tool
from pydantic import BaseModel

from tests.foreign.running import on_dummy, on_tiny, run
from tests.http.served import Served

HELLO: Any = [{"role": "user", "content": "hello"}]
CALL: Any = [{"role": "user", "content": '!think of Bonn\n!call weather {"city": "Bonn"}'}]
TOOLS: Any = [{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
SAID = "lorem ipsum dolor sit amet hello."


class Verdict(BaseModel):
    """A structured answer; the SDK turns a Literal of one value into a description."""

    word: Literal["yes", "no"]


def client(served: Served) -> Anthropic:
    return Anthropic(base_url=served.url, api_key="x", max_retries=0, _strict_response_validation=True)


# on the dummy backend


def check_message(api: Anthropic) -> None:
    answer = api.messages.create(model="claude-x", max_tokens=100, messages=HELLO)
    assert answer.content[0].type == "text" and answer.content[0].text == SAID
    assert answer.stop_reason == "end_turn" and answer.usage.output_tokens == 6 and answer._request_id


def check_stream_helper(api: Anthropic) -> None:
    with api.messages.stream(model="claude-x", max_tokens=100, messages=HELLO) as stream:
        assert "".join(stream.text_stream) == SAID
        final = stream.get_final_message()
    assert final.content[0].type == "text" and final.content[0].text == SAID and final.usage.output_tokens == 6
    assert final.usage.input_tokens == 1, "the count at the end replaces the one at the beginning"


def check_tools_and_thoughts_stream(api: Anthropic) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    more: Any = {"model": "claude-x", "max_tokens": 2000, "tools": TOOLS, "thinking": thinking}
    with api.messages.stream(messages=CALL, **more) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_message()
    assert {"thinking", "signature", "input_json", "content_block_stop"} <= kinds, kinds
    thought, call = final.content
    assert thought.type == "thinking" and thought.thinking == "of Bonn" and thought.signature
    assert call.type == "tool_use" and call.input == {"city": "Bonn"} and final.stop_reason == "tool_use"
    result: Any = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]
    again: Any = [*CALL, {"role": "assistant", "content": final.content}, {"role": "user", "content": result}]
    answer = api.messages.create(messages=again, **more)
    assert answer.content[0].type == "text" and answer.content[0].text.endswith("sunny.")


def check_tool_runner(api: Anthropic) -> None:
    asked = []

    @beta_tool
    def weather(city: str) -> str:
        """The weather of a city."""
        asked.append(city)
        return "sunny"

    runner = api.beta.messages.tool_runner(model="claude-x", max_tokens=100, tools=[weather], messages=CALL)
    last = runner.until_done()
    assert asked == ["Bonn"] and last.content[0].type == "text" and last.content[0].text.endswith("sunny.")


def check_errors(api: Anthropic) -> None:
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    asks: list[tuple[type[anthropic.APIStatusError], dict[str, Any]]] = [
        (anthropic.NotFoundError, {"model": "no-such", "messages": HELLO}),
        (anthropic.BadRequestError, {"model": "claude-x", "messages": []}),
        (anthropic.BadRequestError, {"model": "claude-x", "messages": [{"role": "user", "content": [image]}]}),
    ]
    for kind, ask in asks:
        for stream in (False, True):
            try:
                api.messages.create(max_tokens=10, stream=stream, **ask)
            except kind as raised:
                assert raised.request_id and raised.body["type"] == "error", raised  # type: ignore[index,call-overload]
            else:
                raise AssertionError(f"{kind.__name__} was not raised")


# on a tiny model


def check_count_tokens(api: Anthropic) -> None:
    counted = api.messages.count_tokens(model="claude-x", messages=HELLO, tools=TOOLS, system="be brief")
    answer = api.messages.create(model="claude-x", max_tokens=2, messages=HELLO, tools=TOOLS, system="be brief")
    assert counted.input_tokens == answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)


def check_parse(api: Anthropic) -> None:
    answer = api.messages.parse(model="claude-x", max_tokens=100, messages=HELLO, output_format=Verdict)
    assert answer.parsed_output and answer.parsed_output.word in ("yes", "no")


def check_stop_sequence(api: Anthropic) -> None:
    more: Any = {"model": "claude-x", "max_tokens": 12, "messages": HELLO, "extra_body": {"temperature": 0}}
    (block,) = api.messages.create(**more).content
    assert block.type == "text"
    answer = api.messages.create(stop_sequences=[block.text[3]], **more)
    assert answer.stop_reason == "stop_sequence" and answer.stop_sequence == block.text[3]


def check_overflow(api: Anthropic) -> None:
    try:
        api.messages.create(model="claude-x", max_tokens=2, messages=[{"role": "user", "content": "x" * 9000}])
    except anthropic.BadRequestError as raised:
        assert raised.message and "prompt is too long: 9" in str(raised)
    else:
        raise AssertionError("it was cut in silence")


DUMMY = (check_message, check_stream_helper, check_tools_and_thoughts_stream, check_tool_runner, check_errors)
TINY = (check_count_tokens, check_parse, check_stop_sequence, check_overflow)

if __name__ == "__main__":
    sys.exit(bool(run(on_dummy(), DUMMY, client) + run(on_tiny(), TINY, client)))
