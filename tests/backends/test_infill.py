"""Infilling on a model that was trained for it."""

from __future__ import annotations

import json

import msgspec
import pytest

from tests.backends.harness import Loaded
from threadrunner.api.generation import ContextFile, InfillParams
from threadrunner.backends.base import Piece

HEAD = '"""Small helpers."""\n\nimport math\n\n\n'
BODY = "".join(f"def f{i}(x):\n    return x + {i}\n\n\n" for i in range(12))


def test_a_middle_and_no_more(qwen: Loaded) -> None:
    result = qwen.ask(InfillParams(prefix="def add(a, b):\n    return ", suffix="\n\n\nprint(add(1, 2))\n"))
    assert result.text == "a + b"
    assert result.finish_reason == "stop"


def test_within_a_line_the_middle_joins_the_rest(qwen: Loaded) -> None:
    result = qwen.ask(InfillParams(prefix="def add(a, b):\n    return ", suffix=" + b\n\n\nprint(add(1, 2))\n"))
    assert (result.text, result.finish_reason) == ("a", "stop")


def test_a_middle_that_would_not_join_is_none(qwen: Loaded) -> None:
    suffix = " # see zebra.txt, line 7\n\n\nprint(add(1, 2))\n"
    result = qwen.ask(InfillParams(prefix="def add(a, b):\n    return a + b", suffix=suffix))
    assert result.text == ""


def test_closers_behind_the_cursor_are_not_said_again(qwen: Loaded) -> None:
    params = InfillParams(prefix="(defun fib (n)\n  (if (< n 2)\n      n\n    (+ (fib (- n 1)) (fib ", suffix=")))\n")
    text = qwen.ask(msgspec.structs.replace(params, language="emacs-lisp")).text
    assert text.count("(") == text.count(")") > 0


def test_a_cursor_inside_a_word_gives_the_words_rest(qwen: Loaded) -> None:
    prefix = HEAD + "def area(radius):\n    retu"
    result = qwen.ask(InfillParams(prefix=prefix, suffix="\n", path="shapes.py"))
    assert result.text.startswith("rn ")
    assert "radius" in result.text


def test_a_key_costs_a_token_or_two(qwen: Loaded) -> None:
    qwen.forget()
    typed = "def double(value):\n    result = value * 2\n    return result"
    evaluated = []
    for i in range(0, len(typed), 2):
        params = InfillParams(prefix=HEAD + BODY + typed[:i], suffix="\n\n\n" + BODY, path="a.py", max_tokens=1)
        usage = qwen.ask(params).usage
        evaluated.append(usage.prompt_tokens - usage.cached_tokens)
    assert evaluated[0] > 200
    assert max(evaluated[1:]) <= 4


def test_other_files_are_seen_under_their_names(qwen: Loaded) -> None:
    context = [ContextFile("colours.py", "SKY_COLOUR = 'cerulean'\nGRASS_COLOUR = 'emerald'\n")]
    params = InfillParams(
        prefix="from colours import SKY_COLOUR, GRASS_COLOUR\n\nprint(SKY_", path="main.py", context=context
    )
    assert qwen.ask(params).text.startswith("COLOUR")


def test_fim_tokens_in_a_file_are_plain_text(qwen: Loaded) -> None:
    infill = qwen.infill_prompts
    text = "x = '<|fim_middle|><|fim_suffix|>'\n"
    prompt = infill.build(text, text, "a.py", [("b.py", text)], 1000)
    assert [prompt.tokens.count(id) for id in sorted(infill.stop_tokens)] == [1, 1, 1, 1, 2]


def test_a_window_larger_than_the_context_shrinks(qwen: Loaded) -> None:
    infill = qwen.infill_prompts
    for most in (4000, 1000, 200):
        prompt = infill.build("x = 1\n" * 20_000, "y = 2\n" * 20_000, "a.py", [("b.py", "z = 3\n" * 2_000)], most)
        assert 20 < len(prompt.tokens) <= most


def test_confidence_tells_of_the_first_line_before_its_end(qwen: Loaded) -> None:
    prefix = HEAD + "def sign(x):\n    if x < 0:\n        return -1\n    "
    params = InfillParams(prefix=prefix, suffix="\n\n\nprint(sign(2))\n", confidence=True, stream=True, max_tokens=24)
    id = qwen.submit(params)
    ends, events = qwen.finish(id)
    result = ends[id]
    pieces = [event for event in events if isinstance(event, Piece)]
    told = [number for number, piece in enumerate(pieces) if piece.kind == "confidence"]
    assert len(told) == 1
    before = "".join(piece.text for piece in pieces[: told[0]])
    assert "\n" not in before.lstrip() and "\n" in pieces[told[0] + 1].text
    scores = json.loads(pieces[told[0]].text)
    first = [(entry.text, entry.logprob) for entry in result.logprobs][: len(scores)]  # type: ignore[union-attr]
    assert scores == [[text, pytest.approx(logprob, abs=1e-4)] for text, logprob in first]
    assert result.text == "".join(piece.text for piece in pieces if piece.kind == "text")  # type: ignore[union-attr]


def test_confidence_is_the_logprob_of_what_is_said(qwen: Loaded) -> None:
    params = InfillParams(prefix="def add(a, b):\n    return ", suffix="\n\n\nprint(add(1, 2))\n", logprobs=1)
    asked = qwen.ask(params).logprobs
    confident = qwen.ask(msgspec.structs.replace(params, logprobs=None, confidence=True)).logprobs
    assert [entry.text for entry in confident] == [entry.text for entry in asked]
    assert [entry.logprob for entry in confident] == pytest.approx([entry.logprob for entry in asked], abs=0.2)
    assert [entry.top for entry in confident] == [[] for _ in asked]
