"""The greedy choice, with numpy and without: the same token, the same refusals."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.backends import tiny
from threadrunner.engine.llama import arrays, chain
from threadrunner.engine.llama.context import OK, Context
from threadrunner.engine.llama.errors import DamagedModel
from threadrunner.engine.llama.model import Model
from threadrunner.engine.llama.sampler import Sampler
from threadrunner.engine.llama.sampling import Sampling
from threadrunner.engine.llama.vocab import Vocab

Scored = Callable[[dict[int, float]], Context]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    made = Model(str(tiny.llama(tmp_path_factory.mktemp("tiny") / "m.gguf")))
    yield made
    made.close()


@pytest.fixture(scope="module")
def scored(model: Model) -> Iterator[Scored]:
    """A context whose last batch has given these scores, and 0 to all other tokens."""
    context = Context(model, n_cells=256, n_seq=1, n_batch=8, n_ubatch=8, threads=1)
    context.add(0, 0, [1], True)
    assert context.decode() == OK

    def written(scores: dict[int, float]) -> Context:
        row = context.row(0)
        row[:] = 0.0
        for token, score in scores.items():
            row[token] = score
        return context

    yield written
    context.close()


@pytest.fixture(params=[True, False], ids=["numpy", "C"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "ready", lambda: request.param)


def greedy(model: Model) -> Sampler:
    return Sampler(model, Vocab(model), Sampling(temperature=0), 1)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize(
    ("scores", "token"),
    [
        ({5: 1.0}, 5),
        ({5: 1.0, 9: 1.0}, 5),  # the first of two
        ({5: -1.0}, 0),
        ({5: 2.0, 7: -math.inf}, 5),
        ({5: 2.0, 7: math.nan}, 5),  # one output row is damaged
        (dict.fromkeys(range(8), -3.0), 8),
    ],
)
def test_the_first_of_the_highest(model: Model, scored: Scored, scores: dict[int, float], token: int) -> None:
    assert greedy(model).sample(scored(scores), 0) == (token, None)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("scores", [{0: math.nan}, {3: math.inf}, dict.fromkeys(range(10_000), -math.inf)])
def test_scores_that_are_no_numbers_are_refused(model: Model, scored: Scored, scores: dict[int, float]) -> None:
    within = {token: score for token, score in scores.items() if token < model.n_vocab}
    with pytest.raises(DamagedModel, match="NaN"):
        greedy(model).sample(scored(within), 0)


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.1},
        {"temperature": 0, "logit_bias": {3: 1.0}},
        {"temperature": 0, "repeat_penalty": 1.1},
        {"temperature": 0, "presence_penalty": 0.1},
        {"temperature": 0, "dry_multiplier": 0.5},
    ],
)
def test_what_changes_the_scores_is_not_greedy(params: dict[str, Any]) -> None:
    assert chain.is_greedy(Sampling(temperature=0))
    assert chain.is_greedy(Sampling(temperature=0, top_k=3, mirostat=2))
    assert not chain.is_greedy(Sampling(**params))


def test_a_row_is_one_view_for_as_long_as_the_scores_are_in_one_place(scored: Scored) -> None:
    context = scored({4: 7.0})
    assert context.row(0) is context.row(0)
    assert context.row(0)[4] == 7.0


def test_numpy_is_not_there_while_another_thread_loads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token would wait for all of that."""
    loading = ModuleType("numpy")
    loading.__spec__ = ModuleSpec("numpy", None)
    monkeypatch.setattr(loading.__spec__, "_initializing", True, raising=False)
    monkeypatch.setattr(arrays, "_loaded", False)
    monkeypatch.setitem(sys.modules, "numpy", loading)
    assert not arrays.ready()
    monkeypatch.setattr(loading.__spec__, "_initializing", False)
    assert arrays.ready()


def test_where_numpy_cannot_be_loaded_all_goes_on_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say on a processor that its wheel was not built for: each model's worker ended after the first answer."""
    monkeypatch.setattr(arrays, "_loaded", False)
    monkeypatch.setattr(arrays, "_failed", False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    arrays.prepare()
    arrays.prepare()
    assert not arrays.ready()


LIFE = """
import sys
from threadrunner.api.generation import GenerateParams
from threadrunner.backends.base import Finished, ModelSpec
from threadrunner.backends.llama import LlamaBackend

backend = LlamaBackend()
backend.load(ModelSpec(name="m", path=sys.argv[1], threads=1), lambda done, total: None)
while backend.tidy():
    pass
loaded = ["numpy" in sys.modules]
backend.submit(1, GenerateParams(prompt="abc", raw=True, max_tokens=2, temperature=0))
while not any(isinstance(event, Finished) for event in backend.step()):
    pass
loaded.append("numpy" in sys.modules)
while backend.tidy():
    pass
print([*loaded, "numpy" in sys.modules])
backend.close()
"""


def test_numpy_is_loaded_once_the_first_answer_is_told(tmp_path: Path) -> None:
    """Idle time before it is not idle: the prompt for which the model was loaded is on its way."""
    path = tiny.llama(tmp_path / "m.gguf", tiny.bytes_vocabulary({}))
    ran = subprocess.run([sys.executable, "-c", LIFE, str(path)], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[False, False, True]"
