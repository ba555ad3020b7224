"""pygls's protocol where ours differs from it: documents, unreadable requests, commands, ids.

pygls 2.1.1 leaves a request unanswered whose params it cannot read, and every request after `shutdown`; a client that
waits for each answer would wait for good. Cancelling a command does not reach the handler there. And it numbers its
own requests with UUID strings, which Vim's `ch_sendexpr` refuses (E475).
"""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcInvalidParams
from pygls.protocol import LanguageServerProtocol
from pygls.protocol.language_server import lsp_method

if TYPE_CHECKING:
    from threadrunner.lsp.server import LspServer

log = logging.getLogger("threadrunner.lsp.protocol")

INVALID_REQUEST = -32600
INVALID_PARAMS = -32602


class Protocol(LanguageServerProtocol):
    _server: LspServer

    def __init__(self, server: LspServer, converter: Any) -> None:
        super().__init__(server, converter)
        # Far from the client's own: pygls keeps both sides' requests in one table, and mixes up what they share.
        self._ids = itertools.count(1 << 30)

    async def ask_client(self, method: str, params: Any) -> Any:
        """A request to the client."""
        return await self.send_request_async(method, params, msg_id=next(self._ids))

    def structure_message(self, data: dict[str, Any]) -> Any:
        try:
            return super().structure_message(data)
        except Exception as error:
            if "method" in data and "id" in data:
                text = f"{data['method']}: params that are not as LSP has them"
                self._send_response(data["id"], error=lsp.ResponseError(code=INVALID_PARAMS, message=text))
            raise error from None

    def handle_message(self, message: Any) -> None:
        if self._shutdown and hasattr(message, "id") and hasattr(message, "method"):
            text = "the server is shutting down"
            self._send_response(message.id, error=lsp.ResponseError(code=INVALID_REQUEST, message=text))
            return
        super().handle_message(message)

    @lsp_method(lsp.TEXT_DOCUMENT_DID_OPEN)
    def lsp_text_document__did_open(self, params: lsp.DidOpenTextDocumentParams) -> None:
        self._server.opened(params.text_document)

    @lsp_method(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: lsp.DidChangeTextDocumentParams) -> None:
        self._server.changed(params)

    @lsp_method(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def lsp_text_document__did_close(self, params: lsp.DidCloseTextDocumentParams) -> None:
        self._server.closed(params.text_document.uri)

    @lsp_method(lsp.WORKSPACE_EXECUTE_COMMAND)
    async def lsp_workspace__execute_command(  # type: ignore[override]  # theirs is a generator, which cancels nothing
        self, params: lsp.ExecuteCommandParams
    ) -> Any:
        command = self.fm.commands.get(params.command)
        if command is None:
            raise JsonRpcInvalidParams(f"no command is named {params.command!r}")
        return await command(params)
