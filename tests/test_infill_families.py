"""The daemon says from a file's header whether a model can infill, the worker from the loaded model: by one table."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.gguf.ggufs import made
from threadrunner.daemon.gguf import check
from threadrunner.engine.prompts.fim import FAMILIES, Family


def can_infill(path: Path, *tokens: str) -> bool:
    vocabulary = ["a", *tokens]
    path.write_bytes(made({"tokenizer.ggml.tokens": vocabulary, "tokenizer.ggml.token_type": [1] + [3] * len(tokens)}))
    return check.check_gguf(str(path)).fim


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_model_of_any_family_can_infill(family: Family, tmp_path: Path) -> None:
    tokens = [token for token in (family.pre, family.suf, family.mid) if token]
    assert can_infill(tmp_path / "model.gguf", *tokens)


def test_a_model_without_a_suffix_token_cannot(tmp_path: Path) -> None:
    others = {token for family in FAMILIES for token in (family.pre, family.mid, family.repo, family.file) if token}
    assert not can_infill(tmp_path / "model.gguf", *sorted(others))


def test_the_daemon_knows_no_token_that_the_worker_does_not() -> None:
    tables = [value for value in vars(check).values() if isinstance(value, tuple) and "<|fim_suffix|>" in value]
    assert [set(table) for table in tables] == [{family.suf for family in FAMILIES}]
