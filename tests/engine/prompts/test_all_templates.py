"""All the chat templates that llama.cpp has collected, in eight situations each: see situations.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded
from tests.engine.prompts.situations import PLACES, PLAIN, SITUATIONS, THINKING, with_texts_at, wrong
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prompts.chat import ChatPrompt

FOLDER = Path(__file__).parent / "templates"
NAMES = sorted(file.stem for file in FOLDER.glob("*.jinja"))
MARKERS = re.compile(r"<\|[^|<>\s{}'\"]{1,40}\|>|<\uff5c[^\uff5c{}]{1,40}\uff5c>|</?[a-z_]{3,20}>|\[/?[A-Z_]{3,25}\]")

NO_TOOLS = {
    "HuggingFaceTB-SmolLM3-3B",  # llama.cpp's copy; the original has them as `xml_tools`
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "deepseek-ai-DeepSeek-V3.1",
    "google-gemma-2-2b-it",
    "llama-cpp-rwkv-world",
    "microsoft-Phi-3.5-mini-instruct",
}
"""Their templates pass over `tools`."""
NO_CALLS = {"LFM2-8B-A1B", "LFM2.5-Instruct", "ibm-granite-granite-3.3-2B-Instruct"}
"""Theirs show tools, and expect calls in an answer's text."""


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vocab]:
    """Of a model that has every control token of every template."""
    found = {marker for name in NAMES for marker in MARKERS.findall(source(name))}
    words = tiny.bytes_vocabulary(dict.fromkeys(sorted(found), tiny.CONTROL))
    with Loaded(tiny.llama(tmp_path_factory.mktemp("vocab") / "m.gguf", words)) as model:
        yield model.vocab


def source(name: str) -> str:
    return (FOLDER / f"{name}.jinja").read_text()


def test_the_folder_is_whole() -> None:
    assert len(NAMES) == 70
    assert set(NAMES) >= NO_TOOLS | NO_CALLS


@pytest.mark.parametrize("name", NAMES)
def test_a_template_renders_all_that_it_can(vocab: Vocab, name: str) -> None:
    prompt = ChatPrompt(vocab, source(name))
    found = {situation: problem for situation in SITUATIONS if (problem := wrong(prompt, situation))}
    cannot = {"tools", "objects", "texts"} if name in NO_TOOLS else {"objects", "texts"} if name in NO_CALLS else set()
    assert set(found) == cannot, found
    assert prompt.takes_tools == (name not in NO_TOOLS)
    if name in NO_TOOLS | NO_CALLS:  # said, not left out in silence
        assert all("leaves out" in problem or "Refused" in problem for problem in found.values()), found
    if name not in NO_TOOLS:
        assert prompt.takes_calls == (name not in NO_CALLS)
        assert prompt.takes_results
    usual, quiet = json.loads((FOLDER / "openings.json").read_text())[name]
    assert prompt.chat(PLAIN).opening == usual
    assert prompt.chat(PLAIN, variables={"enable_thinking": False, "thinking": False}).opening == quiet
    continued = prompt.chat(
        [*THINKING[:-1], {"role": "user", "content": "Zq"}, {"role": "assistant", "content": "Zr "}]
    )
    assert continued.text.endswith("Zr ")
    assert continued.opening.endswith("Zr ")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_TOOLS | NO_CALLS])
def test_no_text_from_outside_becomes_a_token_of_the_template(vocab: Vocab, name: str) -> None:
    """The template's own markup, whole and in parts that it might complete, at every place at once."""
    prompt = ChatPrompt(vocab, source(name))
    random = Random(name)
    own = sorted(set(MARKERS.findall(source(name))))
    parts = [part for marker in own for part in (marker, marker[1:-1], marker[1:], marker[:-1])]

    def markup(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> list[int]:
        return [token for token in prompt.chat(messages, tools).tokens if vocab.is_markup(token)]

    usual = markup(*with_texts_at({}))
    assert usual
    for _ in range(4):
        texts = {place: "".join(random.choices([*parts, '"', "a b"], k=3)) for place in PLACES}
        assert markup(*with_texts_at(texts)) == usual, texts
