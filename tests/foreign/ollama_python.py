"""The `ollama` package and LangChain's Ollama classes as clients: run by hand, since they are large.

pip install ollama langchain-ollama && python tests/foreign/ollama_python.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import ollama
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM

from tests.foreign.running import on_dummy, on_tiny, run
from tests.http.served import Served

HELLO: Any = [{"role": "user", "content": "hello"}]
CALL: Any = [{"role": "user", "content": '!call weather {"city": "Bonn"}'}]
SAID = "lorem ipsum dolor sit amet hello."
SCHEMA: Any = {"type": "object", "properties": {"city": {"enum": ["Bonn"]}}, "required": ["city"]}


def weather(city: str) -> str:
    """The weather of a city.

    Args:
        city: its name
    """
    return f"sunny in {city}"


def client(served: Served) -> ollama.Client:
    api = ollama.Client(host=served.url)
    api.url = served.url
    return api


# on the dummy backend


def check_list_and_show(api: ollama.Client) -> None:
    assert api.list().models[0].model == "dummy"
    shown = api.show("dummy")
    assert shown.capabilities == ["completion", "tools"] and shown.modelinfo and shown.details


def check_generate(api: ollama.Client) -> None:
    whole = api.generate("dummy", "hello")
    assert whole.response == SAID and whole.eval_count == 6 and whole.done_reason == "stop"
    assert "".join(part.response for part in api.generate("dummy", "hello", stream=True)) == SAID


def check_chat(api: ollama.Client) -> None:
    assert api.chat("dummy:latest", HELLO, keep_alive="5m").message.content == SAID
    parts = list(api.chat("dummy", HELLO, stream=True))
    assert "".join(part.message.content or "" for part in parts) == SAID and parts[-1].done
    thought = api.chat("dummy", [{"role": "user", "content": "!think hm\nhello"}], think=True)
    assert thought.message.thinking == "hm" and thought.message.content == SAID


def check_tools(api: ollama.Client) -> None:
    parts = list(api.chat("dummy", CALL, tools=[weather], stream=True))
    assert sum(len(part.message.tool_calls or []) for part in parts) == 1
    answer = api.chat("dummy", CALL, tools=[weather])
    (call,) = answer.message.tool_calls or []
    assert call.function.name == "weather" and call.function.arguments == {"city": "Bonn"}
    result = {"role": "tool", "tool_name": "weather", "content": weather(**call.function.arguments)}
    assert "sunny" in (api.chat("dummy", [*CALL, answer.message, result], tools=[weather]).message.content or "")


def check_load_and_unload(api: ollama.Client) -> None:
    assert api.generate("dummy").done_reason == "load" and api.ps().models[0].model == "dummy"
    assert api.generate("dummy", keep_alive=0).done_reason == "unload" and not api.ps().models


def check_errors(api: ollama.Client) -> None:
    asks = [
        (403, lambda: api.pull("x")),
        (403, lambda: list(api.pull("x", stream=True))),
        (403, lambda: api.delete("x")),
        (403, lambda: api.push("x")),
        (403, lambda: api.copy("x", "y")),
        (403, lambda: api.create("x", from_="y")),
        (404, lambda: api.chat("no-such", HELLO)),
        (404, lambda: list(api.chat("no-such", HELLO, stream=True))),
        (400, lambda: api.chat("dummy", [{"role": "user", "content": "x", "images": [b"abc"]}])),
    ]
    for status, ask in asks:
        try:
            ask()
        except ollama.ResponseError as raised:
            assert raised.status_code == status and raised.error, raised
        else:
            raise AssertionError(f"{status} was not raised")


def check_langchain(api: ollama.Client) -> None:
    chat = ChatOllama(model="dummy", base_url=api.url, validate_model_on_init=True)
    answer = chat.invoke("hello")
    assert answer.content == SAID and answer.usage_metadata and answer.usage_metadata["output_tokens"] == 6
    assert "".join(str(part.content) for part in chat.stream("hello")) == SAID
    question = HumanMessage(CALL[0]["content"])
    called = chat.bind_tools([weather]).invoke([question])
    (call,) = called.tool_calls
    assert call["args"] == {"city": "Bonn"}
    result = ToolMessage(weather(**call["args"]), tool_call_id=call["id"])
    assert "sunny" in chat.bind_tools([weather]).invoke([question, called, result]).content
    assert OllamaLLM(model="dummy", base_url=api.url).invoke("hello") == SAID
    thinking = ChatOllama(model="dummy", base_url=api.url, reasoning=True).invoke("!think hm\nhello")
    assert thinking.additional_kwargs["reasoning_content"] == "hm"


# on a tiny model


def check_format(api: ollama.Client) -> None:
    answer = api.chat("tiny", HELLO, format=SCHEMA)
    assert json.loads(answer.message.content or "") == {"city": "Bonn"}
    structured = ChatOllama(model="tiny", base_url=api.url).with_structured_output({"title": "A", **SCHEMA})
    assert structured.invoke("hello") == {"city": "Bonn"}


def check_suffix(api: ollama.Client) -> None:
    answer = api.generate("tiny", prompt="def f(", suffix="):\n", options={"num_predict": 4})
    assert (answer.eval_count or 0) <= 4 and answer.done


def check_embed(api: ollama.Client) -> None:
    assert [len(vector) for vector in api.embed("tiny", ["a", "b"]).embeddings] == [32, 32]
    assert len(api.embeddings("tiny", "a").embedding) == 32
    assert len(OllamaEmbeddings(model="tiny", base_url=api.url).embed_documents(["a", "b"])) == 2


DUMMY = (
    check_list_and_show, check_generate, check_chat, check_tools, check_load_and_unload, check_errors, check_langchain,
)  # fmt: skip
TINY = (check_format, check_suffix, check_embed)

if __name__ == "__main__":
    sys.exit(bool(run(on_dummy(), DUMMY, client) + run(on_tiny(), TINY, client)))
