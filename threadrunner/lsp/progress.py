"""What the daemon reports of loads and downloads, as LSP's work-done progress."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Any

from lsprotocol import types as lsp

from threadrunner.client.aio import Notice
from threadrunner.lsp.client import EditorClient
from threadrunner.lsp.suggest.ask import DaemonClient
from threadrunner.lsp.suggest.documents import sound

TITLES = {"load": "Loading the model", "download": "Fetching the model"}


class WorkDone:
    """One progress bar. The editor is asked for it first; what it would have shown until then is left out."""

    _tokens = itertools.count(1)

    def __init__(self, editor: EditorClient, title: str) -> None:
        self._editor = editor
        self._token = f"threadrunner/{next(self._tokens)}"
        self._percent: int | None = None
        # A task of its own: the request it belongs to may be cancelled before the editor has answered, and pygls 2.1.1
        # then trips over the editor's answer (InvalidStateError, its issue 621).
        self._created = asyncio.create_task(self._create(title))

    def report(self, done: int, total: int) -> None:
        """Show how much is done, in any unit; a total of 0 is not known."""
        percent = min(100, done * 100 // total) if total > 0 else None
        if self._created.done() and percent != self._percent:
            self._percent = percent
            self._notify(lsp.WorkDoneProgressReport(percentage=percent))

    def end(self) -> None:
        self._created.add_done_callback(lambda _: self._notify(lsp.WorkDoneProgressEnd()))

    async def _create(self, title: str) -> None:
        with contextlib.suppress(Exception):  # an editor that refuses gets notifications of a bar it does not show
            await self._editor.ask(
                lsp.WINDOW_WORK_DONE_PROGRESS_CREATE, lsp.WorkDoneProgressCreateParams(token=self._token)
            )
        self._notify(lsp.WorkDoneProgressBegin(title=title, percentage=0))

    def _notify(self, value: lsp.WorkDoneProgressBegin | lsp.WorkDoneProgressReport | lsp.WorkDoneProgressEnd) -> None:
        self._editor.notify(lsp.PROGRESS, lsp.ProgressParams(token=self._token, value=value))


class Reporting:
    """The daemon, with a progress bar while a request waits for its model; several waiting requests share one.

    `begin` makes the bar from its title; None for an editor that shows none.
    """

    def __init__(
        self,
        daemon: DaemonClient,
        begin: Callable[[str], WorkDone | None],
        asked: Callable[[str, str], None] = lambda _host, _model: None,
    ) -> None:
        """`asked` is told of each answer which machine gave it, empty for this one, and the model's name."""
        self._daemon = daemon
        self._begin = begin
        self._asked = asked
        self._bar: WorkDone | None = None
        self._waiting: set[object] = set()

    async def request(self, method: str, params: dict[str, Any], notice: Notice | None = None) -> Any:
        """The result. Raises ApiError."""
        request = object()

        def listen(name: str, payload: dict[str, Any]) -> None:
            if name == "progress" and payload.get("stage") in TITLES:
                self._report(request, payload)
            else:  # a token: the model is loaded
                self._ready(request)
            if notice is not None:
                notice(name, payload)

        try:
            result = await self._daemon.request(method, _sound(params), listen)
            if isinstance(result, dict) and "text" in result:
                self._asked(str(result.get("host") or ""), str(result.get("model", "")))
            return result
        finally:
            self._ready(request)

    def _report(self, request: object, payload: dict[str, Any]) -> None:
        if not self._waiting:
            self._bar = self._begin(TITLES[payload["stage"]])
        self._waiting.add(request)
        if self._bar is not None:
            self._bar.report(payload.get("done", 0), payload.get("total", 0))

    def _ready(self, request: object) -> None:
        """The request does not wait for its model, or no longer; the last one that did ends the bar."""
        if request not in self._waiting:
            return
        self._waiting.discard(request)
        if not self._waiting and self._bar is not None:
            self._bar.end()
            self._bar = None


def _sound(value: Any) -> Any:
    """The same with U+FFFD for each half of a surrogate pair, wherever it came from: files, names, settings, chats."""
    if isinstance(value, str):
        return sound(value)
    if isinstance(value, dict):
        return {sound(key): _sound(each) for key, each in value.items()}
    return [_sound(each) for each in value] if isinstance(value, (list, tuple)) else value
