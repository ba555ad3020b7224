"""Sequences that run move down in llama.cpp's real cells, and say what they would have said."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.backends import tiny
from tests.backends.harness import EXACT, Loaded, assert_same_or_close, greedy
from threadrunner.api.generation import Generated
from threadrunner.backends.base import Finished
from threadrunner.engine.events import Broken, Ended
from threadrunner.engine.kv import heights, leaving
from threadrunner.engine.kv.parking import MIN_GAIN
from threadrunner.engine.llama.sampling import Sampling
from threadrunner.engine.sequence import Request

LENGTH = 150


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    path = tiny.untied(tmp_path_factory.mktemp("compaction") / "m.gguf", context_length=1024)
    with Loaded(path, context=1024) as loaded:
        yield loaded


@pytest.fixture(autouse=True)
def _small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heights, "MIN_GAP", 64)
    monkeypatch.setattr(heights, "WORTH_A_MOVE", 4)


def words(seed: int, size: int = 200) -> str:
    return "".join(random.Random(seed).choices("abcdefghijklmnop ", k=size))


def last_of(loaded: Loaded, count: int = 4) -> int:
    """Requests that say a token each step; when each has said some, all but the last are cancelled."""
    loaded.forget()
    ids = [loaded.submit(greedy(words(i), max_tokens=LENGTH, ignore_eos=True, logprobs=2)) for i in range(count)]
    running = loaded.engine.cells.running
    while loaded.engine.queued or len(running) < count or not all(s.generated > 9 for s in running):
        loaded.backend.step()
    for id in ids[:-1]:
        loaded.backend.cancel(id)
    return ids[-1]


class Moves:
    """How many tokens moved, each time."""

    def __init__(self, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens: list[int] = []
        compaction = loaded.engine._compaction
        move = compaction.move

        def counted() -> None:
            running = [(s, s.evaluated) for s in loaded.engine.cells.running]
            move()
            assert [s for s, _ in running] == loaded.engine.cells.running
            assert all(evaluated < s.evaluated + MIN_GAIN for s, evaluated in running), "evaluated again"
            self.tokens.append(sum(evaluated for _, evaluated in running))

        monkeypatch.setattr(compaction, "move", counted)


def answer(loaded: Loaded, id: int) -> Generated:
    while loaded.engine.busy:
        (ended,) = [event.result for event in loaded.backend.step() if isinstance(event, Finished)] or (None,)
        assert loaded.cells_in_llama() == loaded.engine.cells.used()
    assert isinstance(ended, Generated)
    return ended


def test_the_last_of_several_moves_once_and_says_the_same(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = Moves(loaded, monkeypatch)
    moved = answer(loaded, last_of(loaded))
    assert len(moves.tokens) == 1
    monkeypatch.setattr(loaded.engine._compaction, "_allowed", False)
    stayed = answer(loaded, last_of(loaded))
    assert len(moves.tokens) == 1
    assert moved.usage.completion_tokens == LENGTH
    assert_same_or_close(stayed, moved, EXACT)


def test_a_cancel_loses_nothing(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it, while blocks are saved, and behind it: what was evaluated is known to the same request."""
    loaded.forget()
    monkeypatch.setattr(loaded.engine.cells.parking.tier, "block_tokens", 32)
    moves = Moves(loaded, monkeypatch)
    compaction = loaded.engine._compaction
    for reached in (lambda: True, lambda: compaction._saved == 1, lambda: compaction._saved > 3, lambda: moves.tokens):
        id = last_of(loaded)
        loaded.backend.step()
        while not reached():
            assert loaded.engine.busy
            loaded.backend.step()
        (sequence,) = loaded.engine.cells.running
        evaluated = sequence.evaluated
        loaded.backend.cancel(id)
        assert loaded.cells_in_llama() == loaded.engine.cells.used() >= evaluated
        again = loaded.submit(greedy(words(3), max_tokens=LENGTH, ignore_eos=True))
        loaded.engine.admit()
        assert loaded.engine.cells.running[0].cached == len(sequence.request.prompt) - 1
        loaded.backend.cancel(again)
    assert len(moves.tokens) == 1
    loaded.forget()


def test_the_count_stays_llama_cpps_whatever_moves(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests with several candidates come and are cancelled, and what runs moves whenever it can."""
    monkeypatch.setattr(heights, "MIN_GAP", 1)
    monkeypatch.setattr(heights, "WORTH_A_MOVE", 0)
    monkeypatch.setattr(heights, "A_WHILE", 1)
    monkeypatch.setattr(leaving, "WORTH_A_RETURN", 1)
    monkeypatch.setattr(leaving, "WORTH_A_SAVE", 1)
    loaded.forget()
    moves = Moves(loaded, monkeypatch)
    rng = random.Random(2)
    engine = loaded.engine
    open_ids: set[int] = set()
    for made in range(10_000, 10_300):
        if len(open_ids) < 6:
            prompt = [rng.randrange(3, 250) for _ in range(rng.randrange(1, 90))]
            n = rng.choice([1, 1, 3])
            engine.add(Request(made, prompt, Sampling(temperature=1.0, seed=made), max_tokens=rng.randrange(30), n=n))
            open_ids.add(made)
        elif rng.random() < 0.3:
            engine.cancel(open_ids.pop())
        for event in engine.step():
            assert not isinstance(event, Broken), event
            if isinstance(event, Ended) and not any(s.request.id == event.id for s in engine.cells.running):
                open_ids.discard(event.id)
        assert loaded.cells_in_llama() == engine.cells.used()
    while engine.busy:
        engine.step()
    assert len(moves.tokens) > 20
    loaded.forget()
    assert loaded.cells_in_llama() == 0
