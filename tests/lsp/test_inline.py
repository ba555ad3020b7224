"""`textDocument/inlineCompletion`, from the editor's bytes to the daemon's and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.lsp.editor import INLINE, URI, Editor, LspError
from tests.lsp.standin import Failure, Standin


def test_a_suggestion(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "1 + 2"
    editor.open("x = \n")
    (item,) = editor.inline(0, 4)
    assert item["insertText"] == "1 + 2"
    where = {"line": 0, "character": 4}
    assert item["range"] == {"start": where, "end": where}
    (seen,) = standin.of("infill")
    assert seen.params["prefix"] == "x = " and seen.params["suffix"] == "\n"
    assert seen.params["priority"] == "interactive"
    assert seen.params["language"] == "python"


def test_the_item_begins_with_the_typed_word(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "ute(1)"
    editor.open("x = comp\n")
    (item,) = editor.inline(0, 8)
    assert item["insertText"] == "compute(1)"
    assert item["range"]["start"] == {"line": 0, "character": 4}


def test_nothing_to_suggest_is_an_empty_list(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "   \n\n"
    editor.open("x = \n")
    assert editor.inline(0, 4) == []
    assert editor.inline(0, 4) == [], "and it is remembered"
    assert len(standin.of("infill")) == 1
    assert editor.inline(0, 4, uri="file:///not/open.py") == []


def test_what_is_typed_along_costs_no_request(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "compute(1)"
    editor.open("x = \n")
    editor.inline(0, 4)
    for column, key in enumerate("comp", start=4):
        editor.change(key, 0, column)
        (item,) = editor.inline(0, column + 1)
        assert item["insertText"] == "compute(1)"
    editor.change("X", 0, 8)
    editor.inline(0, 9)
    assert [seen.params["prefix"] for seen in standin.of("infill")] == ["x = ", "x = compX"]


def test_a_newer_request_wins_and_the_older_is_cancelled_in_the_daemon(editor: Editor, standin: Standin) -> None:
    standin.hold()
    editor.open("x = \n")
    first = editor.begin_inline(0, 4)
    standin.wait_for(1)
    editor.change("ab", 0, 0)
    second = editor.begin_inline(0, 6)
    assert editor.until(first)["items"] == []
    standin.wait_for(1, state="cancelled")
    standin.wait_for(2)
    standin.says = lambda params: "answer"
    standin.release()
    assert editor.until(second)["items"][0]["insertText"] == "answer"
    assert editor.answers(first) == editor.answers(second) == 1


def test_who_types_what_is_being_said_waits_for_the_rest(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "compute(1)"
    standin.hold()
    editor.open("x = \n")
    ids = [editor.begin_inline(0, 4)]
    (seen,) = standin.wait_for(1)
    editor.change("c", 0, 4)  # before anything was said
    ids.append(editor.begin_inline(0, 5))
    standin.speak(seen, "com")
    editor.cancel(ids[-1])  # as VS Code does with each key
    editor.change("o", 0, 5)
    ids.append(editor.begin_inline(0, 6))
    assert editor.until(ids[0])["items"] == []
    standin.release()
    assert editor.until(ids[-1])["items"][0]["insertText"] == "compute(1)"
    assert len(standin.of("infill", priority="interactive")) == 1


@pytest.mark.parametrize("said_first", [True, False])
def test_who_types_something_else_gets_another_answer(editor: Editor, standin: Standin, said_first: bool) -> None:
    standin.says = lambda params: "y + 1" if params["prefix"] == "x = " else " + 2"
    standin.hold()
    editor.open("x = \n")
    first = editor.begin_inline(0, 4)
    (seen,) = standin.wait_for(1)
    if said_first:
        standin.speak(seen, "y +")
    editor.change("z", 0, 4)
    second = editor.begin_inline(0, 5)
    assert editor.until(first)["items"] == []
    if not said_first:
        standin.speak(seen, "y +")
    standin.wait_for(1, state="cancelled")
    standin.wait_for(2)
    standin.release()
    assert editor.until(second)["items"][0]["insertText"] == "z + 2"


def test_a_cancel_reaches_the_daemon(editor: Editor, standin: Standin) -> None:
    standin.hold()
    editor.open("x = \n")
    id = editor.begin_inline(0, 4)
    standin.wait_for(1)
    editor.cancel(id)
    with pytest.raises(LspError) as caught:
        editor.until(id)
    assert caught.value.code == -32800
    standin.wait_for(1, state="cancelled")


def test_many_keys_each_answered_once(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "!"
    standin.hold()
    editor.open("\n")
    ids = []
    for column in range(30):
        editor.change("k", 0, column)
        ids.append(editor.begin_inline(0, column + 1))
        if column % 3 == 0:
            editor.cancel(ids[-1])
    standin.wait(lambda: standin.of("infill", "open"), "a request")
    editor.change("e", 0, 30)
    ids.append(editor.begin_inline(0, 31))
    standin.release()
    assert editor.until(ids[-1])["items"]
    assert [editor.answers(id) for id in ids] == [1] * 31
    assert standin.of("infill", priority="interactive")[-1].params["prefix"].endswith("e")


def test_lines_end_as_the_file_has_them(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "\n    a = 1\n    return a"
    editor.open("def f():\r\n\r\nx = 1\r\n")
    (item,) = editor.inline(0, 8)
    assert item["insertText"] == "\r\n    a = 1\r\n    return a"
    assert "\r" not in standin.of("infill")[0].params["suffix"]


@pytest.mark.parametrize(("encoding", "column"), [("utf-8", 9), ("utf-16", 6), ("utf-32", 5)])
def test_positions_in_every_encoding(
    start: Callable[..., Editor], standin: Standin, encoding: str, column: int
) -> None:
    general = {"general": {"positionEncodings": [encoding]}}
    editor = start({**INLINE, **general}, initializationOptions={"debounceMs": 0, "speculate": False})
    assert editor.server["capabilities"]["positionEncoding"] == encoding
    standin.says = lambda params: "!"
    editor.open("é😀 = tail\n")
    assert editor.inline(0, column)
    assert standin.of("infill")[0].params["prefix"] == "é😀 = "
    editor.change("€", 0, column)
    wide = {"utf-8": 3}.get(encoding, 1)
    assert editor.inline(0, column + wide)
    assert standin.of("infill")[1].params["prefix"] == "é😀 = €"


def test_cursors_past_the_end_and_empty_files(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "x"
    editor.open("")
    assert editor.inline(0, 0)[0]["range"]["start"] == {"line": 0, "character": 0}
    assert editor.inline(7, 7)[0]["range"]["start"] == {"line": 0, "character": 0}
    editor.open("ab\n", uri="file:///b.py")
    editor.inline(0, 99, uri="file:///b.py")
    assert standin.of("infill")[-1].params["prefix"] == "ab"


def test_a_text_that_is_no_file(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "1"
    editor.open("x = \n", uri="untitled:Untitled-1")
    assert editor.inline(0, 4, uri="untitled:Untitled-1")
    assert "path" not in standin.of("infill")[0].params


def test_the_chosen_menu_item_counts_as_typed(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "(1)" if params["prefix"].endswith("compute") else "wrong"
    editor.open("x = com\n")
    span = {"start": {"line": 0, "character": 4}, "end": {"line": 0, "character": 7}}
    (item,) = editor.inline(0, 7, selectedCompletionInfo={"range": span, "text": "compute"})
    assert item["insertText"] == "compute(1)" and item["range"] == span


def test_several_candidates_on_a_manual_trigger(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: ["1", "2", "1"] if params.get("n") else "1"
    editor.open("x = \n")
    assert [item["insertText"] for item in editor.inline(0, 4, manual=True)] == ["1", "2"]
    assert standin.of("infill")[0].params["n"] == 3


def test_manual_only(start: Callable[..., Editor], standin: Standin) -> None:
    editor = start(INLINE, initializationOptions={"trigger": "manual"})
    standin.says = lambda params: "1"
    editor.open("x = \n")
    assert editor.inline(0, 4) == []
    assert not standin.requests, "no model is loaded for somebody who has not asked"
    assert editor.inline(0, 4, manual=True)


def test_off_switches(start: Callable[..., Editor], standin: Standin) -> None:
    options = {"languages": {"rust": False}, "disabledFiles": ["**/*.min.js", "gen/*"]}
    editor = start(INLINE, initializationOptions={"threadrunner": {**options, "debounceMs": 0}})
    standin.says = lambda params: "1"
    for uri, language, wanted in [
        ("file:///w/a.rs", "rust", False), ("file:///w/a.min.js", "javascript", False),
        ("file:///w/gen/a.py", "python", False), ("file:///w/.env", "shellscript", False),
        ("file:///w/a.js", "javascript", True),
    ]:  # fmt: skip
        editor.open("x = \n", uri, language)
        assert bool(editor.inline(0, 4, uri=uri)) == wanted, uri


def test_a_wrong_setting_is_named_once(start: Callable[..., Editor]) -> None:
    editor = start(INLINE, initializationOptions={"debounce": 5})
    shown = editor.wait(lambda m: m.get("method") == "window/showMessage", "a message")
    assert "debounce" in shown["params"]["message"]


def test_settings_from_the_client_win(start: Callable[..., Editor], standin: Standin) -> None:
    editor = start({**INLINE, "workspace": {"configuration": True}}, initializationOptions={"debounceMs": 0})
    editor.wait(lambda m: m.get("method") == "workspace/configuration", "the first question, answered with null")
    editor.replies["workspace/configuration"] = lambda params: [{"trigger": "manual", "model": None}]
    editor.notify("workspace/didChangeConfiguration", {"settings": None})
    editor.wait(lambda m: len(editor.said("workspace/configuration")) == 2, "another question")
    # Our reply went out before this request, and a server reads in order.
    assert editor.call("threadrunner/status", {})["trigger"] == "manual"


def test_a_speculative_request_follows_what_is_shown(start: Callable[..., Editor], standin: Standin) -> None:
    editor = start(INLINE, initializationOptions={"debounceMs": 0})
    standin.says = lambda params: {"x = ": "1", "x = 1": "\ny = 2"}.get(params["prefix"], "")
    editor.open("x = \n")
    editor.inline(0, 4)
    standin.wait(lambda: standin.of("infill", "answered", "background"), "a guess")
    editor.change("1", 0, 4)
    # The guess has been answered; that the server has read the answer is what the second request waits for.
    assert editor.inline(0, 5)[0]["insertText"] == "1\ny = 2"
    assert len(standin.of("infill", priority="interactive")) == 1


def test_generation_ends_where_the_block_does(editor: Editor, standin: Standin) -> None:
    """All that follows would be cut; the engine need not say it."""

    def endless(params: dict[str, Any]) -> str:
        return "return 1\n\ndef g():\n" + "    more()\n" * 10

    standin.says = endless
    editor.open("def f():\n    \n")
    assert editor.inline(1, 4)[0]["insertText"] == "return 1"


def test_context_comes_from_other_open_files(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "1"
    editor.open("def compute(a):\n    return a * 2\n\nclass Other:\n    pass\n", "file:///w/lib.py")
    editor.open("SECRET = 'abc'\ndef compute2(): pass\n", "file:///w/.env", "python")
    editor.open("x = compute\n", URI)
    editor.inline(0, 11)
    (seen,) = standin.of("infill")
    assert [each["path"] for each in seen.params["context"]] == ["lib.py", "lib.py"]
    assert "return a * 2" in seen.params["context"][-1]["text"], "what is named stands nearest"
    assert "SECRET" not in str(seen.params)


def test_the_daemon_gone_is_one_message_and_a_retry(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "1"
    editor.open("x = \n")
    assert editor.inline(0, 4)
    standin.die()
    for column in range(4, 8):
        editor.change("=", 0, column)
        assert editor.inline(0, column + 1) == []
    assert len(editor.said("window/showMessage")) == 1
    standin.listen()
    assert editor.inline(0, 8, manual=True), "somebody who asks is not made to wait for the next try"


def test_a_daemon_that_dies_in_mid_request(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "1"
    standin.hold()
    editor.open("x = \n")
    id = editor.begin_inline(0, 4)
    standin.wait_for(1)
    standin.restart()
    standin.wait_for(2)
    standin.release()
    assert editor.until(id)["items"], "asked again, of the daemon that came after"


def test_a_model_that_cannot_complete_is_said_once(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: Failure(-32009, "NotSupported", "m has no FIM tokens")
    editor.open("x = \n")
    for _ in range(3):
        assert editor.inline(0, 4, manual=True) == []
    (shown,) = editor.said("window/showMessage")
    assert "FIM" in shown["message"]


def test_requests_that_cannot_be_read_are_answered(editor: Editor) -> None:
    with pytest.raises(LspError) as caught:
        editor.call("textDocument/inlineCompletion", {"position": "here"})
    assert caught.value.code == -32602
    with pytest.raises(LspError):
        editor.call("no/suchMethod", {})


def test_after_shutdown_requests_are_refused(editor: Editor) -> None:
    editor.call("shutdown", None)
    with pytest.raises(LspError) as caught:
        editor.call("threadrunner/status", {})
    assert caught.value.code == -32600
    editor.notify("exit", None)
    assert editor.wait_end() == 0


def test_the_end_of_stdin_ends_the_server(editor: Editor, standin: Standin) -> None:
    standin.hold()
    editor.open("x = \n")
    editor.begin_inline(0, 4)
    standin.wait_for(1)
    assert editor.process.stdin
    editor.process.stdin.close()
    assert editor.process.wait(60) == 0
    editor.wait_end()
    standin.wait_for(1, state="cancelled")


def test_halves_of_characters_anywhere_reach_no_model(editor: Editor, standin: Standin) -> None:
    """One in the file itself, or in another one that is shown beside it, made each request an error -32603."""
    standin.says = lambda params: "1"
    editor.open("def helper(x):\n    return '\ud83d' + x\n", "file:///work/ctx.py")
    editor.open("from ctx import helper\ny = '\ude00'\nx = helper(\n", language="pyth\ud83don")
    assert [item["insertText"] for item in editor.inline(2, 11)] == ["1"]
    params = standin.of()[-1].params
    assert "y = '\ufffd'" in params["prefix"] and params["language"] == "pyth\ufffdon"
    editor.open("def other(y):\n    return helper\n", "file:///work/b\ud83d.py")
    assert editor.inline(1, 17, uri="file:///work/b\ud83d.py") != []
    assert "'\ufffd' + x" in str(standin.of()[-1].params["context"])


@pytest.mark.parametrize("scheme", ["file://", "untitled:", "git:", "vscode-remote://ssh-remote%2Bhost"])
def test_a_secret_is_one_in_any_scheme(editor: Editor, standin: Standin, scheme: str) -> None:
    uri = f"{scheme}/work/.env"
    editor.open("PASSWORD=x\nCOPY=", uri, "dotenv")
    assert editor.inline(1, 5, uri=uri) == [] and standin.of() == []
