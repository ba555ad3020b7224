"""`special`: a raw prompt in which the texts of control tokens are these tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded
from threadrunner.api.errors import InvalidParams
from threadrunner.api.generation import GenerateParams

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
