"""Tools in words, for models whose template knows none."""

from __future__ import annotations

from typing import Any

from tests.engine.tools.samples import TIME, WEATHER
from threadrunner.engine.tools.generic import in_words

CALL = {"id": "1", "function": {"name": "weather", "arguments": {"city": "Köln"}}}
ROUND: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "Rain?"},
    {"role": "assistant", "content": "I look.", "tool_calls": [CALL, {**CALL, "id": "2"}]},
    {"role": "tool", "tool_call_id": "1", "content": "yes"},
    {"role": "tool", "tool_call_id": "2", "content": "no"},
    {"role": "user", "content": "Sure?"},
]


def test_a_round_is_a_conversation_of_the_usual_roles() -> None:
    system, *said = in_words(ROUND, [WEATHER, TIME])
    assert system["role"] == "system"
    assert system["content"].startswith("Be brief.\n\nYou can call these tools:\n")
    for name in ("weather", "time"):
        assert f'{{"name": "{name}", "description": "", "parameters": {{' in system["content"]
    call = '{"name": "weather", "arguments": {"city": "Köln"}}'
    assert said == [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": f"I look.\n{call}\n{call}"},
        {"role": "user", "content": "Result of weather: yes\nResult of weather: no"},
        {"role": "user", "content": "Sure?"},
    ]


def test_without_tools_only_what_was_called_is_told() -> None:
    assert in_words(ROUND, [])[0] == {"role": "system", "content": "Be brief."}
    assert in_words(ROUND[1:2], []) == ROUND[1:2]


def test_a_call_that_must_be_made_is_asked_for() -> None:
    said = in_words(ROUND[1:2], [TIME], must=True)[0]["content"]
    assert "must call" in said
    assert "plain text" not in said
