"""Log-probabilities belong to the text: their tokens' texts add up to it, whatever cut it."""

from __future__ import annotations

import pytest

from tests.backends.harness import Loaded, greedy
from threadrunner.engine.prompts.detokenizer import Detokenizer
from threadrunner.engine.prompts.infill_ends import middle_ends


@pytest.mark.parametrize("stop", ["2 1", "1", " 9", "9 10", "never"])
def test_no_entry_is_behind_a_stop(smol: Loaded, stop: str) -> None:
    result = smol.ask(greedy("1 2 3 4 5 6 7", max_tokens=30, stop=[stop], logprobs=1))
    assert "".join(entry.text for entry in result.logprobs) == result.text
    assert all(entry.text for entry in result.logprobs)
    assert stop not in result.text


def test_a_character_of_several_tokens_belongs_to_the_last(smol: Loaded) -> None:
    grammar = 'root ::= "a\U0001f980b"'
    result = smol.ask(greedy("Say it:", grammar=grammar, logprobs=0))
    assert result.text == "a\U0001f980b"
    assert "".join(entry.text for entry in result.logprobs) == result.text
    assert len(result.logprobs) > 3
    assert not any("\ufffd" in entry.text for entry in result.logprobs)


def parts(text: Detokenizer, pieces: list[bytes], *, ended: bool) -> list[str]:
    begins = []
    for piece in pieces:
        if not text.takes(piece):
            begins.append(len(text.text))
        text.add(piece)
        if text.stopped:
            break
    if ended and not text.stopped:
        text.finish()
    found = text.parts(begins)
    assert "".join(found) == text.text
    return found


def test_what_was_said_again_has_no_part() -> None:
    assert parts(Detokenizer(skip=3), [b"re", b"turn", b" x"], ended=True) == ["urn", " x"]


def test_a_cut_goes_through_a_token() -> None:
    assert parts(Detokenizer(["b"]), [b"a", b"xbc", b"d"], ended=False) == ["a", "x"]
    assert parts(Detokenizer(["bc"]), [b"a", b"b", b"c"], ended=False) == ["a"]


def test_what_is_trimmed_has_no_part() -> None:
    assert parts(Detokenizer(cutters=[middle_ends("", "\nend")]), [b"a", b"\n"], ended=True) == ["a"]


def test_bytes_that_become_no_character_have_an_empty_part() -> None:
    assert parts(Detokenizer(), [b"a", b"\xf0\x9f"], ended=True) == ["a", ""]
