"""Gemma 3: layers with a sliding window, whose cells llama.cpp overwrites once they are out of it."""

from __future__ import annotations

import random

from tests.backends.harness import Loaded, assert_same_or_close, greedy

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
