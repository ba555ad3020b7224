"""Suggestions over LSP: inline completion, and the completion menu for clients that have nothing better.

No suggestion is an empty answer; what is wrong with the daemon or the model is told once, by the session.
"""

from __future__ import annotations

import time

from lsprotocol import types as lsp

from threadrunner.api.errors import ApiError
from threadrunner.lsp import items
from threadrunner.lsp.session import Session
from threadrunner.lsp.suggest.ask import Ask, Suggestion
from threadrunner.lsp.suggest.documents import Document

TRIGGERS = (".", "(", "[", "{", "=", ",", ":", " ", "\t", "\n", "/", "<", ">", '"', "'")


def offers_menu(session: Session) -> bool:
    """Whether suggestions are in the completion menu too; by default not where the client knows inline completion."""
    completion = session.settings.completion
    return completion == "on" or (completion == "auto" and not session.client.inline)


async def inline(session: Session, params: lsp.InlineCompletionParams) -> lsp.InlineCompletionList:
    document = session.documents.get(params.text_document.uri)
    if document is None:
        return lsp.InlineCompletionList([])
    ask = _inline_ask(session, document, params)
    return items.inline(ask, await suggest(session, ask))


def _inline_ask(session: Session, document: Document, params: lsp.InlineCompletionParams) -> Ask:
    """The chosen item of a menu counts as typed, if it is on the cursor's line."""
    manual = params.context.trigger_kind == lsp.InlineCompletionTriggerKind.Invoked
    debounce = not session.client.debounces
    place = document.place(params.position)
    if (chosen := params.context.selected_completion_info) is not None:
        start, end = document.place(chosen.range.start), document.place(chosen.range.end)
        if start.line == end.line == place.line:
            return Ask(document, start, manual, debounce, end.column - start.column, chosen.text)
    return Ask(document, place, manual, debounce)


async def menu(session: Session, params: lsp.CompletionParams) -> lsp.CompletionList:
    document = session.documents.get(params.text_document.uri)
    if document is None or not offers_menu(session):
        return lsp.CompletionList(is_incomplete=False, items=[])
    automatic = params.context is not None and params.context.trigger_kind != lsp.CompletionTriggerKind.Invoked
    if session.settings.trigger == "manual" and automatic:
        return lsp.CompletionList(is_incomplete=True, items=[])
    # Most editors ask with `Invoked` for each word that is begun: that does not ask for several candidates.
    ask = Ask(document, document.place(params.position), manual=False, debounce=automatic)
    return items.menu(ask, await suggest(session, ask), session.client)


async def suggest(session: Session, ask: Ask) -> list[Suggestion]:
    """Suggestions; none when the daemon or the model cannot answer."""
    session.documents.touch(ask.document)
    if not ask.manual:
        if session.settings.trigger == "manual" and session.client.inline:
            return []
        if not session.outage.may_ask(time.monotonic()):
            return []
    try:
        found = await session.suggester.suggest(ask)
    except ApiError as error:
        session.failed(error)
        return []
    for suggestion in found:
        session.counters.shown(suggestion.id, ask.document.language)
    session.answered()
    return found
