"""What is said at a place, led through the engine's stops and the server's filters without a model."""

from __future__ import annotations

import re
from collections.abc import Iterator

from languages.asking import request
from languages.places import Span
from threadrunner.engine.prompts.detokenizer import Detokenizer
from threadrunner.engine.prompts.infill_ends import middle_ends
from threadrunner.lsp.suggest import filters
from threadrunner.lsp.suggest.cursor import Cursor
from threadrunner.lsp.suggest.settings import Settings

_PIECE = re.compile(r"\s*\w{1,6}|\s+|[^\w\s]{1,3}")
GOES_ON = 400
"""Characters of the file that a model which is always right says behind the right answer."""


def replay(span: Span, pieces: list[str], finish: str, settings: Settings) -> str:
    """What is shown for what a model has said."""
    asked = request(span, settings)
    text, cut = stopped(span, pieces, finish == "length", settings)
    shown = asked.texts({"text": text, "finish_reason": "stop" if cut else finish})
    return shown[0] if shown else ""


def stopped(span: Span, pieces: list[str], unfinished: bool, settings: Settings) -> tuple[str, bool]:
    """What the engine's stops leave, and whether they ended it."""
    window = request(span, settings).window
    text = Detokenizer(cutters=[middle_ends(window.prefix, window.suffix, span.language)])
    for piece in pieces:
        text.add(piece.encode())
        if text.stopped:
            return text.text, True
    text.finish(unfinished)
    return text.text, False


def hurt_by(span: Span, settings: Settings) -> Iterator[str]:
    """Names of what takes a part of the right answer away: `stops`, of a model that says it and what follows it, and
    each filter, of one that says it and ends."""
    truth = span.truth.rstrip()
    said, _ = stopped(span, _PIECE.findall(span.truth + span.suffix[:GOES_ON]), False, settings)
    if not said.startswith(truth):
        yield "stops"
    window = request(span, settings).window
    before = len(truth)
    for rule, text in filters.steps(span.truth, Cursor(window.prefix, window.suffix, span.language)):
        if len(text.rstrip()) < before:
            yield rule
        before = min(before, len(text.rstrip()))
