"""Pictures by line and column (M-RoPE, Qwen2-VL's): positions part from places, and what is said must not.

Each answer is held against llama.cpp's own helper for pictures, or against that of an empty cache, which is.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.backends import tiny, tiny_sight
from tests.backends.harness import EXACT, Loaded, assert_same_or_close, greedy
from tests.backends.test_pictures import by_the_helper
from tests.backends.tiny_sight import png
from threadrunner.api.chat import ImagePart
from threadrunner.api.generation import Generated, GenerateParams
from threadrunner.backends import seeing
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.sequence import Sequence

BLOCK = 32
"""Tokens of state that are saved at a time: fewer than most pictures here have, so that blocks end within them."""
SMALL, WIDE, TALL, LARGE = png(), png(200, 120, seed=2), png(48, 480, seed=3), png(480, 400, seed=4)
"""Of 12, 104, 90 and 750 rows; the last is more than a batch."""
ONE = "Look: <__media__> What is it?"
TWO = "First <__media__> and then <__media__> Which is larger?"


@pytest.fixture(scope="module", params=["qwen2vl", "qwen3vl"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("turning")
    deep = request.param == "qwen3vl"
    model = tiny.turning(folder / "model.gguf", tiny_sight.turning_vocabulary(), deep=deep)
    return str(model), str(tiny_sight.mmproj(folder / "mmproj.gguf", f"{request.param}_merger"))


def opened(files: tuple[str, str], **spec: Any) -> Loaded:
    loaded = Loaded(Path(files[0]), mmproj_path=files[1], **spec)
    loaded.engine.cells.parking.tier.block_tokens = BLOCK
    loaded.engine.scheduler.max_batch = 40  # a picture takes several steps
    return loaded


@pytest.fixture(scope="module")
def seeing_model(files: tuple[str, str]) -> Iterator[Loaded]:
    with opened(files) as loaded:
        yield loaded


@pytest.fixture
def loaded(seeing_model: Loaded) -> Loaded:
    empty(seeing_model)
    return seeing_model


def empty(loaded: Loaded) -> None:
    loaded.forget()
    loaded.engine.cells.parking.forget()


def look(prompt: str, *pictures: bytes, **more: Any) -> GenerateParams:
    images = [ImagePart(data) for data in pictures]
    return greedy(prompt, images=images, **{"logprobs": 2, "special": True, "ignore_eos": True, **more})


def running(loaded: Loaded) -> Sequence:
    (sequence,) = loaded.engine.cells.running
    return sequence


def evict(loaded: Loaded) -> None:
    while loaded.engine.cells.evict_one():
        pass
    assert loaded.cells_in_llama() == loaded.engine.cells.used() == 0


@pytest.mark.parametrize(
    ("prompt", "pictures"),
    [(ONE, (SMALL,)), (ONE, (WIDE,)), (ONE, (TALL,)), (ONE, (LARGE,)), (TWO, (WIDE, TALL)), (TWO, (SMALL, SMALL))],
)
def test_it_says_what_llama_cpps_own_helper_says(
    loaded: Loaded, files: tuple[str, str], prompt: str, pictures: tuple[bytes, ...]
) -> None:
    id = loaded.submit(look(prompt, *pictures))
    loaded.backend.step()
    sequence = running(loaded)
    loaded.finish(id)
    assert sequence.tokens[len(sequence.request.prompt) :] == by_the_helper(*files, 16, prompt, *pictures)
    assert sequence.position(len(sequence.tokens)) < len(sequence.tokens)
    assert loaded.cells_in_llama() == loaded.engine.cells.used()


def test_the_next_turn_goes_on_from_the_cache(loaded: Loaded, files: tuple[str, str]) -> None:
    first = loaded.ask(look(ONE, WIDE))
    longer = f"{ONE} It is blue. Why?"
    id = loaded.submit(look(longer, WIDE))
    loaded.backend.step()
    sequence = running(loaded)
    ends, _ = loaded.finish(id)
    answer = ends[id]
    assert isinstance(answer, Generated)
    assert answer.usage.cached_tokens >= first.usage.prompt_tokens
    assert sequence.tokens[len(sequence.request.prompt) :] == by_the_helper(*files, 16, longer, WIDE)
    empty(loaded)
    assert_same_or_close(loaded.ask(look(longer, WIDE)), answer, EXACT)


def test_parked_in_blocks_that_end_within_pictures(loaded: Loaded) -> None:
    expected = loaded.ask(look(TWO, WIDE, TALL))
    evict(loaded)
    again = loaded.ask(look(TWO, WIDE, TALL))
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1
    assert_same_or_close(expected, again, EXACT)
    assert loaded.cells_in_llama() == loaded.engine.cells.used()


@pytest.mark.parametrize("other", [(WIDE, SMALL), (WIDE, WIDE), (TALL, WIDE)])
def test_a_part_of_what_is_parked(loaded: Loaded, other: tuple[bytes, bytes]) -> None:
    expected = loaded.ask(look(TWO, *other))
    empty(loaded)
    loaded.ask(look(TWO, WIDE, TALL))
    evict(loaded)
    answer = loaded.ask(look(TWO, *other))
    assert (answer.usage.cached_tokens > 104) == (other[0] == WIDE)
    assert_same_or_close(expected, answer, EXACT)
    assert loaded.cells_in_llama() == loaded.engine.cells.used()


@pytest.mark.parametrize("refused", range(8))
def test_a_state_that_is_refused_within_a_picture(
    loaded: Loaded, refused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = loaded.ask(look(TWO, WIDE, TALL))
    evict(loaded)
    context, calls = loaded.engine.context, itertools.count()
    really = context.restore
    monkeypatch.setattr(context, "restore", lambda *what: next(calls) != refused and really(*what))
    answer = loaded.ask(look(TWO, WIDE, TALL))
    assert next(calls) == refused + 1
    assert answer.usage.cached_tokens <= refused * BLOCK
    assert_same_or_close(expected, answer, EXACT)
    assert loaded.cells_in_llama() == loaded.engine.cells.used()


def test_the_room_for_a_block_is_for_all_of_a_picture_that_ends_in_it(loaded: Loaded) -> None:
    id = loaded.submit(look(TWO, WIDE, TALL))
    loaded.backend.step()
    sequence = running(loaded)
    loaded.finish(id)
    evict(loaded)
    first = sequence.request.spans[0]
    found = loaded.engine.cells.parking.find(sequence.tokens[:-1], first.end + 1, first.end + 1)
    assert found is not None and first.end // BLOCK * BLOCK > first.begin
    assert found.room == found.blocks[-1].end - first.begin


def test_from_disk(tmp_path: Path, files: tuple[str, str]) -> None:
    spec = {"cache_dir": str(tmp_path), "cache_bytes": 1 << 24}
    with opened(files, **spec) as loaded:
        expected = loaded.ask(look(TWO, WIDE, TALL))
    with opened(files, **spec) as loaded:
        answer = loaded.ask(look(TWO, WIDE, TALL))
        assert answer.usage.cached_tokens == answer.usage.prompt_tokens - 1
        assert_same_or_close(expected, answer, EXACT)
        assert loaded.cells_in_llama() == loaded.engine.cells.used()


def _within(loaded: Loaded, prompt: GenerateParams) -> int:
    """A request of whose last picture some rows are evaluated and some are not."""
    id = loaded.submit(prompt)
    loaded.backend.step()
    sequence = running(loaded)
    while sequence.evaluated <= sequence.request.spans[-1].begin:
        loaded.backend.step()
    assert sequence.span is not None
    return id


def test_a_cancel_within_a_picture_leaves_nothing_of_it(files: tuple[str, str]) -> None:
    """Without parking, so that what is left stays in the cells beside the next request's."""
    with opened(files, cache_ram=0) as loaded:
        expected = loaded.ask(look(ONE, WIDE))
        loaded.forget()
        loaded.backend.cancel(_within(loaded, look(ONE, WIDE)))
        assert loaded.cells_in_llama() == loaded.engine.cells.used() > 0
        id = loaded.submit(look(ONE, WIDE))
        loaded.backend.step()
        while not running(loaded).generated:
            loaded.backend.step()
        assert loaded.cells_in_llama() == loaded.engine.cells.used()
        ends, _ = loaded.finish(id)
        answer = ends[id]
        assert isinstance(answer, Generated)
        assert 0 < answer.usage.cached_tokens < 20
        assert_same_or_close(expected, answer, EXACT)


@pytest.mark.parametrize("how", ["preempted", "grown", "aborted"])
def test_what_is_interrupted_within_a_picture_goes_on(loaded: Loaded, how: str) -> None:
    expected = loaded.ask(look(TWO, WIDE, TALL))
    empty(loaded)
    id = _within(loaded, look(TWO, WIDE, TALL))
    sequence = running(loaded)
    if how == "preempted":
        loaded.engine.preempt(sequence)
    elif how == "grown":
        before = loaded.engine.context.n_cells
        loaded.engine._growth.max_cells = 2 * before
        loaded.engine._grow(1)
        assert loaded.engine.context.n_cells > before
    else:
        loaded.engine.context.set_abort()
        assert loaded.engine.sight is not None
        assert loaded.engine._look(sequence, loaded.engine.sight) == []
        loaded.engine.context.clear_abort()
        assert sequence.span is not None and sequence.evaluated == sequence.span.begin
    assert loaded.cells_in_llama() == loaded.engine.cells.used()
    ends, _ = loaded.finish(id)
    answer = ends[id]
    assert isinstance(answer, Generated)
    assert_same_or_close(expected, answer, EXACT)
    assert loaded.cells_in_llama() == loaded.engine.cells.used()


def test_an_abort_behind_a_picture_keeps_it(loaded: Loaded) -> None:
    expected = loaded.ask(look(ONE, WIDE))
    empty(loaded)
    id = loaded.submit(look(ONE, WIDE))
    loaded.backend.step()
    sequence = running(loaded)
    end = sequence.request.spans[-1].end
    while sequence.evaluated < end:
        loaded.backend.step()
    loaded.engine.context.set_abort()
    chunks = loaded.engine._plan()
    loaded.engine._filler.fill(chunks)
    status = loaded.engine.context.decode()
    loaded.engine.context.clear_abort()
    assert status != 0
    loaded.engine._recover(chunks, status)
    assert sequence.evaluated == end
    ends, _ = loaded.finish(id)
    answer = ends[id]
    assert isinstance(answer, Generated)
    assert_same_or_close(expected, answer, EXACT)


def test_candidates_fork_it(loaded: Loaded) -> None:
    alone = loaded.ask(look(ONE, TALL))
    empty(loaded)
    result = loaded.ask(look(ONE, TALL, n=3, vote=None))
    assert [choice.text for choice in result.choices] == [alone.text] * 3
    assert loaded.cells_in_llama() == loaded.engine.cells.used()


def test_whatever_happens_meanwhile(loaded: Loaded) -> None:
    """Requests come, share, are cancelled, leave the cells and come back: each answer is that of an empty cache."""
    asked = [
        look(prompt, *pictures, max_tokens=4)
        for prompt, pictures in itertools.chain(
            itertools.product(
                [ONE, f"{ONE} Why? And what else is there to be seen on it?"], [(SMALL,), (WIDE,), (TALL,)]
            ),
            itertools.product(
                [TWO, f"{TWO} Tell me more of the second."], [(WIDE, TALL), (WIDE, SMALL), (SMALL, TALL)]
            ),
        )
    ]
    expected = []
    for params in asked:
        empty(loaded)
        expected.append(loaded.ask(params))
    empty(loaded)
    dice = random.Random(5)
    for _ in range(40):
        chosen = dice.sample(range(len(asked)), k=dice.choice((1, 1, 2, 3)))
        ids = [loaded.submit(asked[i]) for i in chosen]
        left_out = dice.choice(ids) if len(ids) > 1 and dice.random() < 0.4 else None
        if left_out is not None:
            for _ in range(dice.randrange(1, 9)):
                loaded.backend.step()
            loaded.backend.cancel(left_out)
            still = {s.request.id for s in loaded.engine.cells.running} | {s.request.id for s in loaded.engine._waiting}
            kept = [(i, id) for i, id in zip(chosen, ids, strict=True) if id in still]
        else:
            kept = list(zip(chosen, ids, strict=True))
        ends, _ = loaded.finish(*(id for _, id in kept)) if kept else ({}, [])
        for i, id in kept:
            answer = ends[id]
            assert isinstance(answer, Generated)
            assert_same_or_close(expected[i], answer, EXACT)
        for _ in range(dice.randrange(4)):
            loaded.backend.tidy() if dice.random() < 0.5 else loaded.engine.cells.evict_one()
        assert loaded.cells_in_llama() == loaded.engine.cells.used()


@pytest.mark.parametrize("model", [{"recurrent": True, "n_swa": 0}, {"recurrent": False, "n_swa": 64}])
def test_models_whose_state_cannot_be_cut_are_refused_in_words(model: dict[str, Any]) -> None:
    """Qwen3.5: half of its layers are recurrent. A checkpoint would have to know positions too."""
    closed: list[bool] = []
    projector = SimpleNamespace(turns=True, sees=True, close=lambda: closed.append(True))
    with pytest.raises(LoadError, match="M-RoPE"):
        seeing._usable(cast("Any", projector), cast("Any", SimpleNamespace(**model)))
    assert closed
