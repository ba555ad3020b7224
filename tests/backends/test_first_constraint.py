"""The first request with a constraint: what it needs is made on another thread, and only it waits for that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded, greedy
from threadrunner.api.chat import FunctionDefinition, Tool
from threadrunner.api.generation import Generated
from threadrunner.backends.base import Failed
from threadrunner.engine.constraints.guide import Guide, TokenTable, _usual_way
from threadrunner.engine.constraints.native import NativeTokenizer


class Held:
    """A model whose vocabulary is read for constraints when the test lets it be."""

    def __init__(self, path: Path) -> None:
        self.loaded = Loaded(path, threads=2)
        self.loaded.backend.loaded.threads.due = lambda wall: False  # type: ignore[method-assign]  # others may be busy
        self.begun, self.go = threading.Event(), threading.Event()
        self._table: Callable[[], TokenTable] = self.loaded.engine.guide._table
        self.loaded.engine.guide._table = self._wait

    def _wait(self) -> TokenTable:
        self.begun.set()
        assert self.go.wait(60)
        return self._table()

    @property
    def guide(self) -> Guide:
        return self.loaded.engine.guide


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    held = Held(tiny.untied(tmp_path / "m.gguf", **tiny.LONG))
    try:
        yield held
    finally:
        held.go.set()
        held.loaded.backend.close()


def test_others_go_on_while_it_waits(held: Held) -> None:
    loaded = held.loaded
    first = loaded.submit(greedy("abc", grammar="root ::= [0-9]{4}"))
    other = loaded.submit(greedy("abc", max_tokens=30))
    ends, events = loaded.finish(other)
    assert held.begun.wait(60)
    end = ends[other]
    assert isinstance(end, Generated)
    assert end.usage.completion_tokens == 30
    assert all(event.id == other for event in events)
    assert loaded.backend.gauges()["queued"] == 1
    assert loaded.engine.context._params.n_threads == 1, "a core is left to the other thread"
    held.go.set()
    ends, _ = loaded.finish(first)
    end = ends[first]
    assert isinstance(end, Generated)
    assert end.text.isdecimal()
    assert loaded.engine.context._params.n_threads == 2


def test_it_can_be_cancelled_and_the_next_one_waits_too(held: Held) -> None:
    loaded = held.loaded
    first = loaded.submit(greedy("abc", grammar="root ::= [0-9]{4}"))
    loaded.backend.cancel(first)
    assert loaded.backend.step() == []
    assert loaded.backend.gauges()["queued"] == 0
    second = loaded.submit(greedy("abc", json_schema=True, max_tokens=5))
    held.go.set()
    ends, events = loaded.finish(second)
    assert isinstance(ends[second], Generated)
    assert not any(event.id == first for event in events)


def test_one_that_is_refused_then_is_an_error_of_its_own(held: Held) -> None:
    loaded = held.loaded
    bad = loaded.submit(greedy("abc", grammar='root ::= root "a"'))
    long = loaded.submit(greedy("abc" * 600, json_schema=True))
    good = loaded.submit(greedy("abc", json_schema=True, max_tokens=3))
    held.go.set()
    ends, _ = loaded.finish(bad, long, good)
    assert isinstance(ends[bad], Failed)
    too_long = ends[long]
    assert isinstance(too_long, Failed)
    assert too_long.data["kind"] == "ContextOverflow"
    assert not isinstance(ends[good], Failed)


def test_tools_that_may_be_called_wait_for_nothing(held: Held) -> None:
    loaded = held.loaded
    tools = [Tool(function=FunctionDefinition(name="f", parameters={"type": "object"}))]
    params = greedy("abc", raw=False, tools=tools, max_tokens=3)
    assert not isinstance(loaded.ask(params), Failed)
    assert held.guide.making


def test_a_vocabulary_that_is_refused_is_an_error_of_requests_that_need_it(held: Held) -> None:
    loaded = held.loaded

    def broken() -> TokenTable:
        raise ValueError("no vocabulary")

    held.guide._table = broken
    answer = loaded.ask(greedy("abc", grammar="root ::= [0-9]{4}"))
    assert isinstance(answer, Failed)
    assert "cannot be held to a grammar: no vocabulary" in answer.message
    assert loaded.ask(greedy("abc", max_tokens=3)).usage.completion_tokens == 3


TEXTS = [
    b"hello world",
    b" a",
    b"a",
    b'{"name": "x',
    "é日本".encode(),
    b"\xff\xfe",
    b"\xe6\x97",
    b"\n",
    b"  ",
    b"",
    b"\1\2",
]


@pytest.mark.parametrize("model", ["smollm2", pytest.param("gemma3", marks=pytest.mark.slow)])
def test_texts_are_written_as_llguidances_own_interface_to_llama_cpp_does(
    model: str, request: pytest.FixtureRequest
) -> None:
    from llguidance import LLTokenizer

    with Loaded(request.getfixturevalue(model), context=256) as loaded:
        table = loaded.vocab.table()
        end = len(table.pieces)
        pieces = [*table.pieces, b"\xff<|end|>"]
        theirs = LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]
            tokens=pieces, vocab_ptr=table.vocabulary, tokenize_fptr=table.tokenize, eos_token=end
        )
        ours = NativeTokenizer(pieces, end, _usual_way(table))
        for text in TEXTS:
            assert list(ours.tokens(text)) == theirs.tokenize_bytes(text), text
