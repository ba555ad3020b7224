"""A small model drafts for a large one: the text is the large one's own, whatever the small one says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends import native, tiny
from tests.backends.harness import EXACT, Loaded, assert_same_or_close, greedy
from threadrunner.api.errors import ModelLoadFailed
from threadrunner.backends.base import Hardware
from threadrunner.backends.drafting import BUFFERS
from threadrunner.engine.draft_model import DraftModel
from threadrunner.engine.drafting.drafter import MODEL, Record

LONG = tiny.LONG
MARKS = {f"<m{number}>": tiny.CONTROL for number in range(200)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """large.gguf, other.gguf with the same vocabulary, and models that cannot draft for it."""
    folder = tmp_path_factory.mktemp("drafts")
    tiny.untied(folder / "large.gguf", **LONG)
    tiny.untied(folder / "other.gguf", salt=7, **LONG)
    tiny.untied(folder / "padded.gguf", tiny.bytes_vocabulary(dict([*MARKS.items()][:100])), **LONG)
    tiny.untied(folder / "larger.gguf", tiny.bytes_vocabulary(MARKS), **LONG)
    words = tiny.bytes_vocabulary()
    words["tokenizer.ggml.tokens"][100:102] = words["tokenizer.ggml.tokens"][101:99:-1]
    tiny.untied(folder / "mixed.gguf", words, **LONG)
    tiny.untied(folder / "bos.gguf", {**tiny.bytes_vocabulary(), "tokenizer.ggml.add_bos_token": True}, **LONG)
    tiny.mamba(folder / "recurrent.gguf")
    tiny.bert(folder / "embeds.gguf", tiny.MEAN)
    return folder


def load(folder: Path, draft: str, model: str = "large", **spec: Any) -> Loaded:
    spec.setdefault("hardware", Hardware(drafts="always"))
    return Loaded(folder / f"{model}.gguf", draft_path=str(folder / f"{draft}.gguf"), **spec)


def eager(loaded: Loaded) -> Loaded:
    """It is asked whenever it can be, however often it is wrong; passages never."""
    drafter, costs = loaded.engine.speculation.drafter, proposer(loaded).costs
    assert drafter._small is not None
    drafter._small._best = lambda chance, longest, beside, batch: (longest, 2.0)  # type: ignore[method-assign]
    drafter._repeated = lambda answer, limit, beside: (None, 1.0)  # type: ignore[method-assign]
    costs.learn = lambda tokens, seconds: None  # type: ignore[method-assign]
    costs.of = lambda tokens, large: 0.0  # type: ignore[method-assign]
    costs.prompt_token = 0.0
    return loaded


def proposer(loaded: Loaded) -> DraftModel:
    found = loaded.backend.loaded.proposer
    assert found is not None
    return found


def record(loaded: Loaded) -> Record:
    return loaded.engine.speculation.drafter.records[MODEL]


@pytest.fixture(scope="module")
def twin(folder: Path) -> Iterator[Loaded]:
    """The model drafts for itself."""
    with load(folder, "large") as loaded:
        yield eager(loaded)


@pytest.fixture(scope="module")
def other(folder: Path) -> Iterator[Loaded]:
    with load(folder, "other") as loaded:
        yield eager(loaded)


@pytest.fixture(scope="module")
def alone(folder: Path) -> Iterator[Loaded]:
    with Loaded(folder / "large.gguf", hardware=Hardware(drafts="off")) as loaded:
        yield loaded


WAYS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.3, "seed": 7},
    {"repeat_penalty": 1.2},
    {"temperature": 0.9, "seed": 3, "n": 3},
    {"grammar": "root ::= [a-m]{30} [n-z]+"},
]


@pytest.mark.parametrize("draft", ["twin", "other"])
@pytest.mark.parametrize("more", WAYS)
def test_the_text_is_that_without(
    alone: Loaded, draft: str, more: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    loaded: Loaded = request.getfixturevalue(draft)
    params = greedy("a text to go on with", max_tokens=60, logprobs=2, **more)
    before = record(loaded).drafted
    one, both = alone.ask(params), loaded.ask(params)
    assert record(loaded).drafted > before
    assert_same_or_close(one, both, EXACT)
    assert one.usage.completion_tokens == both.usage.completion_tokens


def test_what_the_same_model_proposes_comes_true(twin: Loaded) -> None:
    before, steps = (record(twin).drafted, record(twin).accepted), 0
    id = twin.submit(greedy("once more", max_tokens=120))
    while twin.engine.busy:
        twin.backend.step()
        steps += 1
    assert id
    assert record(twin).drafted - before[0] == record(twin).accepted - before[1] > 100
    assert steps < 30, "a step says up to 16 tokens"


def test_what_another_model_proposes_mostly_does_not(other: Loaded) -> None:
    other.ask(greedy("once more", max_tokens=120))
    assert 0 <= record(other).accepted < record(other).drafted


@pytest.mark.parametrize("draft", ["twin", "other"])
def test_every_cell_of_both_contexts_is_accounted_for(draft: str, request: pytest.FixtureRequest) -> None:
    loaded: Loaded = request.getfixturevalue(draft)
    small = proposer(loaded)
    loaded.forget()
    ids = [loaded.submit(greedy(f"text {i}", max_tokens=30 + i, temperature=1.0, seed=i)) for i in range(20)]
    for step in range(600):
        loaded.backend.step()
        assert loaded.engine.cells.used() == loaded.cells_in_llama(), step
        assert small.used == native.cells_in_use(small.context), step
        if step == 5:
            loaded.backend.cancel(ids[2])
        if not loaded.engine.busy:
            break
    assert not loaded.engine.busy
    assert small.used == 0


def test_an_answer_that_is_cancelled_while_it_waits_to_go_on_leaves_nothing(twin: Loaded) -> None:
    small, engine = proposer(twin), twin.engine
    id = twin.submit(greedy("a text to go on with", max_tokens=60))
    while not small.used:
        twin.backend.step()
    engine.preempt(engine.cells.running[0])
    twin.backend.cancel(id)
    assert small.used == 0
    assert native.cells_in_use(small.context) == 0


def test_its_context_grows_with_need_and_no_further(folder: Path) -> None:
    with load(folder, "large", context=1000) as loaded:
        small = proposer(eager(loaded))
        small.context.resize(256)
        answer = loaded.ask(greedy("x" * 400, max_tokens=300))
        assert answer.usage.completion_tokens == 300
        assert record(loaded).accepted > 100
        assert 512 <= small.context.n_cells <= loaded.facts.facts["max_cells"]


def test_a_long_prompt_is_evaluated_in_pieces_before_it_is_asked(folder: Path) -> None:
    with load(folder, "large") as loaded:
        small = proposer(eager(loaded))
        id = loaded.submit(greedy("x" * 600, max_tokens=300))
        pieces = []
        while loaded.engine.busy:
            before = small.used
            loaded.backend.step()
            pieces.append(small.used - before)
        assert id
        assert pieces.count(64) > 5, "each step evaluates a piece of the prompt"
        assert record(loaded).accepted > 50


def test_it_ends_where_it_was_trained_no_further(folder: Path) -> None:
    tiny.untied(folder / "short.gguf", **{**LONG, "context_length": 64})
    with load(folder, "short") as loaded:
        eager(loaded)
        answer = loaded.ask(greedy("a text to go on with", max_tokens=120))
        assert answer.usage.completion_tokens == 120
        assert 0 < record(loaded).drafted <= 64


@pytest.mark.parametrize(
    ("draft", "says"),
    [
        ("larger", "another vocabulary than the model: it has 459 tokens, the model 259. Name a smaller model"),
        ("mixed", "another vocabulary than the model: its token 100 is"),
        ("bos", "only one of them puts BOS to a text"),
        ("recurrent", "the draft_model cannot draft, since its state cannot go back"),
        ("embeds", "the draft_model cannot draft, since it says no tokens"),
        ("missing", "the draft_model cannot be loaded: "),
    ],
)
def test_a_model_that_cannot_draft_is_refused(folder: Path, draft: str, says: str) -> None:
    with pytest.raises(ModelLoadFailed, match=says):
        load(folder, draft)


def test_a_model_that_cannot_be_drafted_for_says_so(folder: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="of no use to this model, since its state cannot go back"):
        load(folder, "large", model="recurrent")


def test_tokens_that_only_one_of_them_has(folder: Path) -> None:
    """Padding: llama.cpp allows 128 of them, and neither may be given one that it does not have."""
    bias = {"temperature": 1.0, "seed": 1, "logit_bias": {"300": 8.0, "310": 8.0}}
    for model, draft in (("padded", "large"), ("large", "padded")):
        more = bias if model == "padded" else {}
        with load(folder, draft, model) as loaded:
            eager(loaded)
            assert loaded.ask(greedy("abc", max_tokens=60, **more)).usage.completion_tokens > 3


def test_off_means_that_it_takes_no_memory(folder: Path) -> None:
    with load(folder, "large", hardware=Hardware(drafts="off")) as loaded:
        assert loaded.backend.loaded.proposer is None
        assert "draft_model" not in loaded.facts.facts


def test_its_memory_is_counted_before_it_is_taken(folder: Path) -> None:
    weights, cell = (folder / "large.gguf").stat().st_size, 2 * 32 * 2
    limit = (192 << 20) + BUFFERS + 2 * weights + 1024 * cell
    with Loaded(folder / "large.gguf", memory_limit=limit) as one, load(folder, "large", memory_limit=limit) as both:
        assert one.facts.facts["max_cells"] == 1024
        assert both.facts.facts["max_cells"] < 1024
        assert both.facts.facts["draft_model_bytes"] > 0
    with pytest.raises(ModelLoadFailed, match="leaves no room for a cache"):
        load(folder, "large", memory_limit=limit - 1024 * cell)


def test_status_counts_what_came_true(twin: Loaded) -> None:
    before = twin.backend.gauges()
    twin.ask(greedy("a text to go on with", max_tokens=60))
    after = twin.backend.gauges()
    assert (
        after["accepted_tokens"] - before["accepted_tokens"] == after["drafted_tokens"] - before["drafted_tokens"] > 20
    )
