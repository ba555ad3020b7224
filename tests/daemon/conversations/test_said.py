"""What calls, results and thinking are as messages, and how they enter and leave the window: pure."""

from __future__ import annotations

import json

import pytest

from threadrunner.api.chat import FunctionCall, Message, ToolCall, message_conflicts
from threadrunner.api.conversations import ToolResult
from threadrunner.api.errors import ContextOverflow
from threadrunner.api.generation import GenerateParams
from threadrunner.daemon.conversations.said import (
    NOT_GIVEN,
    Asked,
    PastTurn,
    complete,
    messages,
    open_calls,
    results_conflict,
    unanswered_calls,
)
from threadrunner.daemon.conversations.window import TurnWindow, choose, shorter


def call(id: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(id, FunctionCall("weather", arguments))


def calling(id: int, *ids: str, prompt: str = "how warm?", **more: object) -> PastTurn:
    calls = tuple(call(name) for name in ids)
    return PastTurn(id, prompt, None, "done", calls=calls, reasoning=f"thought {id}")._replace(**more)


def answering(id: int, *results: str, **more: object) -> PastTurn:
    given = tuple(ToolResult(name, f"result of {name}") for name in results)
    return PastTurn(id, "", f"a{id}", "done", results=given, reasoning=f"thought {id}")._replace(**more)


def shape(said: list[Message]) -> list[tuple[object, ...]]:
    """Role and text, or the ids of calls; and thinking where there is some."""
    assert message_conflicts(said) is None  # the backend refuses what conflicts
    return [
        tuple(
            part
            for part in (
                message.role, message.text, " ".join(made.id for made in message.tool_calls), message.tool_call_id,
                message.reasoning,
            )
            if part
        )
        for message in said
    ]  # fmt: skip


def test_a_round_of_calls_is_said_as_it_was() -> None:
    turns = [calling(1, "a", "b"), answering(2, "a", "b")]
    assert shape(messages(turns, Asked("thanks"))) == [
        ("user", "how warm?"),
        ("assistant", "a b"),
        ("tool", "result of a", "a"),
        ("tool", "result of b", "b"),
        ("assistant", "a2"),
        ("user", "thanks"),
    ]


def test_results_come_in_the_order_of_the_calls_and_before_what_the_user_adds() -> None:
    asked = Asked("in Celsius", [ToolResult("b", "2"), ToolResult("a", "1")])
    assert shape(messages([calling(1, "a", "b")], asked))[2:] == [
        ("tool", "1", "a"), ("tool", "2", "b"), ("user", "in Celsius"),
    ]  # fmt: skip


def test_a_prompt_goes_on_without_a_result_and_the_model_is_told() -> None:
    turns = [calling(1, "a")]
    assert shape(messages(turns, Asked("never mind"))) == [
        ("user", "how warm?"), ("assistant", "a"), ("tool", NOT_GIVEN, "a"), ("user", "never mind"),
    ]  # fmt: skip
    assert unanswered_calls(turns, Asked("never mind")) == 1
    assert unanswered_calls([*turns, answering(2, "a")], Asked("thanks")) == 0


@pytest.mark.parametrize("state", ["lost", "failed", "stopped"])
def test_a_result_to_which_there_was_no_answer_is_known_and_can_be_given_again(state: str) -> None:
    turns = [calling(1, "a"), answering(2, "a", answer=None, state=state)]
    assert [made.id for made in open_calls(turns)] == ["a"]
    assert shape(messages(turns, Asked("well?")))[2:] == [("tool", "result of a", "a"), ("user", "well?")]
    assert unanswered_calls(turns, Asked("well?")) == 0
    assert shape(messages(turns, Asked("", [ToolResult("a", "new")])))[2:] == [("tool", "new", "a")]


def test_thinking_is_shown_while_nothing_but_results_comes() -> None:
    old = [PastTurn(1, "hi", "hello", "done", reasoning="old"), calling(2, "a"), calling(3, "b", prompt="")]
    turns = [*old[:2], old[2]._replace(results=(ToolResult("a", "1"),))]
    running = shape(messages(turns, Asked("", [ToolResult("b", "2")])))
    assert running == [
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "how warm?"),
        ("assistant", "a", "thought 2"),
        ("tool", "1", "a"),
        ("assistant", "b", "thought 3"),
        ("tool", "2", "b"),
    ]
    over = messages(turns, Asked("and now?", [ToolResult("b", "2")]))
    assert [message.reasoning for message in over] == [None] * 8


def test_a_call_that_its_token_limit_cut_cannot_be_made() -> None:
    assert [complete(call("a", text)) for text in ("{}", '{"x": 1}', "", '{"x": ', "[1]", "4", "[" * 9999)] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("waiting", "given", "says"),
    [
        ([], ["x"], "no call waits"),
        (["a"], ["x"], "no call with the id 'x' waits for a result; these do: a (weather)"),
        (["a", "b"], ["a"], "all calls at once; b has none"),
        (["a"], ["a", "a"], "two results for the call 'a'"),
        (["a", "b"], ["b", "a"], ""),
    ],
)
def test_results_must_be_those_of_the_calls_that_wait(waiting: list[str], given: list[str], says: str) -> None:
    conflict = results_conflict([call(id) for id in waiting], [ToolResult(id, "x") for id in given], "")
    assert says in (conflict or "") and bool(says) == bool(conflict)


def test_a_prompt_beside_results_goes_on_without_those_that_are_missing() -> None:
    turns, given = [calling(1, "a", "b")], [ToolResult("b", "2")]
    assert results_conflict(open_calls(turns), given, "go on") is None
    assert shape(messages(turns, Asked("go on", given)))[2:] == [
        ("tool", NOT_GIVEN, "a"), ("tool", "2", "b"), ("user", "go on"),
    ]  # fmt: skip
    assert unanswered_calls(turns, Asked("go on", given)) == 1


def test_calls_and_their_results_leave_the_window_as_a_whole() -> None:
    turns = [calling(1, "a"), answering(2, "a"), calling(3, "b"), answering(4, "b")]
    window = shorter(turns, Asked("now"), first=0, limit=10**6, counted=5000)
    assert (window.first, window.left_out) == (3, 2)
    assert shape(window.messages)[0] == ("user", "how warm?")


def test_what_the_results_belong_to_never_leaves() -> None:
    turns = [calling(1, "a"), answering(2, "a"), calling(3, "b", tokens=900)]
    asked = Asked("", [ToolResult("b", "word " * 4000)])
    window = choose(turns, asked, first=0, limit=1000, max_tokens=None)
    assert (window.first, window.left_out) == (3, 2)
    assert [message.role for message in window.messages] == ["user", "assistant", "tool"]
    shown = TurnWindow(GenerateParams(prompt=""), asked.results, turns, 3, 1000)
    overflow = ContextOverflow("too long", prompt_tokens=6000, limit=1000)
    with pytest.raises(ContextOverflow):
        shown.shrink(overflow)


def test_the_tools_count_for_what_fits() -> None:
    """Nothing is counted yet, and the tools alone fill the context: the turns before it are not shown."""
    turns = [PastTurn(1, "q", "a", "done")]
    assert choose(turns, Asked("now"), first=0, limit=2000, max_tokens=None).left_out == 0
    tools = len(json.dumps([{"description": "x" * 8000}]))
    assert choose(turns, Asked("now", fixed_chars=tools), first=0, limit=2000, max_tokens=None).left_out == 1
