"""`special`: a raw prompt in which the texts of control tokens are these tokens."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded
from threadrunner.api.errors import InvalidParams
from threadrunner.api.generation import GenerateParams
from threadrunner.engine.llama.library import llama_cpp

TEXT = "<|im_start|>a<|im_end|>"


def prompt_tokens(loaded: Loaded, text: str, special: bool) -> int:
    return loaded.ask(GenerateParams(prompt=text, raw=True, special=special, max_tokens=1)).usage.prompt_tokens


def test_texts_of_control_tokens_and_one_beginning(tmp_path: Path) -> None:
    words = tiny.bytes_vocabulary({"<|im_start|>": tiny.CONTROL, "<|im_end|>": tiny.CONTROL})
    model = tiny.llama(tmp_path / "m.gguf", {**words, "tokenizer.ggml.add_bos_token": True})
    with Loaded(model) as loaded:
        assert prompt_tokens(loaded, TEXT, special=True) == 4
        assert prompt_tokens(loaded, TEXT, special=False) == 1 + len(TEXT)
        # a client that has rendered a template may have put the beginning there itself
        assert prompt_tokens(loaded, f"<s>{TEXT}", special=True) == 4
        assert prompt_tokens(loaded, f"<s>{TEXT}", special=False) == 1 + len(f"<s>{TEXT}")
        with pytest.raises(InvalidParams, match="`raw`"):
            loaded.ask(GenerateParams(prompt=TEXT, special=True))


LINES = {"\n": tiny.USER_DEFINED, "\n\n": tiny.USER_DEFINED, "  ": tiny.USER_DEFINED, "<h1>": tiny.USER_DEFINED}


@pytest.mark.parametrize("special", [False, True])
def test_a_long_text_is_tokenized_in_pieces_to_the_same_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, special: bool
) -> None:
    """For Gemma's kind of vocabulary llama.cpp takes time by the square of a text's length."""
    rng = random.Random(1)
    texts = ["".join(rng.choice("ab \n\n\t<h1>é\r\u2028") for _ in range(400)) for _ in range(100)]
    sizes: list[int] = []
    tokenize = llama_cpp.llama_tokenize

    def counted(vocab: int, data: bytes, size: int, *more: object) -> int:
        sizes.append(size)
        return int(tokenize(vocab, data, size, *more))

    with Loaded(tiny.llama(tmp_path / "lines.gguf", tiny.bytes_vocabulary(LINES))) as loaded:
        whole = [loaded.vocab.tokenize(text, special=special) for text in texts]
        monkeypatch.setattr("threadrunner.engine.llama.vocab._LONG", 20)
        monkeypatch.setattr(llama_cpp, "llama_tokenize", counted)
        assert [loaded.vocab.tokenize(text, special=special) for text in texts] == whole
    assert len(sizes) > 800 and max(sizes) < 200


@pytest.mark.parametrize(
    "markers",
    [{}, {"\n\n": tiny.USER_DEFINED}, {**LINES, ">\n": tiny.USER_DEFINED}, {**LINES, "\n<s>": tiny.CONTROL}],
    ids=["no token", "two lines", "at its end", "at its beginning"],
)
def test_not_where_a_lines_end_may_be_a_part_of_another_token(tmp_path: Path, markers: dict[str, int]) -> None:
    with Loaded(tiny.llama(tmp_path / "m.gguf", tiny.bytes_vocabulary(markers))) as loaded:
        assert not loaded.vocab._may_cut_at_lines()
