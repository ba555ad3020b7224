"""What two processes say of infilling agrees: the daemon by a file's header and the worker by the loaded model whether
it can, the editor's side and the engine how much of a file the model sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.gguf.ggufs import made
from threadrunner.daemon.gguf import check
from threadrunner.engine.prompts import fim
from threadrunner.lsp.suggest import window
from threadrunner.syntax.infill_families import FAMILIES, InfillFamily


def can_infill(path: Path, *tokens: str) -> bool:
    vocabulary = ["a", *tokens]
    path.write_bytes(made({"tokenizer.ggml.tokens": vocabulary, "tokenizer.ggml.token_type": [1] + [3] * len(tokens)}))
    return check.check_gguf(str(path)).fim


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_model_of_any_family_can_infill(family: InfillFamily, tmp_path: Path) -> None:
    tokens = [token for token in (family.pre, family.suf, family.mid) if token]
    assert can_infill(tmp_path / "model.gguf", *tokens)


def test_a_model_without_a_suffix_token_cannot(tmp_path: Path) -> None:
    others = {token for family in FAMILIES for token in (family.pre, family.mid, family.repo, family.file) if token}
    assert not can_infill(tmp_path / "model.gguf", *sorted(others))


def test_the_daemon_knows_no_token_that_the_worker_does_not() -> None:
    tables = [value for value in vars(check).values() if isinstance(value, tuple) and "<|fim_suffix|>" in value]
    assert [set(table) for table in tables] == [{family.suf for family in FAMILIES}]


def test_the_engine_keeps_all_that_an_editor_sends() -> None:
    """The editor's window is cut first; were it the larger one, the engine would cut it again at another line."""
    assert window.PREFIX_CHARS + window.JUMP_CHARS <= fim.PREFIX_CHARS
    assert window.SUFFIX_CHARS <= fim.SUFFIX_CHARS
    assert window.JUMP_LINES == fim.WINDOW_JUMP
