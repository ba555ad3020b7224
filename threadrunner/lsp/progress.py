"""What the daemon reports of loads and downloads, as LSP's work-done progress."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Any, Protocol

from lsprotocol import types as lsp

from threadrunner.client.aio import Notice
from threadrunner.lsp.suggest.suggester import DaemonClient

TITLES = {"load": "Loading the model", "download": "Fetching the model"}


class Client(Protocol):
    """The client's side, as far as progress needs it."""

    def notify(self, method: str, params: Any) -> None: ...
    async def ask_client(self, method: str, params: Any) -> Any: ...


class WorkDone:
    """One progress bar. The client is asked for it first; what it would have shown meanwhile is passed over."""

    _tokens = itertools.count(1)

    def __init__(self, client: Client, title: str) -> None:
        self._client = client
        self._token = f"threadrunner/{next(self._tokens)}"
        self._percent: int | None = None
        # A task of its own: the request it belongs to may be cancelled while the client still thinks about it, and
        # pygls 2.1.1 then trips over the client's answer (InvalidStateError, its issue 621).
        self._created = asyncio.create_task(self._create(title))

    def report(self, done: int, total: int) -> None:
        percent = min(100, done * 100 // total) if total > 0 else None
        if self._created.done() and percent != self._percent:
            self._percent = percent
            self._say(lsp.WorkDoneProgressReport(percentage=percent))

    def end(self) -> None:
        self._created.add_done_callback(lambda _: self._say(lsp.WorkDoneProgressEnd()))

    async def _create(self, title: str) -> None:
        with contextlib.suppress(Exception):  # a client that refuses gets notes about a bar it does not show
            await self._client.ask_client(
                lsp.WINDOW_WORK_DONE_PROGRESS_CREATE, lsp.WorkDoneProgressCreateParams(token=self._token)
            )
        self._say(lsp.WorkDoneProgressBegin(title=title, percentage=0))

    def _say(self, value: Any) -> None:
        self._client.notify(lsp.PROGRESS, lsp.ProgressParams(token=self._token, value=value))


class Reporting:
    """The daemon, with a progress bar while a request waits for its model; several waiting requests share one."""

    def __init__(self, daemon: DaemonClient, begin: Callable[[str], WorkDone | None]) -> None:
        self._daemon = daemon
        self._begin = begin
        self._shown: WorkDone | None = None
        self._waiting: set[object] = set()

    @property
    def loading(self) -> bool:
        return bool(self._waiting)

    async def request(self, method: str, params: dict[str, Any], notice: Notice | None = None) -> Any:
        me = object()

        def hear(name: str, about: dict[str, Any]) -> None:
            stage = about.get("stage", "")
            if name == "progress" and stage in TITLES:
                if not self._waiting:
                    self._shown = self._begin(TITLES[stage])
                self._waiting.add(me)
                if self._shown is not None:
                    self._shown.report(about.get("done", 0), about.get("total", 0))
            elif me in self._waiting:  # a token: the model is there
                self._over(me)
            if notice is not None:
                notice(name, about)

        try:
            return await self._daemon.request(method, params, hear)
        finally:
            self._over(me)

    def _over(self, me: object) -> None:
        if me not in self._waiting:
            return
        self._waiting.discard(me)
        if not self._waiting and self._shown is not None:
            self._shown.end()
            self._shown = None
