"""`json_schema_check: after`: finished answers are checked, what does not fit is asked for again and never shown."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded, greedy
from threadrunner.api import errors
from threadrunner.backends.base import Failed, Piece
from threadrunner.backends.checked import TRIES, Checked
from threadrunner.engine.constraints.check import SchemaCheck
from threadrunner.engine.events import Ended
from threadrunner.engine.llama.sampling import Sampling
from threadrunner.engine.sequence import Request
from threadrunner.engine.utterance import Told

DIGITS = {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 2, "maxItems": 2, "uniqueItems": True}
NEVER = {"enum": [1], "not": {"const": 1}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    with Loaded(tiny.llama(tmp_path_factory.mktemp("tiny") / "m.gguf")) as loaded:
        yield loaded


def after(schema: Any, **more: Any) -> Any:
    ask = {"temperature": 80.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "max_tokens": 40, "seed": 1, **more}
    return greedy("abc", json_schema=schema, json_schema_check="after", **ask)


def test_without_it_what_cannot_be_held_is_refused(model: Loaded) -> None:
    with pytest.raises(errors.InvalidGrammar, match="#/uniqueItems"):
        model.submit(greedy("abc", json_schema=DIGITS))


@pytest.mark.parametrize("n", [1, 4])
def test_answers_that_do_not_fit_are_asked_for_again(model: Loaded, n: int) -> None:
    """Two equal digits come in a third of the answers, so that some of these needed a second try."""
    again = 0
    for seed in range(6):
        id = model.submit(after(DIGITS, seed=seed * 10, n=n))
        ends, events = model.finish(id)
        result = ends[id]
        if isinstance(result, Failed):  # four times in a row, which one of eighty is
            continue
        texts = [choice.text for choice in result.choices] if n > 1 else [result.text]
        assert all(len(set(text.strip("[]").replace(" ", "").split(","))) == 2 for text in texts)
        pieces = [(event.index, event.text) for event in events if isinstance(event, Piece)]
        assert sorted(pieces) == [*enumerate(texts)]  # each whole, and nothing that was taken back
        again += result.usage.completion_tokens > sum(map(len, texts))
    assert again
    assert model.cells_in_llama() == model.engine.cells.used()


def test_a_seed_repeats_all_tries(model: Loaded) -> None:
    first, second = (model.ask(after(DIGITS, seed=7)) for _ in range(2))
    assert first.text == second.text


@pytest.mark.parametrize("temperature", [0.0, 2.0])
@pytest.mark.parametrize("n", [1, 2])
def test_after_the_last_try_it_is_an_error(model: Loaded, temperature: float, n: int) -> None:
    id = model.submit(after(NEVER, temperature=temperature, n=n))
    ends, events = model.finish(id)
    ended = ends[id]
    assert isinstance(ended, Failed)
    assert ended.code == errors.InvalidGrammar.code
    assert f"none of {TRIES} answers fits the schema" in ended.message
    assert len(events) == 1
    assert not model.engine.busy


def test_an_answer_that_is_cut_short_comes_as_it_is(model: Loaded) -> None:
    result = model.ask(after(NEVER | {"enum": ["a" * 50]}, max_tokens=5))
    assert (result.finish_reason, result.text) == ("length", '"aaaa')


def test_a_greedy_answer_varies_when_it_is_asked_for_again(model: Loaded) -> None:
    answer = Checked(SchemaCheck(DIGITS), Request(1, [1], Sampling(temperature=0.0, seed=5), n=3, scored=2))
    sequence: Any = SimpleNamespace(generated=6)
    tries = [answer.again(Ended(1, index, "[1,1]", "stop", sequence, [], Told())) for index in (2, 2, 0)]
    assert all(again is not None and again.n == 1 and again.sampling.temperature == 0.8 for again in tries)
    assert [again.first for again in tries if again] == [2, 2, 0]
    assert [again.scored for again in tries if again] == [None, None, 2]
    assert len({again.sampling.seed for again in tries if again}) == 2
    assert answer.tokens == 18
    assert answer.again(Ended(1, 1, "[1,2]", "stop", sequence, [], Told())) is None
