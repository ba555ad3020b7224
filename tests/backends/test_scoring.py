"""Log-probabilities of a prompt's own tokens: exact, and never hidden by a cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded, greedy
from threadrunner.backends.base import Piece
from threadrunner.engine.llama.context import ABORTED, OK, Context

PROMPT = "".join(chr(97 + i * i % 26) for i in range(200))
TOLERANCE = 0.02
"""A last, short batch is multiplied in another order, and scores here are of the order of 20."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    with Loaded(tiny.llama(tmp_path_factory.mktemp("tiny") / "m.gguf")) as loaded:
        yield loaded


def expected(model: Loaded, tokens: list[int]) -> list[float]:
    """By a context of our own: one batch, the logarithm of numpy's softmax."""
    weights = model.backend.loaded.model
    context = Context(weights, n_cells=512, n_seq=1, n_batch=512, n_ubatch=512, threads=1)
    context.add_all_outputs(0, 0, tokens)
    assert context.decode() == 0
    rows = [np.array(context.logits(i)[: weights.n_vocab], np.float64) for i in range(len(tokens) - 1)]
    context.close()
    return [float(row[token] - np.log(np.exp(row).sum())) for row, token in zip(rows, tokens[1:], strict=True)]


@pytest.mark.parametrize("n", [1, 3])
def test_a_prompts_tokens_are_scored_exactly(model: Loaded, n: int) -> None:
    tokens = model.vocab.tokenize(PROMPT)
    for _ in range(2):  # the second time the cache knows all of it
        result = model.ask(greedy(PROMPT, prompt_logprobs=2, max_tokens=4, n=n, temperature=1.0, seed=1))
        first, *rest = result.prompt_logprobs
        assert first is None
        assert "".join(entry.text for entry in rest) == PROMPT[1:]
        assert [entry.logprob for entry in rest] == pytest.approx(expected(model, tokens), abs=TOLERANCE)
        assert all(len(entry.top) == 2 and entry.top[0][1] >= entry.logprob - TOLERANCE for entry in rest)
    assert model.cells_in_llama() == model.engine.cells.used()
    plain = model.ask(greedy(PROMPT, max_tokens=4))
    assert plain.usage.cached_tokens == len(tokens) - 1  # and what was evaluated for it serves others


def test_tokens_are_scored_as_they_are(model: Loaded) -> None:
    tokens = [1, 5, 0, 258, 77, 77]
    result = model.ask(greedy(prompt=None, raw=False, prompt_tokens=tokens, prompt_logprobs=0, max_tokens=0))
    assert [entry.logprob for entry in result.prompt_logprobs[1:]] == pytest.approx(
        expected(model, tokens), abs=TOLERANCE
    )
    assert (result.text, result.finish_reason, result.usage.prompt_tokens) == ("", "length", 6)
    one = model.ask(greedy(prompt=None, raw=False, prompt_tokens=[7], prompt_logprobs=0, max_tokens=1))
    assert one.prompt_logprobs == [None]
    assert model.ask(greedy("abc", max_tokens=1)).prompt_logprobs is not None


def test_a_batch_that_is_stopped_loses_no_score(model: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second batch is evaluated and its logits are lost, as when the abort comes in a batch's last part."""
    tokens = model.vocab.tokenize(PROMPT)
    decode = model.engine.context.decode
    batches: list[int] = []

    def decode_and_lose() -> int:
        batches.append(model.engine.context.n_tokens)
        return ABORTED if decode() == OK and len(batches) % 2 else OK

    monkeypatch.setattr(model.engine.context, "decode", decode_and_lose)
    result = model.ask(greedy(PROMPT, prompt_logprobs=0, max_tokens=1))
    found = [entry.logprob for entry in result.prompt_logprobs[1:]]
    assert found == pytest.approx(expected(model, tokens), abs=TOLERANCE)
    assert len(batches) >= 8
    assert model.cells_in_llama() == model.engine.cells.used()


def test_a_sequence_that_is_sent_back_keeps_its_scores(model: Loaded) -> None:
    tokens = model.vocab.tokenize(PROMPT)
    id = model.submit(greedy(PROMPT, prompt_logprobs=0, max_tokens=3))
    model.backend.step()
    model.backend.step()
    (sequence,) = model.engine.cells.running
    assert 0 < len(sequence.prompt_logprobs) < len(tokens) - 1
    model.engine.preempt(sequence)
    ends, _ = model.finish(id)
    found = [entry.logprob for entry in ends[id].prompt_logprobs[1:]]
    assert found == pytest.approx(expected(model, tokens), abs=TOLERANCE)
    assert model.cells_in_llama() == model.engine.cells.used()


def test_rows_are_kept_for_few_tokens_at_a_time(model: Loaded) -> None:
    model.submit(greedy(PROMPT, prompt_logprobs=0, max_tokens=1))
    steps = 0
    while model.engine.busy:
        model.backend.step()
        steps += 1
        assert model.engine.context.n_tokens <= 64
    assert steps >= 4


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("max_tokens", [0, 5])
def test_an_echo_begins_with_the_prompt(model: Loaded, n: int, max_tokens: int) -> None:
    ask = {"max_tokens": max_tokens, "n": n, "temperature": 1.0, "seed": 2, "logit_bias": {"99": 50.0}}
    plain = model.ask(greedy("abc", **ask))
    echoed = model.ask(greedy("abc", **ask, echo=True))
    assert echoed.text == "abc" + plain.text
    given = model.ask(greedy(prompt=None, raw=False, prompt_tokens=model.vocab.tokenize("abc"), **ask, echo=True))
    assert given.text == echoed.text
    id = model.submit(greedy("abc", **ask, echo=True))
    _, events = model.finish(id)
    for index in range(n):
        streamed = "".join(e.text for e in events if isinstance(e, Piece) and e.index == index)
        assert streamed == (echoed.choices[index].text if n > 1 else echoed.text)
