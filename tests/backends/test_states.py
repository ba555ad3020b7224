"""Models whose state cannot be cut anywhere (recurrent, hybrid, windowed) beside one whose can: the same greedy tokens
however a sequence came by its state, and a second turn that evaluates only what is new."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded
from threadrunner.api import errors
from threadrunner.engine import sizing
from threadrunner.engine.events import Ended, Event
from threadrunner.engine.llama.sampler import Sampling
from threadrunner.engine.sequence import Request

EXTRA = [Path(path) for path in os.environ.get("THREADRUNNER_TEST_KINDS", "").split(":") if path]
"""More models to run this on: for a look at architectures that tiny.py has no model of."""
KINDS = [*tiny.STATES, *(path.stem for path in EXTRA)]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("states")
    made = {path.stem: path for path in EXTRA}.get(request.param)
    path = made or tiny.STATES[request.param](folder / "m.gguf")
    with Loaded(path, context=1024, cache_dir=str(folder / "kv"), cache_bytes=1 << 28, fingerprint="f") as loaded:
        yield loaded


def text(seed: int, size: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(3, 250) for _ in range(size)]


class Asked:
    """Requests by their tokens, past the backend: what is said is compared token by token."""

    def __init__(self, model: Loaded) -> None:
        self.engine = model.engine
        self._ids = 1000

    def add(self, prompt: list[int], size: int = 12, n: int = 1) -> int:
        self._ids += 1
        self.engine.add(Request(self._ids, prompt, Sampling(temperature=0), max_tokens=size, n=n))
        return self._ids

    def ends(self, *ids: int) -> list[Ended]:
        found: list[Event] = []
        while len({e.id for e in found if isinstance(e, Ended)}) < len(ids) or self.engine.busy:
            found += self.engine.step()
        return [e for id in ids for e in found if isinstance(e, Ended) and e.id == id]

    def say(self, prompt: list[int], size: int = 12) -> tuple[list[int], int]:
        """The answer's tokens, and how many of the prompt's were not evaluated again."""
        (end,) = self.ends(self.add(prompt, size))
        return end.sequence.tokens[len(prompt) :], end.sequence.cached


def fresh(model: Loaded, prompt: list[int], size: int = 12) -> list[int]:
    model.forget()
    said, cached = Asked(model).say(prompt, size)
    assert cached == 0
    return said


def rest(model: Loaded) -> None:
    while model.backend.tidy():
        pass


def test_a_second_turn_evaluates_only_what_is_new(model: Loaded) -> None:
    first = text(1, 300)
    answer = fresh(model, first)
    second = [*first, *answer, *text(2, 20)]
    said, cached = Asked(model).say(second)
    assert cached >= len(first) + len(answer) - 1
    third = [*second, *said, *text(3, 20)]
    again, cached = Asked(model).say(third)
    assert cached >= len(second) + len(said) - 1
    assert again == fresh(model, third)


def test_the_same_question_again_and_an_edited_one(model: Loaded) -> None:
    prompt = text(4, 700)
    answer = fresh(model, prompt)
    said, cached = Asked(model).say(prompt)
    assert said == answer
    assert cached == len(prompt) - 1
    edited = [*prompt[:650], *text(5, 30)]
    said, cached = Asked(model).say(edited)
    assert cached >= 512
    assert said == fresh(model, edited)


@pytest.mark.parametrize("idle", [True, False])
def test_parked_and_brought_back(model: Loaded, idle: bool) -> None:
    prompts = [text(10 + i, 150) for i in range(4)]
    answers = [fresh(model, prompt) for prompt in prompts]
    model.forget()
    asked = Asked(model)
    for prompt in prompts:
        asked.say(prompt)
        if idle:
            rest(model)
    while model.engine.cells.evict_one():
        pass
    assert model.engine.cells.used() == 0
    for prompt, answer in zip(prompts, answers, strict=True):
        longer = [*prompt, *answer, *text(20, 9)]
        said, cached = asked.say(longer)
        assert cached >= len(prompt) + len(answer) - 1
        assert model.engine.cells.used() > 0
        kept = model.engine.cells.parking
        assert kept.bytes > 0
        same, _ = asked.say(prompt)
        assert same == answer
        assert said == asked.say(longer)[0]


def test_beside_others_and_as_several_answers(model: Loaded) -> None:
    prompts = [text(30 + i, 40 + 50 * i) for i in range(5)]
    answers = [fresh(model, prompt) for prompt in prompts]
    model.forget()
    asked = Asked(model)
    ends = asked.ends(*(asked.add(prompt) for prompt in prompts))
    assert [e.sequence.tokens[-12:] for e in ends] == answers
    model.forget()
    ends = asked.ends(asked.add(prompts[2], n=3))
    assert [e.sequence.tokens[-12:] for e in ends] == [answers[2]] * 3


def test_cancelled_sent_back_and_the_context_made_larger(model: Loaded) -> None:
    prompt = text(40, 200)
    answer = fresh(model, prompt)
    model.forget()
    asked = Asked(model)
    gone = asked.add(text(41, 400))
    id = asked.add(prompt)
    model.engine.step()
    model.engine.cancel(gone)
    while not any(s.generated > 4 for s in model.engine.cells.running):
        model.engine.step()
    (sequence,) = model.engine.cells.running
    model.engine.preempt(sequence)
    while sequence.seq < 0:
        model.engine.step()
    assert sequence.remaining <= 2
    if model.engine._grow(1):
        assert sequence.remaining == 1
    (end,) = asked.ends(id)
    assert end.sequence.tokens[len(prompt) :] == answer


def test_an_aborted_batch_costs_no_more_than_its_own_work(model: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = text(50, 600)
    answer = fresh(model, prompt)
    model.forget()
    asked = Asked(model)
    id = asked.add(prompt)
    while not any(s.generated > 2 for s in model.engine.cells.running):
        model.engine.step()
    with monkeypatch.context() as late:
        late.setattr(model.engine.context, "clear_abort", lambda: None)
        model.engine.context.set_abort()
        model.engine.step()
    model.engine.step()
    assert model.engine.cells.running[0].remaining < 100
    (end,) = asked.ends(id)
    assert end.sequence.tokens[len(prompt) :] == answer


def test_a_large_state_is_counted_before_it_is_taken(tmp_path: Path) -> None:
    """64 states were taken and none was counted. 64 x 256 floats in each here, and some more for the convolution."""
    path = tiny.hybrid(tmp_path / "m.gguf", state=4096)
    size = path.stat().st_size + sizing.COMPUTE_BYTES
    with Loaded(path, context=512, memory_limit=size + (8 << 20)) as loaded:
        assert loaded.engine.context.n_seq == 1
        asked = Asked(loaded)
        first = asked.say(text(1, 100))[0]
        assert asked.say(text(2, 100))[1] == 0
        said, cached = asked.say([*text(1, 100), *first, 5])
        assert cached > 100
        assert said == fresh(loaded, [*text(1, 100), *first, 5])
    with Loaded(path, context=512) as loaded:
        assert loaded.engine.context.n_seq == 16
    with pytest.raises(errors.ModelLoadFailed, match="two states"):
        Loaded(path, context=512, memory_limit=size + (1 << 20))


def test_read_back_from_disk(model: Loaded) -> None:
    prompt = text(60, 300)
    answer = fresh(model, prompt)
    longer = [*prompt, *answer, *text(61, 9)]
    said = fresh(model, longer)
    model.forget()
    asked = Asked(model)
    asked.say(prompt)
    store = model.engine.cells.parking.store
    assert store is not None
    assert model.engine.cells.save() == 1
    store.scan()  # as the next process does when it begins
    model.forget()
    again, cached = asked.say(longer)
    assert cached >= len(prompt) + len(answer) - 1
    assert again == said
    assert asked.say(prompt)[0] == answer


@pytest.mark.parametrize("kind", tiny.STATES)
def test_a_batch_that_may_not_be_stopped_is_short(tmp_path: Path, kind: str) -> None:
    """A stopped batch costs every sequence in it its recurrent state, so arriving messages wait for its end."""
    recurrent = kind in ("recurrent", "hybrid")
    with Loaded(tiny.STATES[kind](tmp_path / "m.gguf"), context=1024) as loaded:
        engine, sizes = loaded.engine, []
        decode = engine.context.decode

        def counted() -> int:
            if not sizes:  # a cancel arrives while the first batch is computed
                engine.interruption.announce_cancel(1001)
            sizes.append(engine.context.n_tokens)
            return decode()

        engine.context.decode = counted  # type: ignore[method-assign]
        engine.scheduler.pace.tokens_per_second = 400
        asked = Asked(loaded)
        asked.add(text(1, 600))
        engine.step()
        assert sizes == ([80] if recurrent else [512])
        assert (engine.cells.running[0].evaluated > 0) == recurrent
        asked.ends(1001)
