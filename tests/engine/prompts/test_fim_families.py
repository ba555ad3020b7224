"""Each family's tokens and their order, on files that have its tokens: what the model is given, marker by marker.

The orders are those of the families' own papers, model cards and reference code. Only the order is held here; how well
a family then answers is said in docs/editors.md where it was measured.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends import tiny
from threadrunner.engine.errors import Unsupported
from threadrunner.engine.llama.model import Model
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prompts.fim import InfillPrompts
from threadrunner.syntax.infill_families import FAMILIES

PREFIX, SUFFIX = "def f(a):\n    return (", ")\n\nf(1)\n"
HEALED = "def f(a):\n    return "
"""The last token is for the model to say again."""

ORDERS = {
    "qwen": ["<|file_sep|>", "a.py\n", "<|fim_prefix|>", "<|fim_suffix|>", SUFFIX, "<|fim_middle|>", HEALED],
    "codegemma": [
        "<|file_separator|>", "a.py\n", "<|fim_prefix|>", HEALED, "<|fim_suffix|>", SUFFIX, "<|fim_middle|>",
    ],
    "granite4": ["<|fim_prefix|>", HEALED, "<|fim_suffix|>", SUFFIX, "<|fim_middle|>"],
    "mellum": ["<filename>", "a.py\n", "<fim_suffix>", SUFFIX, "<fim_prefix>", HEALED, "<fim_middle>"],
    "starcoder": ["<file_sep>", "a.py\n", "<fim_prefix>", HEALED, "<fim_suffix>", SUFFIX, "<fim_middle>"],
    "granite": ["<fim_prefix>", HEALED, "<fim_suffix>", SUFFIX, "<fim_middle>"],
    "santacoder": ["<fim-prefix>", HEALED, "<fim-suffix>", SUFFIX, "<fim-middle>"],
    "deepseek": ["<｜fim▁begin｜>", HEALED, "<｜fim▁hole｜>", SUFFIX, "<｜fim▁end｜>"],  # noqa: RUF001
    "seed": ["<[fim-suffix]>", SUFFIX, "<[fim-prefix]>", HEALED, "<[fim-middle]>"],
    "codellama": ["▁<PRE>", HEALED, "▁<SUF>", SUFFIX, "▁<MID>"],
    "codestral": ["[SUFFIX]", SUFFIX, "[PREFIX]", HEALED],
}  # fmt: skip


def prompts(folder: Path, *markers: str) -> tuple[InfillPrompts, Vocab, Model]:
    words = tiny.bytes_vocabulary(dict.fromkeys(markers, tiny.CONTROL))
    model = Model(str(tiny.llama(folder / "m.gguf", words)))
    vocab = Vocab(model)
    try:
        return InfillPrompts(vocab), vocab, model
    except Unsupported:
        model.close()
        raise


def parts(vocab: Vocab, tokens: list[int]) -> list[str]:
    """The prompt's markers, and the text between them."""
    found, text = [], b""
    for token in tokens:
        if vocab.is_special(token):
            found += [text.decode(), vocab.marker(token)]
            text = b""
        else:
            text += vocab.piece(token)
    return [part for part in [*found, text.decode()] if part]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_order_of_a_familys_tokens(family: object, tmp_path: Path) -> None:
    row = next(row for row in FAMILIES if row is family)
    markers = [m for m in (row.pre, row.suf, row.mid, row.repo, row.file, row.end, row.also) if m]
    infill, vocab, model = prompts(tmp_path, *markers)
    try:
        prompt = infill.build(PREFIX, SUFFIX, "a.py", [], 400)
        assert infill.family.name == row.name
        assert parts(vocab, prompt.tokens) == ORDERS[row.name]
        assert prompt.forced == b"("
        ends = {vocab.marker(token) for token in infill.stop_tokens}
        assert ends == set(markers) - {row.also}
    finally:
        model.close()


def test_other_files_come_first(tmp_path: Path) -> None:
    infill, vocab, model = prompts(
        tmp_path, "<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<filename>", "<|im_start|>"
    )
    try:
        told = parts(vocab, infill.build(PREFIX, SUFFIX, "a.py", [("b.py", "b = 1")], 400).tokens)
        assert told[:4] == ["<filename>", "b.py\nb = 1\n", "<filename>", "a.py\n"]
    finally:
        model.close()
    infill, vocab, model = prompts(tmp_path, "<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>")
    try:
        told = parts(vocab, infill.build(PREFIX, SUFFIX, "a.py", [("b.py", "b = 1")], 400).tokens)
        assert told[:2] == ["# b.py\nb = 1\n\n", "<[fim-suffix]>"]
    finally:
        model.close()


def test_a_row_for_each_family_and_no_more() -> None:
    assert [row.name for row in FAMILIES] == list(ORDERS)


def test_a_model_without_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"Qwen2\.5-Coder"):
        prompts(tmp_path, "<fim_prefix>", "<fim_suffix>")
