"""pygls's protocol where ours differs from it: documents, the life cycle, unreadable requests, commands, ids.

pygls 2.1.1 leaves a request unanswered whose params it cannot read, and every request after `shutdown`; a client that
waits for each answer would wait forever. It serves requests before `initialize`, lets a second `initialize` begin the
session again, and ends with 0 whether or not `shutdown` came before `exit`. Cancelling a command does not reach the
handler there. And it numbers its own requests with UUID strings, which Vim's `ch_sendexpr` refuses (E475).
"""

from __future__ import annotations

import itertools
from typing import Any, Protocol

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol
from pygls.protocol.language_server import lsp_method

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INVALID_PARAMS = -32602
NOT_INITIALIZED = -32002


class DocumentListener(Protocol):
    """What is told of the editor's documents."""

    def opened(self, item: lsp.TextDocumentItem) -> None: ...
    def changed(self, params: lsp.DidChangeTextDocumentParams) -> None: ...
    def closed(self, uri: str) -> None: ...
    def notebook_opened(self, params: lsp.DidOpenNotebookDocumentParams) -> None: ...
    def notebook_changed(self, params: lsp.DidChangeNotebookDocumentParams) -> None: ...
    def notebook_closed(self, params: lsp.DidCloseNotebookDocumentParams) -> None: ...


class LspProtocol(LanguageServerProtocol):
    """One editor's messages, as JSON-RPC; for features it is the `EditorClient`."""

    documents: DocumentListener
    """Set by the server before the first message is read."""
    _begun = False
    _exited = False
    # Not set in __init__: pygls's reads all attributes, properties too.

    def __init__(self, server: LanguageServer, converter: Any) -> None:
        super().__init__(server, converter)
        # Far from the client's own: pygls keeps both sides' requests in one table, and confuses equal ids.
        self._ids = itertools.count(1 << 30)

    @property
    def exit_code(self) -> int:
        """What LSP asks for: 1 where `exit` came without `shutdown`. An editor that is gone is no fault of ours."""
        return 1 if self._exited and not self._shutdown else 0

    # ---- to the editor

    async def ask(self, method: str, params: object) -> Any:
        """The result of a request to the editor. Raises JsonRpcException."""
        return await self.send_request_async(method, params, msg_id=next(self._ids))

    def show(self, kind: lsp.MessageType, text: str) -> None:
        """Show the person a message."""
        self.notify(lsp.WINDOW_SHOW_MESSAGE, lsp.ShowMessageParams(type=kind, message=text))

    # ---- from the editor

    def structure_message(self, data: dict[str, Any]) -> Any:
        try:
            return super().structure_message(data)
        except Exception as error:
            if "method" in data and "id" in data:
                text = f"{data['method']}: the params do not match LSP's type"
                self._send_response(data["id"], error=lsp.ResponseError(code=INVALID_PARAMS, message=text))
            raise error from None

    def handle_message(self, message: Any) -> None:
        method = getattr(message, "method", None)
        refusal = self._refusal(method) if method is not None else None
        self._exited = self._exited or method == lsp.EXIT
        if refusal is None:
            self._begun = self._begun or method == lsp.INITIALIZE
            super().handle_message(message)
        elif hasattr(message, "id"):
            code, text = refusal
            self._send_response(message.id, error=lsp.ResponseError(code=code, message=text))

    def _refusal(self, method: str) -> tuple[int, str] | None:
        """Why a message may not come now, with LSP's code for it; a notification is then dropped."""
        if method == lsp.EXIT:
            return None
        if self._shutdown:
            return INVALID_REQUEST, "the server is shutting down"
        if method == lsp.INITIALIZE:
            return (INVALID_REQUEST, "the session has begun already") if self._begun else None
        return None if self._begun else (NOT_INITIALIZED, f"{method} came before initialize")

    def unreadable(self, error: Exception) -> None:
        """A message was not JSON: whose it is is not known, so the answer has no id."""
        answer = {"code": PARSE_ERROR, "message": f"not JSON: {error}"}
        self._send_data({"jsonrpc": self.VERSION, "id": None, "error": answer})

    @lsp_method(lsp.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: lsp.DidOpenTextDocumentParams) -> None:
        self.documents.opened(params.text_document)

    @lsp_method(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: lsp.DidChangeTextDocumentParams) -> None:
        self.documents.changed(params)

    @lsp_method(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: lsp.DidCloseTextDocumentParams) -> None:
        self.documents.closed(params.text_document.uri)

    @lsp_method(lsp.NOTEBOOK_DOCUMENT_DID_OPEN)
    def lsp_notebook_document__did_open(self, params: lsp.DidOpenNotebookDocumentParams) -> None:
        self.documents.notebook_opened(params)

    @lsp_method(lsp.NOTEBOOK_DOCUMENT_DID_CHANGE)
    def lsp_notebook_document__did_change(self, params: lsp.DidChangeNotebookDocumentParams) -> None:
        self.documents.notebook_changed(params)

    @lsp_method(lsp.NOTEBOOK_DOCUMENT_DID_CLOSE)
    def lsp_notebook_document__did_close(self, params: lsp.DidCloseNotebookDocumentParams) -> None:
        self.documents.notebook_closed(params)

    @lsp_method(lsp.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(  # type: ignore[override]  # theirs is a generator, which cancels nothing
        self, params: lsp.ExecuteCommandParams
    ) -> Any:
        command = self.fm.commands.get(params.command)
        if command is None:
            raise JsonRpcInvalidParams(f"no command is named {params.command!r}")
        return await command(params)
