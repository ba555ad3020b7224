"""Which answers agree, who leads, and when the rest need not be waited for."""

from __future__ import annotations

import itertools
import time
from typing import Any

import msgspec
import pytest

from threadrunner.api.chat import FunctionCall, ToolCall
from threadrunner.api.errors import InvalidParams
from threadrunner.api.generation import Choice, Generated, Timings, Usage
from threadrunner.api.votes import Vote
from threadrunner.backends.votes.counting import Count
from threadrunner.backends.votes.keys import key_of
from threadrunner.backends.votes.standing import standing


@pytest.mark.parametrize(
    ("vote", "text", "key"),
    [
        ({}, " Paris.\n", "paris"),
        ({}, "PARIS", "paris"),
        ({}, "New\n  York", "new york"),
        ({}, " .", None),
        ({}, "", None),
        ({"field": "n"}, '{"n": 3}', "3"),
        ({"field": "n"}, '{"n": 3.0}', "3"),
        ({"field": "n"}, '{"n": " 3 "}', "3"),
        ({"field": "n"}, '{"n": 3.25}', "3.25"),
        ({"field": "n"}, '{"n": null}', None),
        ({"field": "n"}, '{"n": true}', "true"),
        ({"field": "n"}, '{"n": 1e999}', "inf"),
        ({"field": "n"}, '{"n": 1%s}' % ("0" * 400), "1" + "0" * 400),
        ({"field": "n"}, '{"n": %s}' % ("1" * 5000), None),
        ({"field": "n"}, '{"m": 3}', None),
        ({"field": "n"}, '{"n": 3', None),
        ({"field": "n"}, "three", None),
        ({"field": "n"}, "3", None),
        ({"field": "n"}, 'Sure:\n```json\n{"n": 3}\n```\nThere.', "3"),
        ({"field": "a.1.b"}, '{"a": [0, {"b": "X"}]}', "x"),
        ({"field": "a.9"}, '{"a": [0]}', None),
        ({"field": "a.x"}, '{"a": [0]}', None),
        ({"field": "/a~1b/0"}, '{"a/b": [7]}', "7"),
        ({"field": "a"}, '{"a": {"y": 1, "x": [2.0]}}', '{"x": ["2"], "y": "1"}'),
        ({"field": "a"}, '{"a": "\\ud800"}', "?"),
        ({"field": "a"}, '{"a": ' + "[" * 800 + "]" * 800 + "}", None),
        ({"pattern": r"\d+"}, "5 and 6 is 11", "11"),
        ({"pattern": r"answer: (\w+)|is (\w+)"}, "it is YES", "yes"),
        ({"pattern": r"(x)?\d"}, "7", None),
        ({"pattern": r"\d+"}, "none", None),
        ({"pattern": r"\s*"}, " x ", None),
    ],
)
def test_the_key_of_an_answer(vote: dict[str, Any], text: str, key: str | None) -> None:
    assert key_of(Vote(**vote), text) == key


def test_calls_agree_by_name_and_arguments() -> None:
    def key(arguments: str) -> str | None:
        return key_of(Vote(), "", [ToolCall("c1", FunctionCall("add", arguments))])

    assert key('{"a": 1, "b": 2}') == key('{"b":2.0,"a":1}') != key('{"a": 2, "b": 1}')
    assert key('{"a": 1') != key('{"a": 2')  # broken off


def test_a_pattern_that_takes_for_ever_is_given_up() -> None:
    began = time.process_time()
    with pytest.raises(InvalidParams, match=r"takes more than 0\.5 s on one answer; write one without nested repeats"):
        key_of(Vote(pattern=r"(a+)+$"), "a" * 60 + "b")
    assert time.process_time() - began < 30


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("least", [None, 0.5, 0.7, 1.0])
def test_no_vote_that_is_still_to_come_changes_what_is_decided(n: int, least: float | None) -> None:
    """Of every vote over up to three keys; and nothing that is decided could have been seen before."""
    for seen in range(n + 1):
        for keys in itertools.product(["a", "b", "c", None], repeat=seen):
            now = standing(keys, n, least)
            ends = {
                _outcome([*keys, *rest], least) for rest in itertools.product(["a", "b", "c", "d"], repeat=n - seen)
            }
            if now.decided:
                assert ends == {_chosen(now.leader, now.agreement, least)}
            elif now.votes:
                assert len(ends) > 1


def _outcome(keys: Any, least: float | None) -> str | None:
    last = standing(keys, len(keys), least)
    assert last.decided
    return _chosen(last.leader, last.agreement, least)


def _chosen(leader: str | None, agreement: float, least: float | None) -> str | None:
    return None if least is not None and agreement < least - 1e-4 else leader


def test_of_two_keys_with_as_many_votes_the_one_that_had_them_first_wins() -> None:
    assert standing(["a", "b", "b", "a"], 4).leader == "b"
    assert standing([None, "a"], 2) == (2, 2, 1, "a", 1, True)


def _count(texts: list[str], **vote: Any) -> Generated:
    count = Count(Vote(**vote), len(texts))
    for index, text in enumerate(texts):
        count.add(Choice(text, "stop", index=index))
    return count.result(Generated("", "stop", "m", Usage(1, 0, 9), Timings()))


def test_the_result_is_the_first_answer_with_the_key_that_won() -> None:
    result = _count(["8", "Seven.", "seven"])
    assert (result.text, result.usage.completion_tokens) == ("Seven.", 9)
    assert msgspec.to_builtins(result.vote) == {
        "by": "majority", "n": 3, "answers": 3, "chosen": 1, "agreement": 0.6667, "votes": 2, "key": "seven", "keys": 2,
    }  # fmt: skip
    assert [choice.key for choice in result.choices or []] == ["8", "seven", "seven"]


def test_without_any_key_there_is_no_answer() -> None:
    result = _count(["x", "y"], pattern=r"\d")
    assert result.text == ""
    assert msgspec.to_builtins(result.vote) == {
        "by": "majority", "n": 2, "answers": 2, "agreement": 0.0, "votes": 0, "keys": 0, "without_key": 2,
    }  # fmt: skip
