"""The capabilities that real editors announce, as pytest-lsp has them; its client holds our answers to them."""

from __future__ import annotations

import sys

import pytest
import pytest_lsp
from lsprotocol import types as lsp

from tests.lsp.standin import Standin

URI = "file:///work/a.py"


@pytest.mark.asyncio
@pytest.mark.parametrize("editor", ["neovim@0.11", "emacs@29", "visual_studio_code"])
async def test_completions_keep_to_what_the_editor_announced(standin: Standin, editor: str) -> None:
    standin.says = lambda params: "ute(1)"
    client = pytest_lsp.make_test_lsp_client()
    await client.start_io(sys.executable, "-m", "threadrunner", "lsp", env=standin.env)
    await client.initialize_session(
        lsp.InitializeParams(
            capabilities=pytest_lsp.client_capabilities(editor),
            root_uri="file:///work",
            initialization_options={"debounceMs": 0, "speculate": False},
        )
    )
    document = lsp.TextDocumentItem(uri=URI, language_id="python", version=1, text="x = comp\n")
    client.text_document_did_open(lsp.DidOpenTextDocumentParams(document))
    found = await client.text_document_completion_async(
        lsp.CompletionParams(lsp.TextDocumentIdentifier(URI), lsp.Position(0, 8))
    )
    assert isinstance(found, lsp.CompletionList) and found.is_incomplete
    assert [item.filter_text for item in found.items] == ["comp"]
    await client.shutdown_session()
    await client.stop()
