"""Code actions and commands: what is offered, what the model is asked, the edit that comes of its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.lsp.editor import INLINE, URI, Editor, LspError
from tests.lsp.standin import Failure, Standin
from threadrunner.lsp import actions
from threadrunner.lsp.actions import EditJob
from threadrunner.lsp.suggest.documents import Document, Place

CODE = "import os\n\n\ndef add(a, b):\n    # make it subtract\n    return a + b\n\n\nx = 1\n"
VSCODE: dict[str, Any] = {
    "textDocument": {
        "codeAction": {
            "codeActionLiteralSupport": {"codeActionKind": {"valueSet": []}},
            "resolveSupport": {"properties": ["edit"]},
        }
    },
    "workspace": {"workspaceEdit": {"documentChanges": True, "resourceOperations": ["create"]}},
}
LITERALS = {"textDocument": {"codeAction": {"codeActionLiteralSupport": {"codeActionKind": {"valueSet": []}}}}}


def doc(text: str = CODE, language: str = "python") -> Document:
    return Document(URI, "/work/a.py", language, 1, text)


def applied(document: Document, edits: list[actions.Edit]) -> str:
    text = document.whole()
    for edit in edits:
        start, end = (len(document.between(Place(0, 0), place)) for place in (edit.start, edit.end))
        text = text[:start] + edit.text + text[end:]
    return text


def job(kind: str, first: int = 3, last: int = 5, **more: Any) -> EditJob:
    return EditJob(kind, URI, 1, first, last, **more)


def test_without_a_selection_it_is_the_definition_around_the_cursor() -> None:
    document = doc()
    assert actions.block(document.lines, 5) == (3, 5)
    assert actions.block(document.lines, 3) == (3, 5)
    assert actions.block(document.lines, 0) == (0, 0)
    braces = doc("function f() {\n  if (x) {\n    g();\n  }\n}\nh();\n", "javascript")
    assert actions.block(braces.lines, 2) == (0, 4)


def test_what_is_offered_where() -> None:
    document, here = doc(), Place(5, 4)
    kinds = [each.kind for each in actions.offered(document, here, here, [], None)]
    assert kinds == ["explain", "document", "test"]
    problems = [(5, "a is no number"), (0, "unused")]
    (fix,) = actions.offered(document, here, here, problems, ["quickfix"])
    assert fix.kind == "fix" and fix.problems == ("a is no number",)
    (rewrite,) = actions.offered(document, Place(4, 0), Place(6, 0), [], ["refactor"])[-1:]
    assert (rewrite.kind, rewrite.instruction, rewrite.first, rewrite.last) == ("rewrite", "make it subtract", 4, 5)
    assert actions.offered(document, Place(1, 0), Place(1, 0), [], None) == []


def test_an_explanation_is_a_comment_above() -> None:
    edits = actions.edits(job("explain"), doc(), "It **adds** `a` and\nb.", False)
    assert applied(doc(), edits).split("\n")[3:5] == ["# It **adds** a and b.", "def add(a, b):"]


def test_python_is_documented_by_a_docstring() -> None:
    edits = actions.edits(job("document"), doc(), '"""Adds two numbers."""', False)
    assert applied(doc(), edits).split("\n")[3:5] == ["def add(a, b):", '    """Adds two numbers."""']
    has = doc('def f():\n    """Yes."""\n')
    assert actions.edits(job("document", 0, 1), has, "No.", False) == []


def test_other_languages_by_a_comment() -> None:
    go = doc("\tfunc f() {\r\n\t}\r\n", "go")
    (edit,) = actions.edits(job("document", 0, 1), go, "Does nothing.", False)
    assert edit.text == "\t// Does nothing.\r\n"
    signs = {
        "c": "//", "powershell": "#", "ini": "#", "sql": "--", "fennel": ";;", "latex": "%", "vim": '"',
        "unheard": "//",
    }  # fmt: skip
    for language, sign in signs.items():
        assert actions.comment("What it does.", language, " ") == f" {sign} What it does.\n"
        assert actions.comment_text(f"  {sign} shorter", language) == "shorter"
    assert actions.comment("A -- b.", "html", "") == "<!-- A — b. -->\n"
    assert actions.comment("A *) b.", "ocaml", "") == "(* A  b. *)\n" and actions.comment_text("// a", "ocaml") == ""


def test_a_fix_replaces_the_block_at_its_indentation() -> None:
    document = doc("class A:\n    def f(self):\n        return a\n")
    answer = "Here:\n```python\ndef f(self):\n    return self.a\n```\nDone."
    edits = actions.edits(job("fix", 1, 2), document, answer, False)
    assert applied(document, edits) == "class A:\n    def f(self):\n        return self.a\n"
    assert actions.edits(job("fix", 1, 2), document, "```\ndef f(self):\n    return a\n```", False) == []
    assert actions.edits(job("fix", 1, 2), document, "", False) == []


def test_a_test_is_a_file_of_its_own_where_the_client_makes_files() -> None:
    answer = "```python\ndef test_add():\n    assert add(1, 2) == 3\n```"
    (edit,) = actions.edits(job("test"), doc(), answer, True)
    assert edit.create and edit.uri == "file:///work/test_a.py"
    (edit,) = actions.edits(job("test"), doc(), answer, False)
    assert applied(doc(), [edit]).startswith(CODE + "\n\ndef test_add():")


def test_an_instruction_that_was_followed_goes() -> None:
    (edit,) = actions.edits(
        job("rewrite", 4, 5, instruction="make it subtract"), doc(), "# make it subtract\nreturn a - b", False
    )
    assert edit.text == "    return a - b"


def ask(editor: Editor, line: int, only: list[str] | None = None, problems: list[Any] | None = None) -> list[Any]:
    where = {"line": line, "character": 4}
    context: dict[str, Any] = {"diagnostics": problems or []}
    if only:
        context["only"] = only
    params = {"textDocument": {"uri": URI}, "range": {"start": where, "end": where}, "context": context}
    return list(editor.call("textDocument/codeAction", params))


def test_resolved_edits_name_the_version(start: Callable[..., Editor], standin: Standin) -> None:
    editor = start(VSCODE)
    editor.open(CODE)
    standin.says = lambda params: "Adds two numbers."
    (action,) = ask(editor, 5, ["refactor.rewrite.document"])
    assert "edit" not in action and not standin.of("generate"), "nothing is asked before it is chosen"
    edit = editor.call("codeAction/resolve", action)["edit"]
    (change,) = edit["documentChanges"]
    assert change["textDocument"] == {"uri": URI, "version": 1}
    assert change["edits"][0]["newText"] == '    """Adds two numbers."""\n'
    assert "def add(a, b)" in standin.of("generate")[0].params["messages"][1]["content"]


def test_a_new_file_is_created_first(start: Callable[..., Editor], standin: Standin) -> None:
    editor = start(VSCODE)
    editor.open(CODE)
    standin.says = lambda params: "```python\ndef test_add(): ...\n```"
    (action,) = ask(editor, 5, ["refactor.rewrite.test"])
    create, change = editor.call("codeAction/resolve", action)["edit"]["documentChanges"]
    assert create["kind"] == "create" and create["uri"] == change["textDocument"]["uri"] == "file:///work/test_a.py"


def test_text_that_changed_meanwhile_is_an_error_not_a_wrong_edit(
    start: Callable[..., Editor], standin: Standin
) -> None:
    editor = start(VSCODE)
    editor.open(CODE)
    (action,) = ask(editor, 5, ["refactor.rewrite.explain"])
    standin.hold()
    id = editor.begin("codeAction/resolve", action)
    standin.wait_for(1, "generate")
    editor.change("y = 2\n", 0, 0)
    editor.call("threadrunner/status", {})  # read after the change
    standin.release()
    with pytest.raises(LspError) as caught:
        editor.until(id)
    assert caught.value.code == -32801


def test_clients_without_resolve_get_a_command_that_applies(start: Callable[..., Editor], standin: Standin) -> None:
    for capabilities in (LITERALS, {}):
        editor = start(capabilities)
        editor.open(CODE)
        standin.says = lambda params: "```python\ndef add(a, b):\n    return b + a\n```"
        problem = {"range": {"start": {"line": 5, "character": 0}, "end": {"line": 5, "character": 9}}, "message": "!"}
        (action,) = ask(editor, 5, ["quickfix"], [problem])
        command = action["command"] if isinstance(action["command"], dict) else action
        edits: list[Any] = []
        editor.replies["workspace/applyEdit"] = lambda params, edits=edits: edits.append(params) or {"applied": True}
        assert editor.call("workspace/executeCommand", {k: command[k] for k in ("command", "arguments")}) is True
        assert edits[0]["edit"]["changes"][URI][0]["newText"] == "def add(a, b):\n    return b + a"


def test_chat_streams(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "one\ntwo\n"
    editor.open("x = 1\ny = 2\n")
    asked = {
        "prompt": "what?", "uri": URI, "stream": "s1", "system": "be brief",
        "range": {"start": {"line": 1, "character": 0}, "end": {"line": 1, "character": 5}},
    }  # fmt: skip
    params = {"command": "threadrunner.chat", "arguments": [asked], "workDoneToken": "w1"}
    assert editor.call("workspace/executeCommand", params)["text"] == "one\ntwo\n"
    assert editor.said("threadrunner/token") == [{"stream": "s1", "text": "one\n"}, {"stream": "s1", "text": "two\n"}]
    kinds = [each["value"]["kind"] for each in editor.said("$/progress") if each["token"] == "w1"]
    assert kinds == ["begin", "report", "report", "end"]
    asked_of_daemon = standin.of("generate")[0].params
    (user,) = asked_of_daemon["messages"]
    assert asked_of_daemon["system"] == "be brief"
    assert asked_of_daemon["mode"] == "code"
    assert "y = 2" in user["content"] and "x = 1" not in user["content"]


def test_a_cancelled_chat_ends_in_the_daemon(editor: Editor, standin: Standin) -> None:
    standin.hold()
    plain = {"prompt": "hi", "mode": ""}
    id = editor.begin("workspace/executeCommand", {"command": "threadrunner.chat", "arguments": [plain]})
    (seen,) = standin.wait_for(1, "generate")
    assert seen.params["mode"] == ""
    editor.cancel(id)
    with pytest.raises(LspError) as caught:
        editor.until(id)
    assert caught.value.code == -32800
    standin.wait_for(1, "generate", "cancelled")


@pytest.mark.parametrize(
    ("command", "arguments"), [("threadrunner.none", []), ("threadrunner.chat", []), ("threadrunner.chat", [{}])]
)
def test_wrong_commands_are_errors(editor: Editor, command: str, arguments: list[Any]) -> None:
    with pytest.raises(LspError) as caught:
        editor.call("workspace/executeCommand", {"command": command, "arguments": arguments})
    assert caught.value.code == -32602


def test_what_the_daemon_refuses_is_said_with_its_code(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: Failure(-32001, "ModelNotFound", "no such model")
    with pytest.raises(LspError) as caught:
        editor.call("workspace/executeCommand", {"command": "threadrunner.chat", "arguments": [{"prompt": "hi"}]})
    assert caught.value.code == -32001


def test_a_load_is_shown_as_progress(start: Callable[..., Editor], standin: Standin) -> None:
    standin.loads = [(1, 4), (2, 4), (4, 4)]
    ours = {"experimental": {"threadrunner": {"status": True}}}
    editor = start({**INLINE, **ours, "window": {"workDoneProgress": True}})
    editor.open("x = \n")
    editor.wait(lambda m: m.get("method") == "$/progress" and m["params"]["value"]["kind"] == "end", "its end")
    (created,) = editor.said("window/workDoneProgress/create")
    values = [each["value"] for each in editor.said("$/progress") if each["token"] == created["token"]]
    assert values[0]["kind"] == "begin" and values[0]["title"] == "Loading the model"
    editor.wait(lambda m: m.get("method") == "threadrunner/status" and m["params"]["state"] == "ready", "ready")


def test_accepts_are_counted_once_and_shown_in_status(editor: Editor, standin: Standin) -> None:
    standin.says = lambda params: "compute(1)"
    editor.open("x = \n")
    (item,) = editor.inline(0, 4)
    editor.change("c", 0, 4)
    editor.inline(0, 5)
    command = item["command"]
    (id,) = command["arguments"]
    run = "workspace/executeCommand"
    assert editor.call(run, {"command": command["command"], "arguments": [id, "word", 7]}) is True
    assert editor.call(run, {"command": command["command"], "arguments": [id]}) is True
    assert editor.call(run, {"command": command["command"], "arguments": [id]}) is False
    found = editor.call("threadrunner/status", {})
    assert found["suggestions"] == {
        "shown": 1, "taken": 1, "accepted": 1, "word": 1, "line": 0, "dismissed": 0, "characters": 7, "rate": 1.0
    }  # fmt: skip
    assert found["session"]["from_cache"] == 1 and found["daemon"]["pid"] == 1
    editor.close()
    assert (standin.home / "suggestions.jsonl").read_text().count("\n") == 1
