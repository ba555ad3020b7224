"""One suggestion from a cursor: cache, wait, ask the daemon. The newest request of a document wins.

Everything is asyncio. An editor's request and the daemon's have separate lifetimes: see flight.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from threadrunner.lsp.suggest.ask import Ask, DaemonClient, Figures, Judge, Suggestion, suggestion_id
from threadrunner.lsp.suggest.cache import Cache, Key
from threadrunner.lsp.suggest.context import Chooser, Trail
from threadrunner.lsp.suggest.documents import Document
from threadrunner.lsp.suggest.flight import Flight
from threadrunner.lsp.suggest.infill import InfillRequest, cut_for
from threadrunner.lsp.suggest.infill_client import InfillClient
from threadrunner.lsp.suggest.notebooks import room
from threadrunner.lsp.suggest.speculation import Speculation
from threadrunner.lsp.suggest.typist import Typist
from threadrunner.lsp.suggest.window import TextWindow, around
from threadrunner.lsp.suggest.workspace import Workspace


class Suggester:
    """Answers each `Ask` from the cache or by a request to the daemon, and starts a guess at what follows."""

    def __init__(
        self,
        daemon: DaemonClient,
        workspace: Workspace,
        figures: Figures | None = None,
        clock: Callable[[], float] = time.monotonic,
        judge: Judge | None = None,
    ) -> None:
        """Without a judge, all suggestions are shown."""
        self._workspace = workspace
        self._figures = figures or Figures()
        self._clock = clock
        self._cache = Cache()
        self._typist = Typist()
        self._trail = Trail()
        self._judge = judge
        self._chooser = Chooser(judge.remembered if judge else None)
        self._client = InfillClient(daemon, self._figures, judge.heard if judge else None)
        self._speculation = Speculation(self._client, self._cache, self._figures)
        self._running: dict[str, asyncio.Task[list[Suggestion]]] = {}
        """By document, the editor's request under way that could not be answered at once."""
        self._flights: dict[str, Flight] = {}
        """By document, the last request to the daemon; most are done."""

    # ---- what the session reports

    def edited(self, document: Document) -> None:
        """The document has been changed at its focus."""
        self._typist.key(self._clock())
        self._trail.visit(document.uri, document.focus.line)

    def forget(self, uri: str) -> None:
        """The document was closed."""
        self._supersede(uri)
        if flight := self._flights.pop(uri, None):
            flight.task.cancel()
        self._chooser.forget()
        self._trail.forget(uri)

    def reset(self) -> None:
        """The settings have changed: end what is under way, perhaps for another model, and forget what is cached."""
        for flight in self._flights.values():
            flight.task.cancel()
        self._speculation.drop()
        self._cache.clear()
        self._chooser.forget()

    async def close(self) -> None:
        """Cancel everything under way, and wait until the daemon has been told."""
        tasks = [*self._running.values(), *(flight.task for flight in self._flights.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._speculation.stop(), return_exceptions=True)

    # ---- suggestions

    async def suggest(self, ask: Ask) -> list[Suggestion]:
        """What to show, the best first; empty for nothing, and for a request that a newer one has replaced.
        Raises ApiError."""
        self._figures.requests += 1
        document = ask.document
        self._supersede(document.uri)
        if not self._workspace.completes(document):
            return []
        window = self._window(ask)
        found = self._cached(ask, window)
        if found is None:
            found = await self._newest(document.uri, self._ask_daemon(ask, window))
        self._trail.visit(document.uri, ask.place.line)
        if found and self._judge is not None and not self._judge.shows(ask, window, found[0]):
            self._figures.kept_quiet += 1
            return []
        if found:
            self._speculate(ask, window, found[0].text)
        return found

    def _supersede(self, uri: str) -> None:
        """The request of this document that is under way, if any, is answered with nothing."""
        if task := self._running.pop(uri, None):
            self._figures.superseded += 1
            task.cancel()

    async def _newest(self, uri: str, work: Coroutine[Any, Any, list[Suggestion]]) -> list[Suggestion]:
        """The work's result; nothing where a newer request has cancelled it."""
        task = self._running[uri] = asyncio.create_task(work)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            if self._running.get(uri) is task:
                del self._running[uri]
        return [] if task.cancelled() else task.result()

    def _window(self, ask: Ask) -> TextWindow:
        """The text around the cursor, with a menu's chosen item as if it were typed."""
        settings = self._workspace.settings
        window = around(ask.document, ask.place, settings.prefix_chars, settings.suffix_chars)
        free = room(settings.prefix_chars, len(window.prefix))
        before = self._workspace.before(ask.document, free) if window.whole_prefix else ""
        prefix = before + window.prefix + ask.selected
        return replace(window, prefix=prefix, suffix=window.suffix[ask.replaced :])

    def _key(self, document: Document, window: TextWindow) -> Key:
        return Key.at(self._workspace.settings.model or "", document.language, window.prefix, window.suffix)

    def _cached(self, ask: Ask, window: TextWindow) -> list[Suggestion] | None:
        """Suggestions from the cache; None where it has no answer for this place."""
        settings, language = self._workspace.settings, ask.document.language
        hit = self._cache.get(settings.model or "", language, window.prefix, window.suffix)
        if hit is None or (ask.manual and len(hit.texts) < settings.candidates):
            return None
        self._figures.from_cache += 1
        origin = window.prefix[: len(window.prefix) - hit.typed]
        typed = window.prefix[len(origin) :]
        shown = [(typed + text, cut_for(text, window, language)) for text in hit.texts]
        return [Suggestion(suggestion_id(origin, whole), text) for whole, text in shown if text]

    async def _ask_daemon(self, ask: Ask, window: TextWindow) -> list[Suggestion]:
        """Suggestions from the request in flight, from the guess under way, or from a request of its own."""
        joined = False
        if (flight := self._flights.get(ask.document.uri)) is not None:
            if joined := not ask.manual and flight.join(window):
                self._figures.joined += 1
                await flight.result()
                if (found := self._cached(ask, window)) is not None:
                    return found
            await flight.end()
        key = self._key(ask.document, window)
        if not self._speculation.is_at(key):  # before the wait: a wrong guess should not keep the engine busy
            await self._speculation.stop()
        if not joined:
            await self._debounce(ask, window)
        if await self._speculation.take_over(key) and (found := self._cached(ask, window)):
            return found
        await self._speculation.stop()
        texts = await self._start_flight(ask, window, key).result()
        return [Suggestion(suggestion_id(window.prefix, text), text) for text in texts or []]

    async def _debounce(self, ask: Ask, window: TextWindow) -> None:
        if not ask.debounce or ask.manual:
            return
        fixed_ms = self._workspace.settings.debounce_ms
        await asyncio.sleep(self._typist.delay(window.head) if fixed_ms is None else fixed_ms / 1e3)

    def _start_flight(self, ask: Ask, window: TextWindow, key: Key) -> Flight:
        """A request to the daemon, whose answer will be in the cache."""
        flight = self._flights[ask.document.uri] = Flight(window)
        count = self._workspace.settings.candidates if ask.manual else 1
        flight.start(self._fetch(replace(self._request(ask, window), count=count), key, flight))
        return flight

    async def _fetch(self, request: InfillRequest, key: Key, flight: Flight) -> list[str]:
        self._figures.asked += 1
        began = self._clock()
        texts = await self._client.texts(request, flight.receive)
        self._typist.answered(self._clock() - began)
        self._cache.put(key, texts)
        return texts

    def _request(self, ask: Ask, window: TextWindow) -> InfillRequest:
        workspace, document = self._workspace, ask.document
        context = self._chooser.choose(document, window, ask.place.line, workspace, self._trail)
        path = workspace.ignore.shown_path(document.path)
        confidence = self._judge is not None and self._judge.enabled
        return InfillRequest(workspace.settings, document.language, path, window, context, confidence=confidence)

    def _speculate(self, ask: Ask, window: TextWindow, text: str) -> None:
        """Work on what would follow the shown text, were it accepted, while the person reads."""
        if not self._workspace.settings.speculate or window.tail.strip():
            return
        after = replace(window, prefix=window.prefix + text)
        key = self._key(ask.document, after)
        if self._speculation.is_at(key) or self._cache.get(key.model, key.language, after.prefix, after.suffix):
            return
        # With the context of now: another one would change the prompt's beginning.
        request = replace(self._request(ask, window), window=after, priority="background")
        self._speculation.start(key, request)
