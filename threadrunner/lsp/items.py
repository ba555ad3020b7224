"""Suggestions as the client wants them: inline completion items, or items of its completion menu."""

from __future__ import annotations

from lsprotocol import types as lsp

from threadrunner.lsp.client import ClientTraits
from threadrunner.lsp.suggest.documents import Document, Place
from threadrunner.lsp.suggest.suggester import Ask, Suggestion

ACCEPTED = "threadrunner.accepted"
INSERT = "threadrunner.insert"
LABEL_LIMIT = 60


def inline(ask: Ask, suggestions: list[Suggestion]) -> lsp.InlineCompletionList:
    """Each item replaces the typed word, or the menu's chosen item, with a text that begins with it."""
    document = ask.document
    if ask.selected or ask.replaced:
        start, said = ask.place, ask.selected
    else:
        start = document.word_start(ask.place)
        said = document.between(start, ask.place)
    span = _range(document, start, Place(ask.place.line, ask.place.column + ask.replaced))
    return lsp.InlineCompletionList(
        [
            lsp.InlineCompletionItem(
                insert_text=text(document, said + suggestion.text),
                range=span,
                filter_text=said + suggestion.text.partition("\n")[0],
                command=_accepted(suggestion),
            )
            for suggestion in suggestions
        ]
    )


def menu(ask: Ask, suggestions: list[Suggestion], client: ClientTraits) -> lsp.CompletionList:
    """Incomplete, so that the client asks again; the label is one line, whatever the text."""
    document = ask.document
    start = document.word_start(ask.place)
    word = document.between(start, ask.place)
    items = [_item(document, start, ask.place, word, each, client, rank) for rank, each in enumerate(suggestions)]
    return lsp.CompletionList(is_incomplete=True, items=items)


def _item(
    document: Document, start: Place, place: Place, word: str, suggestion: Suggestion, client: ClientTraits, rank: int
) -> lsp.CompletionItem:
    whole = text(document, word + suggestion.text)
    first, _, rest = (word + suggestion.text).strip("\n").partition("\n")
    label = first.strip()[:LABEL_LIMIT] + (" …" if rest or len(first.strip()) > LABEL_LIMIT else "")
    item = lsp.CompletionItem(
        label=label,
        kind=lsp.CompletionItemKind.Text,
        detail="ThreadRunner",
        documentation=_documentation(document, word + suggestion.text, client),
        filter_text=whole if client.filter_is_text else word or label,
        sort_text=f"~{rank}",
        insert_text_format=lsp.InsertTextFormat.PlainText,
        insert_text_mode=lsp.InsertTextMode.AsIs if client.as_is else None,
        text_edit=lsp.TextEdit(_range(document, start, place), whole),
        command=_accepted(suggestion),
    )
    if client.by_command:
        item.text_edit = lsp.TextEdit(_range(document, start, place), word)
        rest = text(document, suggestion.text)
        where = {"line": place.line, "character": document.units(place)[1]}
        item.command = lsp.Command("Insert", INSERT, arguments=[document.uri, where, rest, suggestion.id])
    return item


def _documentation(document: Document, said: str, client: ClientTraits) -> str | lsp.MarkupContent:
    if not client.markdown:
        return said
    return lsp.MarkupContent(lsp.MarkupKind.Markdown, f"```{document.language}\n{said}\n```")


def text(document: Document, said: str) -> str:
    """With the document's own line ends."""
    end = document.line_end
    return said if end == "\n" else said.replace("\n", end)


def _accepted(suggestion: Suggestion) -> lsp.Command:
    return lsp.Command("Accepted", ACCEPTED, arguments=[suggestion.id])


def _range(document: Document, start: Place, end: Place) -> lsp.Range:
    return lsp.Range(lsp.Position(*document.units(start)), lsp.Position(*document.units(end)))
