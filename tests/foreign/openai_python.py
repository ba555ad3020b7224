"""The `openai` package as a judge of our answers: run by hand, since the package is large.

    pip install openai && python tests/foreign/openai_python.py

It starts `serve` before tiny models and before the dummy backend, and lets the SDK parse each answer in its strict
mode, in which a member that is missing or of another type is an error.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import openai
from openai import OpenAI
from pydantic import BaseModel

from tests.http.served import Served, serving
from tests.http.tinymodel import serving_tiny

HELLO: Any = [{"role": "user", "content": "hello"}]
CALL: Any = [{"role": "user", "content": '!think of Bonn\n!call weather {"city": "Bonn"}'}]


class Weather(BaseModel):
    """A tool's arguments."""

    city: str


class Verdict(BaseModel):
    """A structured answer."""

    word: Literal["yes"]
    number: Literal[7]


TOOLS: Any = [openai.pydantic_function_tool(Weather, name="weather")]


def client(served: Served) -> OpenAI:
    return OpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0, _strict_response_validation=True)


def loose(api: OpenAI) -> OpenAI:
    """As programs use it."""
    return OpenAI(base_url=api.base_url, api_key="x", max_retries=0)


# on the dummy backend


def check_chat(api: OpenAI) -> None:
    answer = api.chat.completions.create(model="dummy", messages=HELLO)
    assert answer.choices[0].message.content == "lorem ipsum dolor sit amet hello."
    assert answer.usage and answer.usage.prompt_tokens_details


def check_chat_stream(api: OpenAI) -> None:
    chunks = list(api.chat.completions.create(model="dummy", messages=HELLO, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices).endswith("hello.")


def check_chat_stream_helper(api: OpenAI) -> None:
    options: Any = {"include_usage": True}
    with api.chat.completions.stream(model="dummy", messages=HELLO, stream_options=options) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert kinds[-1] == "content.done" or "content.done" in kinds
    assert final.choices[0].message.content == "lorem ipsum dolor sit amet hello." and final.usage


def check_tools_stream_helper(api: OpenAI) -> None:
    with api.chat.completions.stream(model="dummy", messages=CALL, tools=TOOLS) as stream:
        kinds = {event.type for event in stream}
        (call,) = stream.get_final_completion().choices[0].message.tool_calls or []
    assert "tool_calls.function.arguments.done" in kinds
    assert call.function.parsed_arguments == Weather(city="Bonn")


def check_tools_round(api: OpenAI) -> None:
    answer = api.chat.completions.parse(model="dummy", messages=CALL, tools=TOOLS)
    message = answer.choices[0].message
    assert message.tool_calls and message.tool_calls[0].function.parsed_arguments == Weather(city="Bonn")
    result: Any = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    again: Any = [*CALL, message, result]
    assert api.chat.completions.create(model="dummy", messages=again, tools=TOOLS).choices[0].message.content


def check_responses(api: OpenAI) -> None:
    answer = api.responses.create(model="dummy", input="hello")
    assert answer.output_text == "lorem ipsum dolor sit amet hello." and answer.usage


def check_responses_stream_helper(api: OpenAI) -> None:
    with api.responses.stream(model="dummy", input="hello") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert final.output_text == "lorem ipsum dolor sit amet hello."


def check_responses_tools(api: OpenAI) -> None:
    tools: Any = [openai.pydantic_function_tool(Weather, name="weather")["function"] | {"type": "function"}]
    with api.responses.stream(model="dummy", input=CALL, tools=tools) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.function_call_arguments.done" in kinds and "response.reasoning_text.delta" in kinds
    (call,) = [item for item in final.output if item.type == "function_call"]
    history: Any = [*CALL, *[item.model_dump() for item in final.output]]
    history.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    assert api.responses.create(model="dummy", input=history, tools=tools).output_text is not None


def check_errors(api: OpenAI) -> None:
    for error, ask in (
        (openai.NotFoundError, lambda: api.chat.completions.create(model="no-such", messages=HELLO)),
        (openai.BadRequestError, lambda: api.chat.completions.create(model="dummy", messages=HELLO, n=9)),
        (openai.NotFoundError, lambda: api.models.retrieve("no/such:model")),
        (openai.BadRequestError, lambda: api.responses.create(model="dummy", input="x", previous_response_id="r")),
    ):
        try:
            ask()
        except error as raised:
            assert raised.code is not None or raised.param is not None
        else:
            raise AssertionError(f"{error.__name__} was not raised")


def check_models(api: OpenAI) -> None:
    assert "dummy" in [model.id for model in api.models.list()]
    assert api.models.retrieve("dummy").id == "dummy"


# on tiny models


def check_parse(api: OpenAI) -> None:
    answer = api.chat.completions.parse(model="tiny", messages=HELLO, response_format=Verdict)
    assert answer.choices[0].message.parsed == Verdict(word="yes", number=7)


def check_parse_stream(api: OpenAI) -> None:
    with api.chat.completions.stream(model="tiny", messages=HELLO, response_format=Verdict) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Verdict(word="yes", number=7)


def check_responses_parse(api: OpenAI) -> None:
    answer = api.responses.parse(model="tiny", input="hello", text_format=Verdict)
    assert answer.output_parsed == Verdict(word="yes", number=7)


def check_logprobs_and_n(api: OpenAI) -> None:
    options: Any = {"n": 2, "logprobs": True, "top_logprobs": 2, "max_tokens": 4}
    answer = api.chat.completions.create(model="tiny", messages=HELLO, **options)
    assert [len(choice.logprobs.content or []) > 0 for choice in answer.choices if choice.logprobs] == [True, True]
    chunks = list(api.chat.completions.create(model="tiny", messages=HELLO, stream=True, **options))
    told = [choice for chunk in chunks for choice in chunk.choices if choice.logprobs and choice.logprobs.content]
    assert [choice.index for choice in told] == [0, 1]


def check_completions(api: OpenAI) -> None:
    answer = api.completions.create(model="tiny", prompt=["a", "b"], max_tokens=3, logprobs=2)
    assert [choice.index for choice in answer.choices] == [0, 1] and answer.choices[0].logprobs
    # A prompt's first token has a log-probability of null, at OpenAI too, and the SDK's type knows none.
    echoed = loose(api).completions.create(model="tiny", prompt="ab", max_tokens=1, logprobs=2, echo=True)
    assert echoed.choices[0].logprobs and len(echoed.choices[0].logprobs.tokens or []) == 3
    # Nor a chunk whose `finish_reason` is null.
    chunks = list(loose(api).completions.create(model="tiny", prompt="a", suffix="b", max_tokens=3, stream=True))
    assert chunks[-1].choices[0].finish_reason


def check_embeddings(api: OpenAI) -> None:
    """Not strict: the SDK asks for base64, and its strict mode looks before it has decoded that."""
    answer = loose(api).embeddings.create(model="tiny-embed", input=["a", "b"], dimensions=8)
    assert [len(entry.embedding) for entry in answer.data] == [8, 8]


DUMMY = (
    check_chat, check_chat_stream, check_chat_stream_helper, check_tools_stream_helper, check_tools_round,
    check_responses, check_responses_stream_helper, check_responses_tools, check_errors, check_models,
)  # fmt: skip
TINY = (
    check_parse, check_parse_stream, check_responses_parse, check_logprobs_and_n, check_completions, check_embeddings,
)  # fmt: skip


def run(serve: Callable[[], Iterator[Served]], checks: tuple[Callable[[OpenAI], None], ...]) -> int:
    """How many failed."""
    failed = 0
    with contextlib.closing(serve()) as servers:  # type: ignore[type-var]
        served = next(servers)
        for check in checks:
            try:
                check(client(served))
                print(f"passed  {check.__name__}")
            except Exception:
                failed += 1
                print(f"FAILED  {check.__name__}\n{traceback.format_exc(limit=-3)}")
    return failed


if __name__ == "__main__":
    sys.exit(bool(run(serving, DUMMY) + run(serving_tiny, TINY)))
