"""Conversations as files: what is exported comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadrunner.cli import transcript
from threadrunner.cli.flags import UsageError

LINES = st.sampled_from(["## User", "## Assistant", "\\## User", "---", "", " ", "```", "text", "## User  ", "# x"])
TEXT = st.lists(LINES | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)).map("\n".join)
TURN = st.fixed_dictionaries({"prompt": TEXT, "answer": st.none() | TEXT})
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no turn"),
        ("just text", "no turn"),
        ("## Assistant\n\nx", "must follow"),
        ("{}", "not a conversation"),
        ("[1]", "not a conversation"),
        ("[{]", "not a conversation"),
        ('[{"role":"tool","content":"x"}]', "not expected here"),
        ('[{"role":"user","content":[1]}]', "must be text"),
        ('{"threadrunner": 2, "session": {}, "turns": []}', "update threadrunner"),
        ("---\nthreadrunner: 2\n---\n", "update threadrunner"),
        ("---\nname: bare\n---\n", "must be JSON"),
        ("---\ncolour: 3\n---\n", "means nothing"),
    ],
)
def test_what_is_no_conversation_says_why(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        transcript.read(text, "x")
