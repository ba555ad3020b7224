"""Layers with a sliding window, as Gemma 3 has them, whose cells llama.cpp overwrites once they are out of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import tiny
from tests.backends.harness import EXACT, Loaded, assert_same_or_close, greedy
from threadrunner.engine.events import Broken, Ended, Event
from threadrunner.engine.llama.context import OK
from threadrunner.engine.llama.sampling import Sampling
from threadrunner.engine.sequence import Priority, Request

TURNS = [
    f"Chapter {i}. The {thing} stood by the {place}, and nobody in the village knew why. "
    for i, (thing, place) in enumerate(
        [("lamp", "harbour"), ("horse", "mill"), ("clock", "church"), ("boat", "bridge"), ("stone", "well")] * 2
    )
]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    with Loaded(tiny.windowed(tmp_path_factory.mktemp("windowed") / "tiny.gguf"), context=1024) as loaded:
        yield loaded


def conversation(turns: int) -> str:
    return "".join(TURNS[:turns])


def test_forked_truncated_and_extended_gives_the_text_of_a_fresh_one(small: Loaded) -> None:
    small.forget()
    prompts = [
        conversation(8),  # longer than the window of 48
        conversation(8) + "And then",  # extended
        conversation(3),  # truncated, deep inside what the window has left behind
        conversation(5) + "But suddenly",  # forked in the middle
        conversation(8),
    ]
    cached = [small.ask(greedy(prompt, max_tokens=8, logprobs=2)) for prompt in prompts]
    assert cached[1].usage.cached_tokens > 400
    for prompt, answer in zip(prompts, cached, strict=True):
        small.forget()
        assert_same_or_close(small.ask(greedy(prompt, max_tokens=8, logprobs=2)), answer, EXACT)


def test_after_the_ring_has_come_round(small: Loaded) -> None:
    """Until old cells were overwritten: whatever is reused must still be whole."""
    rng = random.Random(3)
    small.forget()
    asked = []
    for _ in range(4):
        prompt = f"{rng.random()} " * rng.randrange(2) + conversation(rng.randrange(1, 10))
        asked.append((prompt, small.ask(greedy(prompt, max_tokens=4, logprobs=2))))
        assert small.cells_in_llama() == small.engine.cells.used()
    for prompt, answer in asked[-2:]:
        small.forget()
        assert_same_or_close(small.ask(greedy(prompt, max_tokens=4, logprobs=2)), answer, EXACT)


def test_candidates_of_a_prompt_whose_leaf_has_lost_its_beginning(tmp_path: Path) -> None:
    """They cannot be forked from the leaf, nor the leaf's cells be counted as theirs."""
    rng = random.Random(0)
    with Loaded(tiny.windowed(tmp_path / "tiny.gguf"), context=768) as loaded:
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
            return [rng.randrange(2, 250) for _ in range(count)]

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


def test_a_state_that_only_one_of_the_two_caches_has_room_for_leaves_no_cells(tmp_path: Path) -> None:
    """The layers with a window have cells of their own, of which each sequence that was brought back to a point has
    some that it does not share: they can be full before the others are."""
    with Loaded(tiny.windowed(tmp_path / "tiny.gguf"), context=256) as loaded:
        context, tokens = loaded.engine.context, list(range(3, 63))
        context.add(0, 0, tokens, output=False)
        assert context.decode() == OK
        rows = memoryview(bytearray(context.state_size(0, 0, len(tokens))))
        point = memoryview(bytearray(context.point_size(0)))
        assert context.save(0, 0, len(tokens), rows) and context.save_point(0, point)
        others = 0
        while others < 16:
            context.share(0, others + 1, 0, len(tokens))
            others += 1
            if not context.restore_point(others, point):
                context.remove(others)
                break
        assert loaded.cells_in_llama() == len(tokens), "one of the caches has all its cells free but these"
        assert not context.restore(others + 1, rows, 0, len(tokens))
        assert loaded.cells_in_llama() == len(tokens)


def test_where_windows_need_more_cells_than_there_are_fewer_run_at_once(tmp_path: Path) -> None:
    """What is saved of a window comes back for each sequence apart, so that many that share a prompt need more cells of
    the layers that have one than of the others. Their requests broke with "llama_decode failed with 1"."""
    rng = random.Random(1)
    ended: dict[int, int] = {}
    candidates: dict[int, int] = {}
    with Loaded(tiny.windowed(tmp_path / "tiny.gguf"), context=rng.choice([256, 512, 1024])) as loaded:
        engine = loaded.engine
        while len(candidates) < 60 or engine.busy:
            if len(candidates) < 60 and rng.random() < 0.3:
                id = len(candidates) + 1
                candidates[id] = rng.choice([1, 1, 1, 3])
                size, base = rng.randrange(2, 200), random.Random(rng.randrange(6))
                prompt = [base.randrange(3, 250) for _ in range(size)]
                scored = 2 if rng.random() < 0.1 and candidates[id] == 1 else None
                sampling = Sampling(temperature=1.0, seed=id)
                length, priority = rng.randrange(1, 60), rng.choice(list(Priority))
                n = candidates[id]
                engine.add(Request(id, prompt, sampling, length, priority=priority, n=n, scored=scored))
            for event in engine.step():
                assert not isinstance(event, Broken), event.error
                if isinstance(event, Ended):
                    ended[event.id] = ended.get(event.id, 0) + 1
            assert loaded.cells_in_llama() == engine.cells.used()
    assert ended == candidates
