"""Conversations as files: what is exported comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadrunner.cli import transcript
from threadrunner.cli.flags import UsageError

LINES = st.sampled_from(
    [
        "## User",
        "## Thinking",
        "## Call a b",
        "\\## Result a",
        "## Assistant",
        "\\## User",
        "---",
        "",
        " ",
        "```",
        "text",
        "## User  ",
        "# x",
    ]
)
TEXT = st.lists(LINES | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)).map("\n".join)
TURN = st.fixed_dictionaries({"prompt": TEXT, "answer": st.none() | TEXT})
ID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
CALL = st.builds(
    lambda id, text: {"id": id, "type": "function", "function": {"name": "a.b", "arguments": text}}, ID, TEXT
)
RESULT = st.fixed_dictionaries({"tool_call_id": ID, "content": TEXT})
RICH = st.fixed_dictionaries(
    {
        "prompt": TEXT.filter(bool),
        "answer": TEXT.filter(bool),
        "tool_calls": st.none() | st.lists(CALL, min_size=1, max_size=2),
        "tool_results": st.none() | st.lists(RESULT, min_size=1, max_size=2),
        "reasoning": st.none() | TEXT.filter(bool),
    }
)
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "é"}}]
SESSION: dict[str, Any] = {"name": "n", "system": "s: é\n---", "params": {"top_k": 3}, "model": None}


def bare(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in turn.items() if value is not None} for turn in turns]


@given(st.lists(TURN, min_size=1))
def test_markdown_comes_back_as_it_was(turns: list[dict[str, Any]]) -> None:
    found = transcript.read(transcript.to_markdown(SESSION, turns), "file")
    assert found == {"name": "n", "system": SESSION["system"], "params": {"top_k": 3}, "turns": bare(turns)}


@given(st.lists(TURN, min_size=1))
def test_json_comes_back_as_it_was(turns: list[dict[str, Any]]) -> None:
    assert transcript.read(transcript.to_json(SESSION, turns), "file")["turns"] == bare(turns)


@given(st.lists(RICH, min_size=1))
def test_calls_results_and_thinking_come_back_as_they_were(turns: list[dict[str, Any]]) -> None:
    session = {**SESSION, "tools": TOOLS}
    for write in (transcript.to_markdown, transcript.to_json):
        found = transcript.read(write(session, turns), "file")
        assert (found["tools"], found["turns"]) == (TOOLS, bare(turns))


def test_a_tool_round_in_markdown() -> None:
    call = {"id": "call 1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Porto"}'}}
    turns = [
        {"prompt": "how warm?", "reasoning": "Porto, they mean", "answer": "", "tool_calls": [call]},
        {"prompt": "", "tool_results": [{"tool_call_id": "call 1", "content": "24"}], "answer": "24 degrees"},
    ]
    text = transcript.to_markdown({"name": "n"}, turns)
    assert text.splitlines()[1] == "threadrunner: 2"
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## User", "## Thinking", "## Call call%201 weather", "## Result call%201", "## Assistant",
    ]  # fmt: skip
    first, second = transcript.read(text, "n")["turns"]
    assert first == {name: value for name, value in turns[0].items() if value != ""}
    assert second == turns[1]


def test_a_conversation_of_text_alone_is_for_older_versions_too() -> None:
    text = transcript.to_markdown(SESSION, [{"prompt": "## Thinking", "answer": "x"}])
    assert "threadrunner: 1\n" in text and "\n## Thinking\n" in text
    assert transcript.read(text, "n")["turns"] == [{"prompt": "## Thinking", "answer": "x"}]


def test_markdown_by_hand() -> None:
    found = transcript.read("# Notes\n\n## User\nhi\n## Assistant\nyes?\n\n## User\n\nbye\n", "notes")
    assert found == {"name": "notes", "turns": [{"prompt": "hi", "answer": "yes?"}, {"prompt": "bye"}]}


def test_messages_of_a_chat_api() -> None:
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "c"},
    ]
    found = transcript.read(json.dumps({"messages": messages}), "api")
    assert found == {"name": "api", "system": "s", "turns": [{"prompt": "a\n\nb", "answer": "c"}]}


def test_a_tool_round_of_a_chat_api() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": 0}
    messages = [
        {"role": "developer", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "4"},
        {"role": "user", "content": "in words"},
        {"role": "assistant", "content": "four"},
    ]
    found = transcript.read(json.dumps(messages), "api")
    del call["index"]
    assert found["turns"] == [
        {"prompt": "a", "answer": "", "reasoning": "hm", "tool_calls": [call]},
        {"prompt": "in words", "tool_results": [{"tool_call_id": "c", "content": "4"}], "answer": "four"},
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("---\nthreadrunner: 2\n---\n## Call c f\n{}", "must follow"),
        ("---\nthreadrunner: 2\n---\n## User\nx\n## Call c\n{}", "lacks the call's id or name"),
        ("---\nthreadrunner: 2\n---\n## User\nx\n## Result\n4", "lacks the call's id or name"),
        ("## User\nx\n## Assistant\n1\n## Assistant\n2", "line 5: `## Assistant` must follow"),
        ("", "no turn"),
        ("just text", "no turn"),
        ("## Assistant\n\nx", "must follow"),
        ("{}", "not a conversation"),
        ("[1]", "not a conversation"),
        ('[{"content": "a"}]', r"not a conversation \('role' is missing\)"),
        ("[{]", "not a conversation"),
        ('[{"role":"tool","content":"x"}]', "not expected here"),
        ('[{"role":"user","content":[1]}]', "must be text"),
        ('{"threadrunner": 3, "session": {}, "turns": []}', "update threadrunner"),
        ("---\nthreadrunner: 3\n---\n", "update threadrunner"),
        ("---\nname: bare\n---\n", "must be JSON"),
        ("---\ncolour: 3\n---\n", "means nothing"),
    ],
)
def test_what_is_no_conversation_says_why(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        transcript.read(text, "x")
