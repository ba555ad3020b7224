"""llama-server itself, where there is one: in PATH, or named by THREADRUNNER_LLAMA_SERVER."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.backends.remote.test_backend import Asked
from tests.bench.peer import Peer
from threadrunner.api.generation import InfillParams
from threadrunner.backends.base import Failed, Finished, Progress
from threadrunner.engine.prompts.infill_ends import middle_ends

BINARY = os.environ.get("THREADRUNNER_LLAMA_SERVER") or shutil.which("llama-server")
pytestmark = pytest.mark.skipif(BINARY is None, reason="there is no llama-server")


@pytest.fixture(scope="module")
def peer(qwen_coder: Path) -> Iterator[Peer]:
    """With the model that has tokens for infilling."""
    with Peer(str(BINARY), str(qwen_coder), "-c", "1024", "-np", "2", "-kvu", "-t", "2") as peer:
        yield peer


@pytest.fixture(scope="module")
def asked(peer: Peer) -> Iterator[Asked]:
    asked = Asked(f"http://127.0.0.1:{peer.port}", patience=240)
    yield asked
    asked.backend.close()


def directly(peer: Peer, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{peer.port}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)


def test_greedy_text_is_the_servers_own(peer: Peer, asked: Asked) -> None:
    messages = [{"role": "user", "content": "Say something short with an emoji in it."}]
    own = directly(peer, "/v1/chat/completions", {"messages": messages, "temperature": 0, "max_tokens": 24})
    events = asked.events(asked.begin(prompt=messages[0]["content"], temperature=0, max_tokens=24))
    last = events[-1]
    assert isinstance(last, Finished), last
    result: Any = last.result
    assert result.text == own["choices"][0]["message"]["content"]
    assert result.usage.prompt_tokens == own["usage"]["prompt_tokens"]
    assert result.usage.completion_tokens == own["usage"]["completion_tokens"]
    assert any(isinstance(event, Progress) for event in events)


def test_a_text_continued_a_schema_and_logprobs(peer: Peer, asked: Asked) -> None:
    own = directly(peer, "/completion", {"prompt": "One, two, three,", "temperature": 0, "n_predict": 8})
    assert asked.ask(prompt="One, two, three,", raw=True, temperature=0, max_tokens=8).text == own["content"]
    schema = {"type": "object", "properties": {"red": {"type": "integer"}}, "required": ["red"],
              "additionalProperties": False}  # fmt: skip
    answer = asked.ask(prompt="A colour as JSON.", json_schema=schema, temperature=0, max_tokens=40)
    assert isinstance(json.loads(answer.text)["red"], int)
    answer = asked.ask(prompt="Hi", temperature=0, max_tokens=3, logprobs=2)
    assert len(answer.logprobs) == answer.usage.completion_tokens
    assert all(len(token.top) == 2 and token.logprob <= 0 for token in answer.logprobs)
    assert asked.ask(prompt="Hi", n=2, max_tokens=2).choices is not msgspec.UNSET


def test_a_middle(peer: Peer, asked: Asked) -> None:
    prefix, suffix = "def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n"
    body = {"input_prefix": prefix, "input_suffix": suffix, "temperature": 0, "n_predict": 24}
    own = directly(peer, "/infill", body)["content"]
    end = middle_ends(prefix, suffix).cut(own)
    params = msgspec.convert({"prefix": prefix, "suffix": suffix, "max_tokens": 24}, InfillParams)
    assert asked.ask(params).text == own[:end]


def test_too_long_a_prompt_has_both_counts(asked: Asked) -> None:
    last = asked.events(asked.begin(prompt="word " * 2000))[-1]
    assert isinstance(last, Failed)
    assert last.data["kind"] == "ContextOverflow"
    assert last.data["prompt_tokens"] > 2000
    assert last.data["limit"] == 1024


def test_a_cancel_ends_its_work(peer: Peer, asked: Asked) -> None:
    id = asked.begin(prompt="Tell me a long story.", max_tokens=900)
    while not any(event.id == id for event in asked.backend.step()):
        pass
    asked.backend.cancel(id)
    until = time.monotonic() + 60
    while time.monotonic() < until:  # it looks between two tokens, and has no event for us
        with urllib.request.urlopen(f"http://127.0.0.1:{peer.port}/slots", timeout=60) as response:
            if not any(slot["is_processing"] for slot in json.load(response)):
                return
    raise AssertionError("llama-server still works for a client that has gone")
