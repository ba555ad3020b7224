"""`threadrunner rerank`, with a tiny reranker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.backends import tiny
from tests.shell import Shell

LINES = "a house on the hill\na mouse\n\nthe the the\nrivers\n"


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.bert(tmp_path_factory.mktemp("rerank") / "tiny.gguf", tiny.RANK)


def test_lines_come_out_in_order(shell: Shell, reranker: Path) -> None:
    shell.env["THREADRUNNER_BACKEND"] = "llama"
    done = shell.run("rerank", "-m", str(reranker), "--json", "the house", input=LINES)
    assert done.returncode == 0, done.stderr
    ranked = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(result["line"] for result in ranked) == [1, 2, 3, 4]
    assert [result["score"] for result in ranked] == sorted((result["score"] for result in ranked), reverse=True)
    best = shell.run("rerank", "-m", str(reranker), "-n", "1", "the house", input=LINES)
    assert best.stdout == f"{ranked[0]['text']}\n"


def test_without_lines_it_says_how(shell: Shell) -> None:
    done = shell.run("rerank", "the house", input="\n")
    assert done.returncode == 64 and "pipe them in" in done.stderr
    assert shell.starts == 0


def test_a_backend_that_cannot_says_so(shell: Shell) -> None:
    done = shell.run("rerank", "the house", input=LINES)
    assert done.returncode == 3 and "dummy" in done.stderr
