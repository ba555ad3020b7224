"""LangChain's OpenAI classes as clients: run by hand, since they are large.

pip install langchain-openai && python tests/foreign/langchain_openai_classes.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.foreign.running import on_dummy, run
from tests.http.served import Served
from tests.http.tinymodel import serving_tiny

SAID = "lorem ipsum dolor sit amet hello."
CALL = '!call weather {"city": "Bonn"}'


class Verdict(BaseModel):
    """What a model must answer."""

    word: Literal["yes"]


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def client(served: Served) -> Any:
    """Arguments of every class."""
    return {"base_url": f"{served.url}/v1", "api_key": "any"}


def check_an_answer_and_its_count(at: Any) -> None:
    answer = ChatOpenAI(**at, model="default").invoke("hello")
    assert answer.content == SAID and answer.usage_metadata["output_tokens"] == 6


def check_a_stream(at: Any) -> None:
    chunks = list(ChatOpenAI(**at, model="default", stream_usage=True).stream("hello"))
    assert "".join(chunk.content for chunk in chunks) == SAID and len(chunks) > 4
    assert sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata) == 6


def check_a_tool_round(at: Any) -> None:
    for more in ({}, {"use_responses_api": True, "output_version": "responses/v1"}):
        model = ChatOpenAI(**at, model="default", **more).bind_tools([weather])
        asked = model.invoke(CALL)
        (call,) = asked.tool_calls
        assert (call["name"], call["args"]) == ("weather", {"city": "Bonn"})
        said = ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"])
        assert "sunny" in str(model.invoke([HumanMessage(CALL), asked, said]).content)


def check_a_stream_of_responses(at: Any) -> None:
    model = ChatOpenAI(**at, model="default", use_responses_api=True)
    assert "".join(str(chunk.text) for chunk in model.stream("hello")) == SAID


def check_a_structured_answer(at: Any) -> None:
    for method in ("json_schema", "function_calling"):
        model = ChatOpenAI(**at, model="tiny").with_structured_output(Verdict, method=method)
        assert model.invoke("hello") == Verdict(word="yes"), method


def check_several_and_a_completion(at: Any) -> None:
    several = ChatOpenAI(**at, model="tiny", n=2, max_tokens=4).generate([[HumanMessage("hello")]])
    assert len(several.generations[0]) == 2
    assert isinstance(OpenAI(**at, model="tiny", max_tokens=4).invoke("abc"), str)


def check_embeddings(at: Any) -> None:
    model = OpenAIEmbeddings(**at, model="tiny-embed", check_embedding_ctx_length=False)
    assert [len(vector) for vector in model.embed_documents(["a", "b"])] == [32, 32]


if __name__ == "__main__":
    on_a_script = (check_an_answer_and_its_count, check_a_stream, check_a_tool_round, check_a_stream_of_responses)
    on_a_model = (check_a_structured_answer, check_several_and_a_completion, check_embeddings)
    failed = run(on_dummy(), on_a_script, client) + run(serving_tiny(), on_a_model, client)
    sys.exit(bool(failed))
