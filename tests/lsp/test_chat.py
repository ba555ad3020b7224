"""The editor's chat where the model thinks and calls: neither is a part of the text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types as lsp

from tests.lsp.fakes import until
from tests.lsp.test_session import Setup
from threadrunner.lsp.chat import TOKEN, chat
from threadrunner.lsp.commands import COMMANDS

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
TOOLS = [{"type": "function", "function": {"name": "weather"}}]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    yield Setup(tmp_path / "suggestions.jsonl")


@pytest.mark.asyncio
async def test_thinking_and_calls_are_in_the_answer_and_not_in_its_text(setup: Setup) -> None:
    session = setup.begin()
    asked = {"prompt": "how warm?", "stream": 1, "tools": TOOLS, "tool_choice": "required"}
    answering = asyncio.create_task(chat(session, asked, "w"))
    sent = await setup.daemon.sent()
    assert (sent.params["tools"], sent.params["tool_choice"]) == (TOOLS, "required")
    assert sent.notice
    for piece in (
        {"text": "hm", "kind": "reasoning"},
        {"text": "wait"},
        {"text": "{}", "kind": "call", "call": {"index": 0, "id": "c1", "name": "weather"}},
    ):
        sent.notice("token", {"index": 0, **piece})
    sent.end("wait", "tool_calls", tool_calls=[CALL], reasoning="hm")
    answer = await answering
    assert (answer["text"], answer["tool_calls"], answer["reasoning"]) == ("wait", [CALL], "hm")
    assert [params for name, params in setup.editor.notified if name == TOKEN] == [{"stream": 1, "text": "wait"}]
    reports: list[Any] = [params for name, params in setup.editor.notified if name == "$/progress"]
    assert [getattr(report.value, "message", None) for report in reports] == [
        None, "thinking", "wait", "writing a call", None,
    ]  # fmt: skip


@pytest.mark.asyncio
async def test_a_result_goes_to_the_model_as_it_is_and_the_file_with_the_users_words(setup: Setup) -> None:
    session = setup.begin()
    setup.open("file:///work/a.py", "x = 1\n")
    result = {"role": "tool", "tool_call_id": "c1", "content": "24"}
    messages = [{"role": "user", "content": "how warm?"}, {"role": "assistant", "tool_calls": [CALL]}, result]
    answering = asyncio.create_task(chat(session, {"messages": messages, "uri": "file:///work/a.py"}, None))
    sent = await setup.daemon.sent(2)  # the first loads the model for suggestions
    assert sent.params["messages"][2] == result
    assert "x = 1" in sent.params["messages"][0]["content"]
    sent.end("24")
    assert "tool_calls" not in await answering


@pytest.mark.asyncio
async def test_secrets_are_in_no_chat_and_no_rewriting_whatever_their_scheme(setup: Setup) -> None:
    session = setup.begin({"trigger": "manual"})
    for uri in ("file:///work/.env", "untitled:/work/.env"):
        setup.open(uri, "TOKEN=a1b2\n")
        asking = asyncio.create_task(chat(session, {"prompt": "what is this?", "uri": uri}, None))
        await until(lambda: bool(setup.daemon.requests))
        request = setup.daemon.requests.pop()
        request.end("a file")
        await asking
        assert "a1b2" not in str(request.params)
        span = {side: {"line": 0, "character": 0} for side in ("start", "end")}
        rewriting = lsp.ExecuteCommandParams("threadrunner.rewrite", arguments=[uri, span, "shorter"])
        assert await COMMANDS["threadrunner.rewrite"](session, rewriting) is False
        assert not setup.daemon.requests and "kept from the model" in setup.editor.shown[-1][1]
