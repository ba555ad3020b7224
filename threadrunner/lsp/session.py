"""One editor's session: what it can do, what it has set and opened, and what it has been told.

Features work on a session and know neither pygls nor the daemon's connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Iterable
from typing import Any, Protocol

from lsprotocol import types as lsp
from pygls.capabilities import ServerCapabilitiesBuilder
from pygls.uris import to_fs_path

from threadrunner.api.errors import ApiError, Overloaded, WorkerCrashed
from threadrunner.client.aio import Notice
from threadrunner.lsp.client import ClientTraits, EditorClient, read_traits
from threadrunner.lsp.counters import Counters
from threadrunner.lsp.learning.learner import Learner
from threadrunner.lsp.learning.store import LearnedStore
from threadrunner.lsp.outage import Outage
from threadrunner.lsp.progress import Reporting, WorkDone
from threadrunner.lsp.suggest.ask import DaemonClient, Figures
from threadrunner.lsp.suggest.documents import Document, Documents
from threadrunner.lsp.suggest.ignore import Ignore
from threadrunner.lsp.suggest.naming import judged_path
from threadrunner.lsp.suggest.settings import Settings, SettingsError, parse
from threadrunner.lsp.suggest.suggester import Suggester
from threadrunner.lsp.suggest.workspace import Workspace

log = logging.getLogger("threadrunner.lsp")

STATUS = "threadrunner/status"
SECTION = "threadrunner"
"""Of the client's configuration."""
PASSING = (Overloaded, WorkerCrashed)
"""Failures that the next key may not meet: they are logged, not shown."""


class DaemonConnection(DaemonClient, Protocol):
    """The daemon, and whether we are connected to it."""

    @property
    def connected(self) -> bool: ...
    async def close(self) -> None: ...


class Session:
    """The state that the features share. Made before `initialize`, which `begin` is told of."""

    def __init__(
        self, daemon: DaemonConnection, editor: EditorClient, counters: Counters, learned: LearnedStore | None = None
    ) -> None:
        """Without `learned`, nothing is learned."""
        self.editor = editor
        self.counters = counters
        self.client = ClientTraits()
        self.encoding = "utf-16"
        self.figures = Figures()
        self.outage = Outage()
        self.state, self.state_message = "starting", ""
        self._workspace = Workspace()
        self._connection = daemon
        self._daemon = Reporting(daemon, self._begin_work, self._asked)
        self.learner = Learner()
        self._learned = learned
        self.suggester = Suggester(self._daemon, self._workspace, self.figures, judge=self.learner)
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: set[str] = set()  # other machines of which the person knows that they are asked
        self._host = ""
        self._warmed = False
        self._answers = 0  # of the daemon, that were noticed

    @property
    def documents(self) -> Documents:
        return self._workspace.documents

    @property
    def settings(self) -> Settings:
        return self._workspace.settings

    @property
    def ignore(self) -> Ignore:
        return self._workspace.ignore

    # ---- begin, configure, end

    def begin(self, params: lsp.InitializeParams) -> None:
        """The editor has introduced itself."""
        self.client = read_traits(params)
        encoding = ServerCapabilitiesBuilder.choose_position_encoding(params.capabilities)
        self.encoding = lsp.PositionEncodingKind(encoding).value
        self.configure(params.initialization_options)
        log.info("client %r: %s", params.client_info and params.client_info.name, self.client)

    def set_roots(self, uris: Iterable[str | None]) -> None:
        """The workspace folders are these; those that are not on disk do not count."""
        self._workspace.ignore = Ignore([path for uri in uris if uri and (path := to_fs_path(uri))])
        self.learner.keeping.set_ignore(self._workspace.ignore)

    def configure(self, value: Any) -> None:
        """Take the settings as a client sent them; in place of unusable ones, which the person is told of, defaults."""
        try:
            settings = parse(value)
        except SettingsError as error:
            self.editor.show(lsp.MessageType.Warning, str(error))
            settings = Settings()
        self._workspace.settings = settings
        self.suggester.reset()
        self.counters.enabled = self.learner.counts = settings.count
        self.outage.reset()
        self._warmed = False
        for document in self.documents:
            self._warm(document)

    async def fetch_settings(self) -> None:
        """Ask the client for its settings; where it has none, those of `initialize` stay."""
        if not self.client.configuration:
            return
        params = lsp.ConfigurationParams([lsp.ConfigurationItem(section=SECTION)])
        with contextlib.suppress(Exception):
            found = await self.editor.ask(lsp.WORKSPACE_CONFIGURATION, params)
            if found and isinstance(found[0], dict) and any(value is not None for value in found[0].values()):
                self.configure(found[0])

    async def end(self) -> None:
        """Cancel everything under way, write what was counted and learned, and hang up on the daemon."""
        for task in list(self._tasks):
            task.cancel()
        await self.suggester.close()
        self.finish()
        await self._connection.close()

    def finish(self) -> None:
        """Write what was counted and learned: the process ends."""
        self.counters.flush()
        if self._learned is not None:
            self._learned.finish(self.learner)

    async def learn(self) -> None:
        """Write what was learned, and read what others have."""
        if self._learned is not None:
            await self._learned.sync(self.learner)

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work that no request waits for; a failure of it is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a background task failed", exc_info=error)

    # ---- documents

    def opened(self, item: lsp.TextDocumentItem) -> None:
        path = to_fs_path(item.uri) or "" if item.uri.startswith("file:") else ""
        name = path or judged_path(item.uri)
        language = item.language_id.lower()
        document = Document(item.uri, path, language, item.version, item.text, self.encoding, name)
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
        self.suggester.edited(document)
        partial = lsp.TextDocumentContentChangePartial
        by_range = all(isinstance(change, partial) for change in params.content_changes)
        self.learner.changed(document, document.focus if by_range else None)
        if self.learner.due:
            self.background(self.learn())

    def closed(self, uri: str) -> None:
        if document := self.documents.close(uri):
            self.suggester.forget(uri)
            self.counters.flush()
            self.learner.closed(document)
            self.background(self.learn())

    def saved(self, uri: str) -> None:
        self.counters.flush()
        if document := self.documents.get(uri):
            self.learner.saved(document)
            self.background(self.learn())

    def ended(self, id: str, kind: str, characters: int = 0) -> bool:
        """The editor says what became of a suggestion; whether it was counted, as Counters has it."""
        self.learner.told(self.documents, id, kind)
        return self.counters.ended(id, kind, characters)

    def notebook_opened(self, params: lsp.DidOpenNotebookDocumentParams) -> None:
        notebook = params.notebook_document
        self._workspace.notebooks.open(notebook.uri, [cell.document for cell in notebook.cells])
        for item in params.cell_text_documents:
            self.opened(item)

    def notebook_changed(self, params: lsp.DidChangeNotebookDocumentParams) -> None:
        cells = params.change.cells
        if cells is None:
            return
        if (structure := cells.structure) is not None:
            array, fresh = structure.array, [cell.document for cell in structure.array.cells or ()]
            self._workspace.notebooks.splice(params.notebook_document.uri, array.start, array.delete_count, fresh)
            for item in structure.did_open or ():
                self.opened(item)
            for gone in structure.did_close or ():
                self.closed(gone.uri)
        for content in cells.text_content or ():
            self.changed(lsp.DidChangeTextDocumentParams(content.document, content.changes))

    def notebook_closed(self, params: lsp.DidCloseNotebookDocumentParams) -> None:
        self._workspace.notebooks.close(params.notebook_document.uri)
        for cell in params.cell_text_documents:
            self.closed(cell.uri)

    def _warm(self, document: Document) -> None:
        """Load the model when the first file is opened that it is for, so that the first suggestion is not late."""
        if self._warmed or self.settings.trigger == "manual":
            return
        if not document.path and document.uri not in self._workspace.notebooks:
            return
        if self._workspace.completes(document):
            self._warmed = True
            self.background(self._load())

    async def _load(self) -> None:
        try:
            await self._daemon.request("models.load", self.settings.load_params())
        except ApiError as error:
            self.failed(error)
        else:
            self.set_state("ready")

    # ---- the daemon

    async def generate(
        self, messages: list[dict[str, str]], options: dict[str, Any], notice: Notice | None = None
    ) -> dict[str, Any]:
        """The chat model's answer to the messages, as a result of `generate`; streamed to `notice` where there is one.
        Raises ApiError."""
        settings = self.settings
        params: dict[str, Any] = {"messages": messages, "priority": "interactive", "stream": notice is not None}
        if model := settings.chat_model or settings.model:
            params["model"] = model
        if settings.backend:
            params["backend"] = settings.backend
        result: dict[str, Any] = await self._daemon.request("generate", params | options, notice)
        return result

    async def daemon_status(self) -> dict[str, Any] | None:
        """The daemon's own status, or its error; None where no daemon is connected: none is started for it."""
        if not self._connection.connected:
            return None
        try:
            status: dict[str, Any] = await self._connection.request("status", {})
        except ApiError as error:
            return {"error": error.message}
        return status

    # ---- what the person is told

    def answered(self) -> None:
        """A request for a suggestion has an answer: of the daemon, or without it (from the cache, where none is wanted,
        where a newer one came), which says nothing of an outage."""
        if self.figures.answered == self._answers:
            return
        self._answers = self.figures.answered
        if self.outage.answered():
            log.info("the daemon answers again")
        self.set_state("ready", f"asks {self._host}" if self._host else "")

    def _asked(self, host: str, model: str) -> None:
        """An answer came, from another machine where there is a host: the person is told once of each, and the state's
        message says it as long as it is so."""
        self._host = host
        if host and host not in self._told:
            self._told.add(host)
            self.editor.show(lsp.MessageType.Info, f"ThreadRunner asks another machine, {host} ({model})")

    def failed(self, error: ApiError) -> None:
        """A request for a suggestion has failed: the person is told once, unless the next key may succeed."""
        self._answers = self.figures.answered
        first = self.outage.failed(error, time.monotonic())
        log.warning("%s: %s", error.kind, error.message)
        self.set_state("error", error.message)
        if first and not isinstance(error, PASSING):
            self.editor.show(lsp.MessageType.Error, f"ThreadRunner: {error.message}")

    def set_state(self, state: str, message: str = "") -> None:
        """Our own plugins show it beside the file's name."""
        if self.client.status and (state, message) != (self.state, self.state_message):
            self.editor.notify(STATUS, {"state": state, "message": message})
        self.state, self.state_message = state, message

    def _begin_work(self, title: str) -> WorkDone | None:
        self.set_state("loading", title)
        return WorkDone(self.editor, title) if self.client.work_done else None
