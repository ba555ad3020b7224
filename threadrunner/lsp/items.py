"""Suggestions in LSP's types: inline completion items, or items of the completion menu. Pure."""

from __future__ import annotations

from lsprotocol import types as lsp

from threadrunner.lsp.client import ClientTraits
from threadrunner.lsp.suggest.ask import Ask, Suggestion
from threadrunner.lsp.suggest.documents import Document, Place

ACCEPTED = "threadrunner.accepted"
INSERT = "threadrunner.insert"
LABEL_CHARS = 60
"""Characters of a menu item's label, at most."""


def inline(ask: Ask, suggestions: list[Suggestion]) -> lsp.InlineCompletionList:
    """Each item replaces the typed word, or the menu's chosen item, with a text that begins with it."""
    document = ask.document
    if ask.selected or ask.replaced:
        start, typed = ask.place, ask.selected
    else:
        start = document.word_start(ask.place)
        typed = document.between(start, ask.place)
    span = _range(document, start, Place(ask.place.line, ask.place.column + ask.replaced))
    return lsp.InlineCompletionList(
        [
            lsp.InlineCompletionItem(
                insert_text=document.with_line_ends(typed + suggestion.text),
                range=span,
                filter_text=typed + suggestion.text.partition("\n")[0],
                command=_accepted(suggestion),
            )
            for suggestion in suggestions
        ]
    )


def menu(ask: Ask, suggestions: list[Suggestion], client: ClientTraits) -> lsp.CompletionList:
    """Incomplete, so that the client asks again; a label is one line, whatever the text."""
    make = _command_item if client.by_command else _item
    items = [make(ask, suggestion, client) for suggestion in suggestions]
    for rank, item in enumerate(items):
        item.sort_text = f"~{rank}"
    return lsp.CompletionList(is_incomplete=True, items=items)


def _item(ask: Ask, suggestion: Suggestion, client: ClientTraits) -> lsp.CompletionItem:
    """An item whose text replaces the typed word."""
    document = ask.document
    start = document.word_start(ask.place)
    word = document.between(start, ask.place)
    text = document.with_line_ends(word + suggestion.text)
    label = _label(word + suggestion.text)
    return lsp.CompletionItem(
        label=label,
        kind=lsp.CompletionItemKind.Text,
        detail="ThreadRunner",
        documentation=_documentation(document, word + suggestion.text, client),
        filter_text=text if client.filter_is_text else word or label,
        insert_text_format=lsp.InsertTextFormat.PlainText,
        insert_text_mode=lsp.InsertTextMode.AsIs if client.as_is else None,
        text_edit=lsp.TextEdit(_range(document, start, ask.place), text),
        command=_accepted(suggestion),
    )


def _command_item(ask: Ask, suggestion: Suggestion, client: ClientTraits) -> lsp.CompletionItem:
    """An item whose text is the typed word; its command inserts the rest."""
    document, place = ask.document, ask.place
    start = document.word_start(place)
    item = _item(ask, suggestion, client)
    item.text_edit = lsp.TextEdit(_range(document, start, place), document.between(start, place))
    where = {"line": place.line, "character": document.units(place)[1]}
    rest = document.with_line_ends(suggestion.text)
    item.command = lsp.Command("Insert", INSERT, arguments=[document.uri, where, rest, suggestion.id])
    return item


def _label(text: str) -> str:
    """The first line that is not empty, cut; a mark shows that there is more."""
    first, _, rest = text.strip("\n").partition("\n")
    line = first.strip()
    return line[:LABEL_CHARS] + (" …" if rest or len(line) > LABEL_CHARS else "")


def _documentation(document: Document, text: str, client: ClientTraits) -> str | lsp.MarkupContent:
    if not client.markdown:
        return text
    return lsp.MarkupContent(lsp.MarkupKind.Markdown, f"```{document.language}\n{text}\n```")


def _accepted(suggestion: Suggestion) -> lsp.Command:
    return lsp.Command("Accepted", ACCEPTED, arguments=[suggestion.id])


def _range(document: Document, start: Place, end: Place) -> lsp.Range:
    return lsp.Range(lsp.Position(*document.units(start)), lsp.Position(*document.units(end)))
