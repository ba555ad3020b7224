"""Cached, forked, restored, beside others: the answer is that of a prompt evaluated alone from its first token.

On F32 weights, where the order of additions moves a logprob by thousandths; see assert_same_or_close.
"""

from __future__ import annotations

import pytest

from tests.backends.harness import EXACT, Loaded, assert_same_or_close, greedy
from threadrunner.api.generation import Generated

STORY = "Once upon a time, in a small house by the sea, there lived an old man and his grey cat. "
PROMPT = STORY * 2 + "One morning the cat said: "


@pytest.fixture(scope="module")
def alone(exact: Loaded) -> Generated:
    return exact.ask(greedy(PROMPT, max_tokens=16, logprobs=2))  # type: ignore[no-any-return]


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9, 1.0])
def test_a_part_was_known(exact: Loaded, alone: Generated, at: float) -> None:
    exact.forget()
    exact.ask(greedy(PROMPT[: int(len(PROMPT) * at)], max_tokens=1))
    answer = exact.ask(greedy(PROMPT, max_tokens=16, logprobs=2))
    assert answer.usage.cached_tokens > 3
    assert_same_or_close(alone, answer, EXACT)


def test_forked_from_the_middle_of_an_answer(exact: Loaded, alone: Generated) -> None:
    exact.forget()
    for other in (" The cat said nothing.", " Then it rained for a year."):
        exact.ask(greedy(PROMPT + alone.text[:20] + other, max_tokens=8))
    answer = exact.ask(greedy(PROMPT, max_tokens=16, logprobs=2))
    assert answer.usage.cached_tokens == answer.usage.prompt_tokens - 1
    assert_same_or_close(alone, answer, EXACT)


def test_beside_others(exact: Loaded, alone: Generated) -> None:
    exact.forget()
    others = [exact.submit(greedy(f"Item {i}: " + STORY * i, max_tokens=12)) for i in range(1, 4)]
    id = exact.submit(greedy(PROMPT, max_tokens=16, logprobs=2))
    ends, _ = exact.finish(id, *others)
    answer = ends[id]
    assert isinstance(answer, Generated)
    assert_same_or_close(alone, answer, EXACT)


def test_with_cells_here_and_there(exact: Loaded, alone: Generated) -> None:
    """What came and went before leaves holes, and the prompt's cells lie in them."""
    exact.forget()
    for i in range(5):
        exact.ask(greedy(f"{i} " + STORY * (i % 3 + 1), max_tokens=4))
    for _ in range(3):
        exact.engine.cells.evict_one()
    assert_same_or_close(alone, exact.ask(greedy(PROMPT, max_tokens=16, logprobs=2)), EXACT)


def test_sent_back_and_begun_again(exact: Loaded, alone: Generated) -> None:
    """A running sequence that had to give up its cells says on what it was saying."""
    exact.forget()
    id = exact.submit(greedy(PROMPT, max_tokens=16, logprobs=2))
    while not exact.engine.cells.running or exact.engine.cells.running[0].generated < 9:
        exact.backend.step()
    exact.engine.preempt(exact.engine.cells.running[0])
    ends, _ = exact.finish(id)
    answer = ends[id]
    assert isinstance(answer, Generated)
    assert_same_or_close(alone, answer, EXACT)


def test_read_back_from_disk(exact: Loaded) -> None:
    exact.forget()
    prompt = STORY * 5
    fresh = exact.ask(greedy(prompt, max_tokens=16, logprobs=2))
    store = exact.engine.cells.parking.store
    assert store is not None
    assert exact.engine.cells.save() == 1
    store.scan()  # as the next process does when it begins
    exact.forget()
    restored = exact.ask(greedy(prompt, max_tokens=16, logprobs=2))
    assert restored.usage.cached_tokens == restored.usage.prompt_tokens - 1
    assert_same_or_close(fresh, restored, EXACT)


def test_the_tolerance_would_see_a_small_error(exact: Loaded, alone: Generated) -> None:
    """One token of the prompt's middle is another: less than that nobody can get wrong."""
    exact.forget()
    wrong = exact.ask(greedy(PROMPT.replace("grey", "gray", 1), max_tokens=16, logprobs=2))
    with pytest.raises(AssertionError):
        assert_same_or_close(alone, wrong, EXACT)
