"""The prefix tree on llama.cpp's real cells."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded, assert_same_or_close, greedy
from threadrunner.api.generation import Generated, GenerateParams
from threadrunner.backends.base import Finished
from threadrunner.engine.events import Broken, Ended
from threadrunner.engine.llama.sampling import Sampling
from threadrunner.engine.sequence import Priority, Request

STORY = "Once upon a time, in a small house by the sea, there lived an old man and his grey cat. "


def test_a_prompt_is_evaluated_once(smol: Loaded) -> None:
    smol.forget()
    first = smol.ask(greedy(STORY * 4))
    again = smol.ask(greedy(STORY * 4))
    assert first.usage.cached_tokens == 0
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1
    assert again.text == first.text


def test_an_answer_is_part_of_what_is_known(smol: Loaded) -> None:
    smol.forget()
    first = smol.ask(greedy(STORY, max_tokens=12))
    more = smol.ask(greedy(STORY + first.text + " And then"))
    # the last token of an answer is never evaluated, and the text's border may be tokenized otherwise
    assert more.usage.cached_tokens >= first.usage.prompt_tokens + 8


@pytest.mark.parametrize("at", [0.3, 0.7, 1.0])
def test_same_text_with_cache_and_without(smol: Loaded, at: float) -> None:
    prompt = STORY * 3 + "One morning the cat said: "
    smol.forget()
    fresh = smol.ask(greedy(prompt, max_tokens=24, logprobs=2))
    smol.forget()
    words = prompt.split(" ")
    smol.ask(greedy(" ".join(words[: int(len(words) * at)]), max_tokens=1))
    cached = smol.ask(greedy(prompt, max_tokens=24, logprobs=2))
    assert cached.usage.cached_tokens > 10
    assert_same_or_close(fresh, cached)


def test_no_branch_is_lost(smol: Loaded) -> None:
    smol.forget()
    branches = [STORY + f"Part {i}. " + STORY for i in range(4)]
    for branch in branches:
        smol.ask(greedy(branch, max_tokens=1))
    for branch in branches:
        usage = smol.ask(greedy(branch, max_tokens=1)).usage
        assert usage.cached_tokens == usage.prompt_tokens - 1
    one = len(smol.vocab.tokenize(STORY))
    assert smol.engine.cells.used() < 6 * one
    assert smol.cells_in_llama() == smol.engine.cells.used()


def test_candidates_fork_one_prompt(smol: Loaded) -> None:
    smol.forget()
    id = smol.submit(GenerateParams(prompt=STORY * 3, raw=True, n=4, max_tokens=8, seed=5, temperature=1.0))
    running = smol.engine.cells.running
    while not running or not running[0].generated:
        smol.backend.step()
    prompt = running[0].request.prompt
    assert smol.cells_in_llama() == smol.engine.cells.used() == len(prompt)
    ends, _ = smol.finish(id)
    result = ends[id]
    assert isinstance(result, Generated)
    assert isinstance(result.choices, list)
    assert len({choice.text for choice in result.choices}) > 1
    assert result.choices[0].text == result.text
    assert result.usage.completion_tokens == sum(8 for _ in range(4))


def test_concurrent_twins_end_as_one(smol: Loaded) -> None:
    smol.forget()
    ids = [smol.submit(greedy(STORY * 2, logprobs=2)) for _ in range(3)]
    ends, _ = smol.finish(*ids)
    first, *others = [end for end in ends.values() if isinstance(end, Generated)]
    for other in others:
        assert_same_or_close(first, other)
    assert smol.cells_in_llama() == smol.engine.cells.used() < first.usage.prompt_tokens + 3 * 16


def test_one_long_text_sent_several_times_at_once_is_evaluated_once(smol: Loaded) -> None:
    smol.forget()
    ids = [smol.submit(greedy(STORY * 10 + f"Question {i}:", max_tokens=4)) for i in range(4)]
    ends, _ = smol.finish(*ids)
    usages = [ends[id].usage for id in ids]  # type: ignore[union-attr]
    assert usages[0].cached_tokens == 0
    assert all(usage.prompt_tokens - usage.cached_tokens < 10 for usage in usages[1:])


def test_who_is_more_urgent_does_not_wait_for_the_same_text(smol: Loaded) -> None:
    smol.forget()
    slow = smol.submit(greedy(STORY * 10 + "A", max_tokens=4, priority="background"))
    smol.engine.admit()
    fast = smol.submit(greedy(STORY * 10 + "B", max_tokens=4, priority="interactive"))
    smol.engine.admit()
    assert smol.engine.queued == 0
    _, events = smol.finish(slow, fast)
    finished = [event.id for event in events if isinstance(event, Finished)]
    assert finished == [fast, slow]


def test_who_waits_for_a_text_goes_on_when_its_request_is_cancelled(smol: Loaded) -> None:
    smol.forget()
    first = smol.submit(greedy(STORY * 10, max_tokens=4))
    second = smol.submit(greedy(STORY * 10, max_tokens=4))
    smol.engine.admit()
    assert smol.engine.queued == 1
    smol.backend.cancel(first)
    ends, _ = smol.finish(second)
    assert isinstance(ends[second], Generated)


def test_more_leaves_than_sequence_ids(smol: Loaded) -> None:
    """All leaves share the first words, so each is a match for the next prompt; one of them must still give its id."""
    smol.forget()
    ids = smol.engine.context.n_seq
    for i in range(ids + 6):
        assert smol.ask(greedy(f"The same words, then {i}", max_tokens=1)).usage.completion_tokens == 1
    assert len(smol.engine.cells.cache.idle()) <= ids
    assert smol.cells_in_llama() == smol.engine.cells.used()


def test_thousands_of_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random forks, cancels, aborts, evictions and preemptions in a small cache: our count is llama.cpp's, always. What
    a model knows is nothing to cells, so it is a tiny one."""
    rounds = int(os.environ.get("THREADRUNNER_STRESS", "300"))
    rng = random.Random(1)
    model = tiny.llama(tmp_path / "m.gguf", tiny.bytes_vocabulary())
    with Loaded(model, context=256) as loaded:
        engine = loaded.engine
        open_ids: dict[int, int] = {}
        """The candidates of each request that have not ended."""

        def step() -> None:
            for event in engine.step():
                assert not isinstance(event, Broken), event
                if isinstance(event, Ended):
                    open_ids[event.id] -= 1
                    if not open_ids[event.id]:
                        del open_ids[event.id]

        made = 0
        stems = [[rng.randrange(3, 250) for _ in range(60)] for _ in range(3)]
        while made < rounds or open_ids:
            if made < rounds and len(open_ids) < 10 and rng.random() < 0.6:
                made += 1
                stem = rng.choice(stems)
                prompt = stem[: rng.randrange(1, 60)] + [rng.randrange(3, 250) for _ in range(rng.randrange(3))]
                n = rng.choice([1, 1, 1, 3])
                sampling = Sampling(temperature=1.0, seed=made)
                priority = Priority(made % 3)
                engine.add(Request(made, prompt, sampling, max_tokens=rng.randrange(30), priority=priority, n=n))
                open_ids[made] = n
            if open_ids and rng.random() < 0.1:
                id = rng.choice(sorted(open_ids))
                engine.cancel(id)
                del open_ids[id]
            if rng.random() < 0.1:
                # an abort from another thread, at the worst moment: while the batch computes
                monkeypatch.setattr(engine.context, "clear_abort", lambda: None)
                engine.context.set_abort()
                step()
                monkeypatch.undo()
            step()
            assert loaded.cells_in_llama() == engine.cells.used() <= engine.context.n_cells
        assert not engine.busy
        loaded.forget()
        assert loaded.cells_in_llama() == 0
        assert engine.cells.free_seqs == frozenset(range(64))
