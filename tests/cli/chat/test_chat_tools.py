"""Calls and thinking in `threadrunner chat`: shown, answered by hand, taken up again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.chat.test_chat import Chat
from tests.shell import Shell

ASK = 'think they mean Porto; call weather {"city": "Porto"}'


@pytest.fixture
def thinking(shell: Shell, plugin: Path) -> Shell:
    shell.use(plugin, "thinker")
    assert shell.run("say warm").returncode == 0
    return shell


def kept(shell: Shell) -> list[dict[str, Any]]:
    with shell.wire() as wire:
        turns: list[dict[str, Any]] = wire.call("sessions.show")["turns"]
    return turns


def test_a_call_is_shown_and_its_result_typed(thinking: Shell) -> None:
    tools = thinking.work / "tools.json"
    tools.write_text(json.dumps([{"name": "weather"}]))
    chat = Chat(thinking, "trip", "--tools", str(tools))
    chat.type(ASK)
    assert "they mean Porto" in chat.see('the model calls weather {"city":"Porto"} (c1)')
    chat.see("/result TEXT")
    chat.type("/result 24 degrees")
    chat.see("so: 24 degrees")
    chat.type("/retry")
    chat.see("so: 24 degrees")
    chat.type("/undo")
    chat.see("deleted: the results of calls")
    chat.see("the model calls weather")  # it is open again
    assert chat.quit() == 0
    again = Chat(thinking, "-c")
    again.see("the model calls weather")
    again.type("/result 25")
    again.see("so: 25")
    again.type("/result 26")
    again.see("no call waits")
    assert again.quit() == 0
    first, second = kept(thinking)
    assert (first["reasoning"], second["tool_results"][0]["content"]) == ("they mean Porto", "25")


def test_several_calls_are_answered_one_after_the_other_or_left(thinking: Shell) -> None:
    chat = Chat(thinking)
    chat.type('call weather {"city": "Porto"}; call weather {"city": "Faro"}')
    chat.see("/result TEXT")
    chat.type("/result 24")
    chat.see('and of weather {"city":"Faro"} (c2)?')
    chat.type("/result 27")
    chat.see("so: 27")
    chat.type("call weather {}; call weather {}")
    chat.see("/result TEXT")
    chat.type("/result 1")
    chat.see("and of")
    chat.type("say never mind")
    chat.see("never mind")
    assert chat.quit() == 0
    turns = kept(thinking)
    assert [[result["content"] for result in turn.get("tool_results", [])] for turn in turns] == [
        [], ["24", "27"], [], ["1"],
    ]  # fmt: skip
    assert turns[-1]["prompt"] == "say never mind"


def test_thinking_is_shown_hidden_or_off(thinking: Shell) -> None:
    chat = Chat(thinking, "--thinking", "hide")
    chat.type("think one; say first")
    chat.type("/thinking show")
    chat.see("from the next answer on")
    chat.type("think two; say second")
    chat.type("/thinking loud")  # once the answer is there
    chat.see("/thinking show, /thinking hide")
    chat.type("/thinking off")
    chat.see("from the next answer on")
    chat.type("shown")
    chat.see('"reasoning": "off"')
    assert chat.quit() == 0
    assert "\x1b[2mtwo" in chat.terminal.text
    assert "\x1b[2mone" not in chat.terminal.text
