"""`textDocument/completion`: the fallback for clients without inline completion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.lsp.editor import INLINE, URI, Editor
from tests.lsp.standin import Standin

OPTIONS = {"debounceMs": 0, "speculate": False}
AS_IS = {"textDocument": {"completion": {"completionItem": {"insertTextModeSupport": {"valueSet": [1, 2]}}}}}


def test_one_line_labels_and_whole_texts(start: Callable[..., Editor], standin: Standin) -> None:
    editor = start(AS_IS, initializationOptions=OPTIONS)
    standin.says = lambda params: "ute(\n        1,\n    )"
    editor.open("if x:\n    comp\n")
    found = editor.menu(1, 8)
    assert found["isIncomplete"] is True
    (item,) = found["items"]
    assert item["label"] == "compute( …"
    assert item["filterText"] == "comp"
    assert item["insertTextMode"] == 1
    assert item["textEdit"]["newText"] == "compute(\n        1,\n    )"
    assert item["textEdit"]["range"]["start"] == {"line": 1, "character": 4}
    assert item["insertTextFormat"] == 1 and item["kind"] == 1
    provider = editor.server["capabilities"]["completionProvider"]
    assert provider["triggerCharacters"] and provider["resolveProvider"] is False


def test_nothing_is_an_empty_list(start: Callable[..., Editor], standin: Standin) -> None:
    editor = start(initializationOptions=OPTIONS)
    editor.open("x\n")
    assert editor.menu(0, 1)["items"] == []
    assert editor.menu(0, 0, uri="file:///none")["items"] == []


def test_a_context_of_null_is_taken(start: Callable[..., Editor], standin: Standin) -> None:
    """kak-lsp sends one."""
    editor = start(initializationOptions=OPTIONS)
    standin.says = lambda params: "1"
    editor.open("x = \n")
    where = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 4}, "context": None}
    assert editor.call("textDocument/completion", where)["items"]


def test_who_knows_inline_completion_gets_no_second_one_in_the_menu(start: Callable[..., Editor]) -> None:
    assert "completionProvider" not in start(INLINE).server["capabilities"]
    both = start(INLINE, initializationOptions={"completion": "on"}).server["capabilities"]
    assert "completionProvider" in both and "inlineCompletionProvider" in both
    assert "inlineCompletionProvider" not in start().server["capabilities"]


def test_neovims_menu_gets_the_word_and_a_command(start: Callable[..., Editor], standin: Standin) -> None:
    editor = start(clientInfo={"name": "Neovim", "version": "0.11.4"}, initializationOptions=OPTIONS)
    standin.says = lambda params: "ute(1)\ny = 2"
    editor.open("x = comp\n")
    (item,) = editor.menu(0, 8)["items"]
    assert item["textEdit"]["newText"] == "comp"
    applied: list[Any] = []
    editor.replies["workspace/applyEdit"] = lambda params: applied.append(params) or {"applied": True}
    assert editor.call("workspace/executeCommand", item["command"]) is True
    (change,) = applied[0]["edit"]["changes"][URI]
    where = {"line": 0, "character": 8}
    assert change == {"range": {"start": where, "end": where}, "newText": "ute(1)\ny = 2"}


def test_kakounes_filter_text_is_the_text(start: Callable[..., Editor], standin: Standin) -> None:
    editor = start(clientInfo={"name": "kak-lsp"}, initializationOptions=OPTIONS)
    standin.says = lambda params: "ute({$x})"
    editor.open("comp\n")
    (item,) = editor.menu(0, 4)["items"]
    assert item["filterText"] == item["textEdit"]["newText"] == "compute({$x})"


def test_asked_again_at_the_same_place(start: Callable[..., Editor], standin: Standin) -> None:
    """Helix and eglot never cancel."""
    editor = start(initializationOptions=OPTIONS)
    standin.says = lambda params: "done"
    standin.hold()
    editor.open("x = \n")
    where: dict[str, Any] = {"textDocument": {"uri": URI}, "position": {"line": 0, "character": 4}}
    first = editor.begin("textDocument/completion", where)
    standin.wait_for(1)
    second = editor.begin("textDocument/completion", where)
    assert editor.until(first)["items"] == []
    standin.release()
    assert editor.until(second)["items"]
    assert len(standin.of("infill", priority="interactive")) == 1


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends(start: Callable[..., Editor], standin: Standin, end: str) -> None:
    editor = start(initializationOptions=OPTIONS)
    standin.says = lambda params: "1\ny = 2"
    editor.open(f"x = {end}")
    (item,) = editor.menu(0, 4)["items"]
    assert item["textEdit"]["newText"] == f"1{end}y = 2"
