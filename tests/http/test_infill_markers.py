from __future__ import annotations

import pytest

from threadrunner.http.infill_markers import Gap, parse

LAYOUTS = [
    ("<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", Gap("a", "b")),
    ("<|fim_suffix|>b<|fim_prefix|>a<|fim_middle|>", Gap("a", "b")),
    ("<fim-prefix>a<fim-suffix>b<fim-middle>", Gap("a", "b")),
    ("<｜fim▁begin｜>a<｜fim▁hole｜>b<｜fim▁end｜>", Gap("a", "b")),  # noqa: RUF001
    ("<|code_prefix|>a<|code_suffix|>b<|code_middle|>", Gap("a", "b")),
    ("<PRE>  a <SUF>b <MID>", Gap(" a", "b")),
    ("[SUFFIX]b[PREFIX]a", Gap("a", "b")),
    ("<fim_prefix><fim_suffix><fim_middle>", Gap("", "")),
    # llama-server puts what is typed last
    ("<|fim_prefix|>a\n<|fim_suffix|>b<|fim_middle|>    x = ", Gap("a\n    x = ", "b")),
    (
        "<|repo_name|>p\n<|file_sep|>u.py\nx = 1\n<|file_sep|>m.py\n<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>",
        Gap("a", "b", "m.py", [("u.py", "x = 1")]),
    ),
    ("<file_sep>u.py\nx = 1\n<fim_prefix>a<fim_suffix>b<fim_middle>", Gap("a", "b", None, [("u.py", "x = 1")])),
]


@pytest.mark.parametrize(("prompt", "gap"), LAYOUTS)
def test_a_layout_is_read_back(prompt: str, gap: Gap) -> None:
    assert parse(prompt) == gap


PLAIN = [
    "def f():",
    "",
    "The tokens are <fim_prefix>a<fim_suffix>b<fim_middle>",
    "<fim_prefix>a<fim_suffix>b",
    "<fim_prefix>a<fim_middle>",
    "[PREFIX]a[SUFFIX]b",
    "<fim_prefix>a<fim_suffix>b<fim_middle>c<fim_prefix>d<fim_suffix>e<fim_middle>f",
]


@pytest.mark.parametrize("prompt", PLAIN)
def test_any_other_text_is_continued(prompt: str) -> None:
    assert parse(prompt) is None
