"""One suggestion from a cursor: cache, wait, ask the daemon, filter. The newest request of a document wins.

Everything is asyncio. The client's requests and the daemon's have lives of their own: see flight.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from threadrunner.client.aio import Notice
from threadrunner.lsp.suggest import filters
from threadrunner.lsp.suggest.cache import Cache, Key
from threadrunner.lsp.suggest.context import Chooser, Snippet, Trail
from threadrunner.lsp.suggest.documents import Document, Documents, Place
from threadrunner.lsp.suggest.filters import Cursor
from threadrunner.lsp.suggest.flight import Flight
from threadrunner.lsp.suggest.ignore import Ignore
from threadrunner.lsp.suggest.settings import Settings
from threadrunner.lsp.suggest.typist import Typist
from threadrunner.lsp.suggest.window import TextWindow, around

VARIED = 0.4
"""The temperature of several candidates; one alone is greedy."""


PATIENT = 4
"""So many times the time budget where somebody waits for several candidates, or nobody waits at all."""


class DaemonClient(Protocol):
    """The daemon, as far as this module needs it."""

    async def request(self, method: str, params: dict[str, Any], notice: Notice | None = None) -> Any: ...


@dataclass(frozen=True)
class Suggestion:
    """`text` goes in at the cursor; lines end with LF. The id stays while the person types along."""

    id: str
    text: str


@dataclass
class Figures:
    """Counted since the start, for `threadrunner/status`."""

    requests: int = 0
    from_cache: int = 0
    asked: int = 0
    joined: int = 0
    """Went along with a request that was under way."""
    superseded: int = 0
    speculated: int = 0
    ended_early: int = 0
    prompt_tokens: int = 0
    evaluated_tokens: int = 0


@dataclass(frozen=True)
class Ask:
    """Where and how a suggestion is wanted."""

    document: Document
    place: Place
    manual: bool = False
    debounce: bool = True
    replaced: int = 0
    """So many characters behind `place` are to be taken as not there: a menu's chosen item stands for them."""
    selected: str = ""
    """The text of a menu's chosen item, taken as typed at `place`."""


@dataclass
class Suggester:
    daemon: DaemonClient
    documents: Documents
    settings: Settings = field(default_factory=Settings)
    ignore: Ignore = field(default_factory=lambda: Ignore([]))
    clock: Callable[[], float] = time.monotonic
    cache: Cache = field(default_factory=Cache)
    typist: Typist = field(default_factory=Typist)
    trail: Trail = field(default_factory=Trail)
    figures: Figures = field(default_factory=Figures)
    _chooser: Chooser = field(default_factory=Chooser)
    _running: dict[str, asyncio.Task[list[Suggestion]]] = field(default_factory=dict)
    _flights: dict[str, Flight] = field(default_factory=dict)
    """By document, the last that left; most have landed."""
    _speculation: asyncio.Task[None] | None = None
    _speculating: Key | None = None

    async def suggest(self, ask: Ask) -> list[Suggestion]:
        """What to show, the best first; empty for nothing, and for a request that a newer one has replaced.
        Raises ApiError."""
        self.figures.requests += 1
        self.supersede(ask.document.uri)
        document, settings = ask.document, self.settings
        if not settings.wanted(document.language, document.path) or not self.ignore.completes(document.path):
            return []
        window = self._window(ask)
        found = self._known(ask, window)
        if found is None:
            found = await self._newest(document.uri, self._asked(ask, window))
        self.trail.visit(document.uri, ask.place.line)
        if found:
            self._speculate(ask, window, found[0].text)
        return found

    def _known(self, ask: Ask, window: TextWindow) -> list[Suggestion] | None:
        """From the cache; None where it has nothing to say about this place."""
        settings, document = self.settings, ask.document
        hit = self.cache.get(settings.model or "", document.language, window.prefix, window.suffix)
        if hit is None or (ask.manual and (len(hit.texts) < settings.candidates or not hit.texts)):
            return None
        self.figures.from_cache += 1
        origin = window.prefix[: len(window.prefix) - hit.typed]
        said = window.prefix[len(origin) :]
        shown = [(said + text, self._again(text, window, document)) for text in hit.texts]
        return [Suggestion(_id(origin, whole), text) for whole, text in shown if text]

    def supersede(self, uri: str) -> None:
        """The request of this document that is under way, if any, is answered with nothing."""
        if task := self._running.pop(uri, None):
            self.figures.superseded += 1
            task.cancel()

    def forget(self, uri: str) -> None:
        """The document was closed."""
        self.supersede(uri)
        if flight := self._flights.pop(uri, None):
            flight.task.cancel()
        self._chooser.forget()

    def configure(self, settings: Settings) -> None:
        self.settings = settings
        for flight in self._flights.values():  # another model's, perhaps
            flight.task.cancel()
        self.cache.clear()
        self._chooser.forget()

    async def close(self) -> None:
        flights = [flight.task for flight in self._flights.values()]
        tasks = [*self._running.values(), *flights, *([self._speculation] if self._speculation else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _newest(self, uri: str, work: Coroutine[Any, Any, list[Suggestion]]) -> list[Suggestion]:
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
        settings, document, place = self.settings, ask.document, ask.place
        window = around(document, place, settings.prefix_chars, settings.suffix_chars)
        if not ask.selected and not ask.replaced:
            return window
        return TextWindow(
            window.prefix + ask.selected, window.suffix[ask.replaced :], window.first, window.whole_suffix
        )

    async def _asked(self, ask: Ask, window: TextWindow) -> list[Suggestion]:
        settings, document = self.settings, ask.document
        waited = False
        if (flight := self._flights.get(document.uri)) is not None:
            if not ask.manual and flight.joins(window):
                self.figures.joined += 1
                waited = True
                await flight.landed()
                if (found := self._known(ask, window)) is not None:
                    return found
            await flight.end()
        key = Key.at(settings.model or "", document.language, window.prefix, window.suffix)
        if self._speculating != key:  # before the wait: a guess that came to nothing has no more claim to the engine
            await self._stop_speculating()
        if ask.debounce and not ask.manual and not waited:
            delay = self.typist.delay(window.head) if settings.debounce_ms is None else settings.debounce_ms / 1e3
            await asyncio.sleep(delay)
        if self._speculation is not None and self._speculating == key:
            # Accepted while the daemon works on what follows: that is this answer, no need to begin again.
            await asyncio.wait({self._speculation})
            if found := self._known(ask, window):
                return found
        await self._stop_speculating()
        texts = await self._depart(ask, window, key).landed()
        return [Suggestion(_id(window.prefix, text), text) for text in texts or []]

    def _depart(self, ask: Ask, window: TextWindow, key: Key) -> Flight:
        """A request to the daemon, whose answer will be in the cache."""
        flight = self._flights[ask.document.uri] = Flight(window)

        async def fly() -> list[str]:
            self.figures.asked += 1
            began = self.clock()
            count = self.settings.candidates if ask.manual else 1
            texts = await self._infill(
                ask.document, window, self._context(ask, window), count, "interactive", flight.heard
            )
            self.typist.answered(self.clock() - began)
            self.cache.put(key, texts)
            return texts

        flight.depart(fly())
        return flight

    def _context(self, ask: Ask, window: TextWindow) -> list[Snippet]:
        budget = self.settings.context_tokens
        return self._chooser.choose(
            ask.document, window, ask.place.line, self.documents, self.trail, self.ignore, budget
        )

    async def _infill(
        self,
        document: Document,
        window: TextWindow,
        context: list[Snippet],
        count: int,
        priority: str,
        heard: Callable[[str], None] = lambda text: None,
    ) -> list[str]:
        """Texts that have passed the filters, without repeats. Raises ApiError."""
        settings = self.settings
        params: dict[str, Any] = {
            "prefix": window.prefix,
            "suffix": window.suffix,
            "language": document.language,
            "context": [{"path": snippet.path, "text": snippet.text} for snippet in context],
            "max_tokens": settings.max_tokens,
            # What comes after the pause in which it was wanted is not seen; the next guess goes on from there.
            "max_time_ms": settings.max_time_ms * (1 if count == 1 and priority == "interactive" else PATIENT),
            "priority": priority,
        }
        if root := self.ignore.root_of(document.path):
            params["path"] = document.path[len(root) :].lstrip("/")
        elif document.path:
            params["path"] = document.path.rpartition("/")[2]
        for name in ("model", "backend", "keep_alive"):
            if (value := getattr(settings, name)) is not None:
                params[name] = value
        if count > 1:
            params |= {"n": count, "temperature": VARIED}
        answer = await self._until_ended(params, window, document.language, heard)
        self._count(answer.get("usage") or {})
        choices = answer.get("choices") or [answer]
        whole = window.whole_prefix and window.whole_suffix
        texts = [
            filters.apply(
                choice["text"],
                Cursor(window.prefix, window.suffix, document.language, choice["finish_reason"] == "length", whole),
            )
            for choice in choices
        ]
        return list(dict.fromkeys(filter(None, texts)))

    async def _until_ended(
        self, params: dict[str, Any], window: TextWindow, language: str, heard: Callable[[str], None]
    ) -> dict[str, Any]:
        """The daemon's answer, or what it has said when a filter would cut all that could follow."""
        said = ""
        enough: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cursor = Cursor(window.prefix, window.suffix, language)

        def listen(name: str, about: dict[str, Any]) -> None:
            nonlocal said
            if name == "token":
                said += about["text"]
                if watched:
                    heard(about["text"])
                if "\n" in about["text"] and not enough.done() and filters.ended(said, cursor):
                    enough.set_result(None)

        watched = params.get("n", 1) == 1
        params = {**params, "stream": watched}
        answer = asyncio.ensure_future(self.daemon.request("infill", params, listen))
        try:
            await asyncio.wait({answer, enough}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            answer.cancel()
            raise
        if answer.done():
            result: dict[str, Any] = answer.result()
            return result
        self.figures.ended_early += 1
        answer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answer
        return {"text": said, "finish_reason": "stop"}

    def _again(self, text: str, window: TextWindow, document: Document) -> str:
        """A cached text, cut for where the cursor is now: an editor may have put a closer behind it since."""
        return filters.cut_tail_again(text, Cursor(window.prefix, window.suffix, document.language))

    def _count(self, usage: dict[str, Any]) -> None:
        prompt, cached = usage.get("prompt_tokens", 0), usage.get("cached_tokens", 0)
        self.figures.prompt_tokens += prompt
        self.figures.evaluated_tokens += prompt - cached

    def _speculate(self, ask: Ask, window: TextWindow, text: str) -> None:
        """Work on what would follow the shown text, were it accepted, while the person reads."""
        settings, document = self.settings, ask.document
        if not settings.speculate or window.tail.strip():
            return
        after = TextWindow(window.prefix + text, window.suffix, window.first, window.whole_suffix)
        key = Key.at(settings.model or "", document.language, after.prefix, after.suffix)
        if key == self._speculating or self.cache.get(key.model, key.language, after.prefix, after.suffix):
            return
        previous, self._speculating = self._speculation, key
        context = self._context(ask, window)
        self._speculation = asyncio.create_task(self._speculated(previous, document, after, context, key))

    async def _speculated(
        self,
        previous: asyncio.Task[None] | None,
        document: Document,
        after: TextWindow,
        context: list[Snippet],
        key: Key,
    ) -> None:
        if previous is not None:
            previous.cancel()
        self.figures.speculated += 1
        # A guess that fails is no news: the real request will say so.
        with contextlib.suppress(Exception):
            texts = await self._infill(document, after, context, 1, "background")
            if texts:
                self.cache.put(key, texts)

    async def _stop_speculating(self) -> None:
        task, self._speculation, self._speculating = self._speculation, None, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})


def _id(prefix: str, text: str) -> str:
    """The same for a suggestion and what is left of it while it is typed: made of where it began and all it said."""
    return f"{zlib.crc32((prefix[-200:] + chr(0) + text).encode('utf-8', 'replace')):08x}"
