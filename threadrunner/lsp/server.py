"""`threadrunner lsp`: LSP on stdio. Registers the features with pygls and hands each message to one of them.

Every handler that may wait is a coroutine, so that it can be cancelled while it waits.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any, BinaryIO, cast

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.protocol import default_converter

from threadrunner import __version__, paths
from threadrunner.client.aio import AsyncClient
from threadrunner.lsp import code_actions, commands, completions
from threadrunner.lsp.counters import Counters
from threadrunner.lsp.learning.store import LearnedStore
from threadrunner.lsp.protocol import LspProtocol
from threadrunner.lsp.session import SECTION, STATUS, DaemonConnection, Session
from threadrunner.lsp.stream import HeaderReader

log = logging.getLogger("threadrunner.lsp")


NOTEBOOKS = lsp.NotebookDocumentSyncOptions(
    notebook_selector=[lsp.NotebookDocumentFilterWithCells(cells=[lsp.NotebookCellLanguage(language="*")])], save=False
)
"""All notebooks with all their cells: which of them get suggestions is for the settings to say."""


class LspServer(LanguageServer):
    """pygls's server, with our protocol, and the session of the editor that it serves."""

    protocol: LspProtocol

    def __init__(self, daemon: DaemonConnection) -> None:
        super().__init__(
            "threadrunner",
            __version__,
            protocol_cls=LspProtocol,
            converter_factory=default_converter,
            notebook_document_sync=NOTEBOOKS,
        )
        counters = Counters(os.path.join(paths.home(), "suggestions.jsonl"), lambda: date.today().isoformat())
        self.session = Session(daemon, self.protocol, counters, LearnedStore())
        self.protocol.documents = self.session

    def set_roots(self) -> None:
        """Tell the session the workspace folders, which pygls keeps."""
        folders = [folder.uri for folder in self.workspace.folders.values()]
        self.session.set_roots(folders or [self.workspace.root_uri])

    def report_server_error(self, error: Exception, source: Any) -> None:
        """pygls shows each of its errors to the person, up to one for each key; the log is the place for them."""
        log.error("%s: %s", getattr(source, "__name__", source), error)
        if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, RecursionError)):
            self.protocol.unreadable(error)


# ---- handlers; features with more to them have modules of their own


async def _actions(session: Session, params: lsp.CodeActionParams) -> list[lsp.CodeAction | lsp.Command]:
    return code_actions.offer(session, params)


def _initialized(session: Session, _params: lsp.InitializedParams) -> None:
    session.background(session.fetch_settings())
    session.background(session.learn())


def _configured(session: Session, params: lsp.DidChangeConfigurationParams) -> None:
    if isinstance(params.settings, dict) and isinstance(params.settings.get(SECTION), dict):
        session.configure(params.settings)
    else:
        session.background(session.fetch_settings())


def _saved(session: Session, params: lsp.DidSaveTextDocumentParams) -> None:
    session.saved(params.text_document.uri)


async def _shutdown(session: Session, _params: None) -> None:
    await session.end()


HANDLERS: dict[str, Callable[[Session, Any], Any]] = {
    lsp.INITIALIZED: _initialized,
    lsp.WORKSPACE_DID_CHANGE_CONFIGURATION: _configured,
    lsp.TEXT_DOCUMENT_DID_SAVE: _saved,
    lsp.CODE_ACTION_RESOLVE: code_actions.resolve,
    STATUS: commands.status,
    lsp.SHUTDOWN: _shutdown,
}
"""For every client; what else is announced depends on the client: see `_initialize`."""


def build(daemon: DaemonConnection) -> LspServer:
    """A server with its features."""
    server = LspServer(daemon)
    server.feature(lsp.INITIALIZE)(partial(_initialize, server))
    server.feature(lsp.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)(partial(_folders_changed, server))
    for method, handler in HANDLERS.items():
        server.feature(method)(partial(handler, server.session))
    for name, command in commands.COMMANDS.items():
        server.command(name)(partial(command, server.session))
    return server


def _initialize(server: LspServer, params: lsp.InitializeParams) -> None:
    """Begin the session, and announce what this client can use."""
    session = server.session
    session.begin(params)
    server.set_roots()
    if session.client.inline:
        options = lsp.InlineCompletionOptions()
        server.feature(lsp.TEXT_DOCUMENT_INLINE_COMPLETION, options)(partial(completions.inline, session))
    if completions.offers_menu(session):
        triggers = lsp.CompletionOptions(trigger_characters=completions.TRIGGERS, resolve_provider=False)
        server.feature(lsp.TEXT_DOCUMENT_COMPLETION, triggers)(partial(completions.menu, session))
    kinds = lsp.CodeActionOptions(
        code_action_kinds=list(code_actions.ACTION_KINDS), resolve_provider=session.client.edits_resolved
    )
    server.feature(lsp.TEXT_DOCUMENT_CODE_ACTION, kinds)(partial(_actions, session))


def _folders_changed(server: LspServer, _params: lsp.DidChangeWorkspaceFoldersParams) -> None:
    server.set_roots()


def run() -> int:
    """Serve one editor on stdin and stdout until it ends; the exit code."""
    logging.basicConfig(level=os.environ.get("THREADRUNNER_LSP_LOG", "ERROR").upper(), stream=sys.stderr)
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print() would break the stream that the client reads
    server = build(AsyncClient())
    server.start_io(cast(BinaryIO, HeaderReader(sys.stdin.buffer)), stdout)
    server.session.finish()
    return server.protocol.exit_code
