"""A notebook's cell is completed with the cells before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.lsp.editor import INLINE, Editor
from tests.lsp.standin import Standin
from threadrunner.lsp.suggest.documents import Document, Documents
from threadrunner.lsp.suggest.notebooks import STEP, Notebooks, preamble, room

BOOK = "file:///work/a.ipynb"


def cell(name: str) -> str:
    return f"vscode-notebook-cell:/work/a.ipynb#{name}"


def item(name: str, text: str, language: str = "python") -> dict[str, Any]:
    return {"uri": cell(name), "languageId": language, "version": 1, "text": text}


def book(**texts: tuple[str, str]) -> tuple[Notebooks, Documents]:
    notebooks, documents = Notebooks(), Documents()
    notebooks.open(BOOK, [cell(name) for name in texts])
    for name, (language, text) in texts.items():
        documents.open(Document(cell(name), "", language, 1, text))
    return notebooks, documents


def shown(notebooks: Notebooks, documents: Documents, name: str, chars: int = 10_000) -> str:
    document = documents.get(cell(name))
    assert document
    return preamble(document, notebooks, documents, chars)


def test_cells_before_are_shown_in_their_order_and_prose_as_comments() -> None:
    made = book(a=("python", "import os\n"), b=("markdown", "# Title\n\ntext"), c=("python", ""), d=("python", "x = 1"))
    assert shown(*made, "a") == ""
    assert shown(*made, "d") == "import os\n\n# # Title\n#\n# text\n\n"
    assert shown(*made, "b") == "", "how Markdown writes a comment is nothing to guess at"


def test_where_room_is_short_the_nearest_whole_cells_are_kept() -> None:
    made = book(a=("python", "a" * 50), b=("python", "b" * 50), c=("python", ""))
    assert shown(*made, "c", 60) == "b" * 50 + "\n\n"
    assert shown(*made, "c", 51) == ""
    assert room(4000, 0) == 4000 and room(4000, 1) == room(4000, STEP) == 4000 - STEP and room(100, 500) == 0


def test_cells_come_go_and_move() -> None:
    notebooks, _ = book(a=("python", ""), b=("python", ""), c=("python", ""))
    notebooks.splice(BOOK, 1, 1, [])
    assert notebooks.before(cell("c")) == [cell("a")] and cell("b") not in notebooks
    notebooks.splice(BOOK, 0, 2, [cell("c"), cell("a")])
    assert notebooks.before(cell("a")) == [cell("c")]
    notebooks.splice("file:///other", 0, 0, [cell("x")])
    notebooks.close(BOOK)
    assert notebooks.before(cell("a")) == [] and cell("x") not in notebooks


def test_over_lsp(start: Callable[..., Editor], standin: Standin) -> None:
    standin.says = lambda params: "1"
    capabilities = {**INLINE, "notebookDocument": {"synchronization": {}}}
    editor = start(capabilities, initializationOptions={"debounceMs": 0, "speculate": False})
    assert editor.server["capabilities"]["notebookDocumentSync"]["notebookSelector"]
    cells = [{"kind": 2, "document": cell(name)} for name in "ab"]
    notebook = {"uri": BOOK, "notebookType": "jupyter-notebook", "version": 1, "cells": cells}
    texts = [item("a", "import os\n"), item("b", "x = ")]
    editor.notify("notebookDocument/didOpen", {"notebookDocument": notebook, "cellTextDocuments": texts})
    assert [one["insertText"] for one in editor.inline(0, 4, uri=cell("b"))] == ["1"]
    assert standin.of()[-1].params["prefix"] == "import os\n\nx = "
    changed: dict[str, Any] = {
        "structure": {
            "array": {"start": 1, "deleteCount": 0, "cells": [{"kind": 2, "document": cell("n")}]},
            "didOpen": [item("n", "import re")],
        },
        "textContent": [{"document": {"uri": cell("a"), "version": 2}, "changes": [{"text": "import io"}]}],
    }
    about = {"uri": BOOK, "version": 2}
    editor.notify("notebookDocument/didChange", {"notebookDocument": about, "change": {"cells": changed}})
    editor.inline(0, 4, uri=cell("b"))
    assert standin.of()[-1].params["prefix"] == "import io\n\nimport re\n\nx = "
    gone = {"structure": {"array": {"start": 0, "deleteCount": 1}, "didClose": [{"uri": cell("a")}]}}
    editor.notify("notebookDocument/didChange", {"notebookDocument": about, "change": {"cells": gone}})
    editor.inline(0, 4, uri=cell("b"))
    assert standin.of()[-1].params["prefix"] == "import re\n\nx = "
    closed = {"notebookDocument": {"uri": BOOK}, "cellTextDocuments": [{"uri": cell("n")}, {"uri": cell("b")}]}
    editor.notify("notebookDocument/didClose", closed)
    assert editor.inline(0, 4, uri=cell("b")) == []


def test_a_secret_notebook_is_left_alone(editor: Editor, standin: Standin) -> None:
    uri = "vscode-notebook-cell:/work/secrets/a.ipynb#1"
    editor.open("x = ", uri)
    assert editor.inline(0, 4, uri=uri) == [] and standin.of() == []
