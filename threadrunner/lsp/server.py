"""`threadrunner lsp`: LSP on stdio. Takes messages apart and hands them on; what is decided is decided elsewhere.

Every handler that may wait is a coroutine, so that a cancel is heard while it waits. Nothing to say is an empty
answer; what is wrong with the daemon or the model is said once, in a message, and in `threadrunner/status`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from datetime import date
from typing import Any

from lsprotocol import types as lsp
from pygls.capabilities import ServerCapabilitiesBuilder
from pygls.lsp.server import LanguageServer
from pygls.protocol import default_converter
from pygls.uris import to_fs_path

from threadrunner import __version__, paths
from threadrunner.api.errors import ApiError, Overloaded, WorkerCrashed
from threadrunner.client.aio import AsyncClient
from threadrunner.lsp import client, code_actions, commands, items
from threadrunner.lsp.counters import Counters
from threadrunner.lsp.outage import Outage
from threadrunner.lsp.progress import Reporting, WorkDone
from threadrunner.lsp.protocol import Protocol
from threadrunner.lsp.suggest import settings
from threadrunner.lsp.suggest.documents import Document, Documents
from threadrunner.lsp.suggest.ignore import Ignore
from threadrunner.lsp.suggest.suggester import Ask, Suggester

log = logging.getLogger("threadrunner.lsp")

STATUS = "threadrunner/status"
TRIGGERS = [".", "(", "[", "{", "=", ",", ":", " ", "\t", "\n", "/", "<", ">", '"', "'"]
SECTION = "threadrunner"
PASSING = (Overloaded, WorkerCrashed)
"""Failures that the next key may not meet: they are logged, not shown."""


class LspServer(LanguageServer):
    protocol: Protocol

    def __init__(self, daemon: AsyncClient) -> None:
        super().__init__("threadrunner", __version__, protocol_cls=Protocol, converter_factory=default_converter)
        self.daemon = daemon
        self.asking = Reporting(daemon, self._begin_work)
        self.documents = Documents()
        self.suggester = Suggester(self.asking, self.documents)
        self.client = client.ClientTraits()
        self.encoding = "utf-16"
        self.outage = Outage()
        self.counters = Counters(os.path.join(paths.home(), "suggestions.jsonl"), lambda: date.today().isoformat())
        self.state, self.state_message = "starting", ""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._warmed = False

    # ---- the session

    def begin(self, params: lsp.InitializeParams) -> None:
        self.client = client.read(params)
        encoding = ServerCapabilitiesBuilder.choose_position_encoding(params.capabilities)
        self.encoding = lsp.PositionEncodingKind(encoding).value
        self.configure(params.initialization_options)
        self.set_roots()
        log.info("client %r: %s", params.client_info and params.client_info.name, self.client)

    def set_roots(self) -> None:
        uris = [folder.uri for folder in self.workspace.folders.values()] or [self.workspace.root_uri]
        self.suggester.ignore = Ignore([path for uri in uris if uri and (path := to_fs_path(uri))])

    def configure(self, value: Any) -> None:
        try:
            wanted = settings.parse(value)
        except settings.SettingsError as error:
            self.tell(lsp.MessageType.Warning, str(error))
            wanted = settings.Settings()
        self.suggester.configure(wanted)
        self.counters.enabled = wanted.count
        self.outage.answered()  # with other settings, another try
        self._warmed = False

    async def fetch_settings(self) -> None:
        """Ask the client; what it has nothing to say about stays as `initialize` had it."""
        if not self.client.configuration:
            return
        params = lsp.ConfigurationParams([lsp.ConfigurationItem(section=SECTION)])
        with contextlib.suppress(Exception):
            found = await self.protocol.ask_client(lsp.WORKSPACE_CONFIGURATION, params)
            if found and isinstance(found[0], dict) and any(value is not None for value in found[0].values()):
                self.configure(found[0])

    async def end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await self.suggester.close()
        self.counters.flush()
        await self.daemon.close()

    def background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a background task failed", exc_info=error)

    # ---- documents

    def opened(self, item: lsp.TextDocumentItem) -> None:
        path = to_fs_path(item.uri) or "" if item.uri.startswith("file:") else ""
        language = item.language_id.lower()
        document = Document(item.uri, path, language, item.version, item.text, self.encoding)
        self.documents.open(document)
        self._warm(document)

    def changed(self, params: lsp.DidChangeTextDocumentParams) -> None:
        document = self.documents.get(params.text_document.uri)
        if document is None:
            log.warning("a change of %s, which is not open", params.text_document.uri)
            return
        for change in params.content_changes:
            span = change.range if isinstance(change, lsp.TextDocumentContentChangePartial) else None
            document.change(span, change.text)
        document.version = params.text_document.version
        self.suggester.typist.key(time.monotonic())
        self.suggester.trail.visit(document.uri, document.focus.line)

    def closed(self, uri: str) -> None:
        if self.documents.close(uri):
            self.suggester.forget(uri)
            self.suggester.trail.forget(uri)
            self.counters.flush()

    def _warm(self, document: Document) -> None:
        """Load the model when the first file is opened that it is for, so that the first pause is no long one."""
        options = self.suggester.settings
        if self._warmed or options.trigger == "manual" or not options.wanted(document.language, document.path):
            return
        if not document.path or not self.suggester.ignore.completes(document.path):
            return
        self._warmed = True
        self.background(self._load())

    async def _load(self) -> None:
        options = self.suggester.settings
        names = ("model", "backend", "keep_alive")
        params = {name: value for name in names if (value := getattr(options, name)) is not None}
        try:
            await self.asking.request("models.load", params)
        except ApiError as error:
            self.failed(error)
        else:
            self.set_state("ready")

    # ---- suggestions

    async def inline(self, params: lsp.InlineCompletionParams) -> lsp.InlineCompletionList:
        manual = params.context.trigger_kind == lsp.InlineCompletionTriggerKind.Invoked
        document = self.documents.get(params.text_document.uri)
        if document is None:
            return lsp.InlineCompletionList([])
        place = document.place(params.position)
        ask = Ask(document, place, manual, not self.client.debounces)
        if (chosen := params.context.selected_completion_info) is not None:
            start, end = document.place(chosen.range.start), document.place(chosen.range.end)
            if start.line == end.line == place.line:
                ask = Ask(document, start, manual, ask.debounce, end.column - start.column, chosen.text)
        found = await self._suggest(ask)
        return items.inline(ask, found)

    async def menu(self, params: lsp.CompletionParams) -> lsp.CompletionList:
        document = self.documents.get(params.text_document.uri)
        options = self.suggester.settings
        wanted = options.completion == "on" or (options.completion == "auto" and not self.client.inline)
        if document is None or not wanted:
            return lsp.CompletionList(is_incomplete=False, items=[])
        automatic = params.context is not None and params.context.trigger_kind != lsp.CompletionTriggerKind.Invoked
        # Most editors ask with `Invoked` for each word that is begun: that is no wish for several candidates.
        ask = Ask(document, document.place(params.position), manual=False, debounce=automatic)
        if options.trigger == "manual" and automatic:
            return lsp.CompletionList(is_incomplete=True, items=[])
        return items.menu(ask, await self._suggest(ask), self.client)

    async def _suggest(self, ask: Ask) -> list[Any]:
        """Suggestions; none when the daemon or the model cannot answer, which is said once."""
        self.documents.touch(ask.document)
        if self.suggester.settings.trigger == "manual" and not ask.manual and self.client.inline:
            return []
        if not ask.manual and not self.outage.may_ask(time.monotonic()):
            return []
        try:
            found = await self.suggester.suggest(ask)
        except ApiError as error:
            self.failed(error)
            return []
        if self.outage.answered():
            log.info("the daemon answers again")
        for suggestion in found:
            self.counters.shown(suggestion.id, ask.document.language)
        self.set_state("ready")
        return found

    # ---- what the person is told

    def failed(self, error: ApiError) -> None:
        first = self.outage.failed(error, time.monotonic())
        log.warning("%s: %s", error.kind, error.message)
        self.set_state("error", error.message)
        if first and not isinstance(error, PASSING):
            self.tell(lsp.MessageType.Error, f"ThreadRunner: {error.message}")

    def tell(self, kind: lsp.MessageType, text: str) -> None:
        self.window_show_message(lsp.ShowMessageParams(type=kind, message=text))

    def set_state(self, state: str, message: str = "") -> None:
        """Our own plugins show it beside the file's name."""
        if self.client.status and (state, message) != (self.state, self.state_message):
            self.protocol.notify(STATUS, {"state": state, "message": message})
        self.state, self.state_message = state, message

    def _begin_work(self, title: str) -> WorkDone | None:
        self.set_state("loading", title)
        return WorkDone(self.protocol, title) if self.client.work_done else None

    def report_server_error(self, error: Exception, source: Any) -> None:
        """pygls shows each of its errors to the person, one a key if need be; the log is the place for them."""
        log.error("%s: %s", getattr(source, "__name__", source), error)


def build(daemon: AsyncClient) -> LspServer:
    """A server with its features; which of them it announces depends on the client."""
    server = LspServer(daemon)

    @server.feature(lsp.INITIALIZE)
    def initialize(params: lsp.InitializeParams) -> None:
        server.begin(params)
        if server.client.inline:
            server.feature(lsp.TEXT_DOCUMENT_INLINE_COMPLETION, lsp.InlineCompletionOptions())(inline)
        if server.suggester.settings.completion != "off" and not (
            server.client.inline and server.suggester.settings.completion == "auto"
        ):
            options = lsp.CompletionOptions(trigger_characters=TRIGGERS, resolve_provider=False)
            server.feature(lsp.TEXT_DOCUMENT_COMPLETION, options)(menu)
        kinds = list(code_actions.ACTION_KINDS)
        server.feature(
            lsp.TEXT_DOCUMENT_CODE_ACTION,
            lsp.CodeActionOptions(code_action_kinds=kinds, resolve_provider=server.client.edits_resolved),
        )(actions)

    async def inline(params: lsp.InlineCompletionParams) -> lsp.InlineCompletionList:
        return await server.inline(params)

    async def menu(params: lsp.CompletionParams) -> lsp.CompletionList:
        return await server.menu(params)

    async def actions(params: lsp.CodeActionParams) -> list[lsp.CodeAction | lsp.Command]:
        return code_actions.offer(server, params)

    @server.feature(lsp.CODE_ACTION_RESOLVE)
    async def resolve(action: lsp.CodeAction) -> lsp.CodeAction:
        return await code_actions.resolve(server, action)

    @server.feature(lsp.INITIALIZED)
    def initialized(params: lsp.InitializedParams) -> None:
        server.background(server.fetch_settings())

    @server.feature(lsp.WORKSPACE_DID_CHANGE_CONFIGURATION)
    def configured(params: lsp.DidChangeConfigurationParams) -> None:
        if isinstance(params.settings, dict) and isinstance(params.settings.get(SECTION), dict):
            server.configure(params.settings)
        else:
            server.background(server.fetch_settings())

    @server.feature(lsp.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS)
    def folders(params: lsp.DidChangeWorkspaceFoldersParams) -> None:
        server.set_roots()

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: lsp.DidSaveTextDocumentParams) -> None:
        server.counters.flush()

    @server.feature(STATUS)
    async def status(params: Any) -> dict[str, Any]:
        return await commands.status(server)

    @server.feature(lsp.SHUTDOWN)
    async def shutdown(params: None) -> None:
        await server.end()

    commands.register(server)
    return server


def run() -> int:
    """Serve one editor on stdin and stdout until it goes."""
    logging.basicConfig(level=os.environ.get("THREADRUNNER_LSP_LOG", "ERROR").upper(), stream=sys.stderr)
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print() would break the stream that the client reads
    server = build(AsyncClient())
    server.start_io(sys.stdin.buffer, stdout)
    server.counters.flush()
    return 0
