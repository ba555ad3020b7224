"""`threadrunner lsp --at LINE:COLUMN`: one suggestion for a text on stdin, printed; for editors that run commands.

The same window, filters and rules as in a session. Lines and columns count from 1, columns in bytes, as Kakoune and Vi
count them. If there is no suggestion, nothing is printed.
"""

from __future__ import annotations

import asyncio
import os
import sys

from threadrunner import exits
from threadrunner.api.errors import ApiError
from threadrunner.client.aio import AsyncClient
from threadrunner.lsp.suggest.ask import Ask
from threadrunner.lsp.suggest.documents import UTF8, Document, Place, to_column
from threadrunner.lsp.suggest.ignore import Ignore
from threadrunner.lsp.suggest.settings import Settings
from threadrunner.lsp.suggest.suggester import Suggester
from threadrunner.lsp.suggest.workspace import Workspace


def run(at: tuple[int, int], path: str, language: str, model: str | None) -> int:
    """Print the suggestion for the text on stdin; the exit code. `at` is line and column, from 1, in bytes."""
    with open(0, "rb", closefd=False) as given:
        source = given.read().decode("utf-8", "replace")
    try:
        text = asyncio.run(_suggest(source, at, os.path.abspath(path) if path else "", language, model))
    except ApiError as error:
        sys.stderr.write(f"threadrunner: {error.message}\n")
        return exits.for_kind(error.kind)
    with open(1, "wb", closefd=False) as shown:
        shown.write(text.encode())
    return exits.OK


async def _suggest(source: str, at: tuple[int, int], path: str, language: str, model: str | None) -> str:
    document = Document(f"file://{path}", path, language, None, source, UTF8)
    line = min(max(0, at[0] - 1), len(document.lines) - 1)
    place = Place(line, to_column(document.lines[line], max(0, at[1] - 1), UTF8))
    daemon = AsyncClient()
    settings = Settings(model=model, candidates=1, speculate=False, count=False)
    workspace = Workspace(settings=settings, ignore=Ignore([os.getcwd()]))
    workspace.documents.open(document)
    suggester = Suggester(daemon, workspace)
    try:
        found = await suggester.suggest(Ask(document, place, manual=True, debounce=False))
    finally:
        await suggester.close()
        await daemon.close()
    return document.with_line_ends(found[0].text) if found else ""
