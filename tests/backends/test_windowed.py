"""Gemma 3: layers with a sliding window, whose cells llama.cpp overwrites once they are out of it."""

from __future__ import annotations

import random
from pathlib import Path

from tests.backends.harness import Loaded, assert_same_or_close, greedy
from threadrunner.engine.events import Ended, Event
from threadrunner.engine.llama.sampling import Sampling
from threadrunner.engine.sequence import Request

TURNS = [
    f"Chapter {i}. The {thing} stood by the {place}, and nobody in the village knew why. " * 4
    for i, (thing, place) in enumerate(
        [("lamp", "harbour"), ("horse", "mill"), ("clock", "church"), ("boat", "bridge"), ("stone", "well")] * 2
    )
]


def conversation(turns: int) -> str:
    return "".join(TURNS[:turns])


def test_forked_truncated_and_extended_gives_the_text_of_a_fresh_one(gemma: Loaded) -> None:
    gemma.forget()
    prompts = [
        conversation(8),  # longer than the window of 512
        conversation(8) + "And then",  # extended
        conversation(3),  # truncated, deep inside what the window has left behind
        conversation(5) + "But suddenly",  # forked in the middle
        conversation(8),
    ]
    cached = [gemma.ask(greedy(prompt, max_tokens=8, logprobs=2)) for prompt in prompts]
    assert cached[1].usage.cached_tokens > 512
    for prompt, answer in zip(prompts, cached, strict=True):
        gemma.forget()
        assert_same_or_close(gemma.ask(greedy(prompt, max_tokens=8, logprobs=2)), answer)


def test_after_the_ring_has_come_round(gemma: Loaded) -> None:
    """Until old cells were overwritten: whatever is reused must still be whole."""
    rng = random.Random(3)
    gemma.forget()
    asked = []
    for _ in range(4):
        prompt = f"{rng.random()} " * rng.randrange(2) + conversation(rng.randrange(1, 10))
        asked.append((prompt, gemma.ask(greedy(prompt, max_tokens=4, logprobs=2))))
        assert gemma.cells_in_llama() == gemma.engine.cells.used()
    for prompt, answer in asked[-2:]:
        gemma.forget()
        assert_same_or_close(gemma.ask(greedy(prompt, max_tokens=4, logprobs=2)), answer)


def test_candidates_of_a_prompt_whose_leaf_has_lost_its_beginning(gemma3: Path) -> None:
    """They cannot be forked from the leaf, nor the leaf's cells be counted as theirs."""
    rng = random.Random(0)
    with Loaded(gemma3, context=768) as loaded:
        engine = loaded.engine
        ids: list[int] = []

        def run(prompt: list[int], max_tokens: int = 1, n: int = 1) -> list[Event]:
            ids.append(len(ids))
            engine.add(Request(ids[-1], prompt, Sampling(temperature=1.0, seed=1), max_tokens=max_tokens, n=n))
            events: list[Event] = []
            while engine.busy:
                events += engine.step()
                assert loaded.cells_in_llama() == engine.cells.used()
                for sequence in engine.cells.running:
                    known = engine.cells.cache.tokens(sequence.seq)
                    assert known == sequence.tokens[: len(known)]
            return events

        def some(count: int) -> list[int]:
            return [rng.randrange(100, 40_000) for _ in range(count)]

        def first_position(prompt: list[int]) -> int:
            _, holders = engine.cells.cache.match(prompt)
            return engine.context.first_position(holders[-1])

        # others come and go beside a long one that stays, until they take cells that have left its window
        long = some(740)
        while not ids or first_position(long) < 61:
            other = some(rng.randrange(150, 520))
            for prompt in (long, other) if len(ids) % 4 else (other, long):
                run(prompt)
            assert len(ids) < 30
        ended = [event for event in run(long[:60] + some(10), max_tokens=4, n=3) if isinstance(event, Ended)]
        assert sorted(event.index for event in ended) == [0, 1, 2]
        assert all(event.sequence.generated for event in ended)
