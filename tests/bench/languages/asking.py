"""The way of a suggestion through the language server's own pieces and a real engine, in one process.

Document -> window -> `infill` params -> engine -> filters: what `Suggester` does with a request, without its waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from languages.places import Span
from threadrunner.api.generation import InfillParams
from threadrunner.backends.base import Finished, ModelSpec, Piece
from threadrunner.backends.llama import LlamaBackend
from threadrunner.engine.prompts.detokenizer import Cutter
from threadrunner.lsp.suggest.documents import Document, Place
from threadrunner.lsp.suggest.infill import InfillRequest
from threadrunner.lsp.suggest.settings import Settings
from threadrunner.lsp.suggest.window import around

AT_ONCE = 6
NARROW = Settings(max_time_ms=600_000, prefix_chars=1_000, suffix_chars=300, max_tokens=64)
"""A quarter of what an editor's user gets: two cores evaluate 100 to 200 tokens of a prompt a second."""


def request(span: Span, settings: Settings) -> InfillRequest:
    """What is asked for a cursor where the span was taken out."""
    document = Document("file:///bench", f"/bench/{span.file}", span.language, 1, span.prefix + span.suffix)
    place = Place(span.prefix.count("\n"), span.start - (span.prefix.rfind("\n") + 1))
    window = around(document, place, settings.prefix_chars, settings.suffix_chars)
    return InfillRequest(settings, span.language, Path(span.file).name, window)


class Raw:
    """Ends a text that nothing else ends: behind so many lines."""

    def __init__(self, lines: int) -> None:
        self._lines = lines

    def cut(self, text: str) -> int | None:
        return len(text) if text.count("\n") >= self._lines else None

    def safe(self, text: str) -> int:
        return len(text)

    def trim(self, text: str, _cut: bool = False) -> int:
        return len(text)


class Asker:
    """A model in this process. `raw`: without the engine's stops, to replay them on what the model says by itself."""

    def __init__(self, model: str, settings: Settings = NARROW, raw: bool = False, threads: int = 0) -> None:
        self._settings = settings
        self._backend = LlamaBackend()
        self._backend.load(ModelSpec(name=Path(model).stem, path=model, threads=threads), lambda done, total: None)
        if raw:
            builder = self._backend.loaded.requests
            usual = builder.infill

            def infill(id: int, params: InfillParams) -> object:
                lines = 2 if params.suffix.partition("\n")[0].strip() else 14
                cutters: Callable[[], list[Cutter]] = lambda: [Raw(lines)]  # noqa: E731
                return replace(usual(id, params), cutters=cutters)

            builder.infill = infill  # type: ignore[assignment, method-assign]

    def answers(self, spans: Sequence[Span]) -> Iterator[tuple[int, list[str], str]]:
        """(number, pieces, why it ended), in the order of the answers."""
        left = list(enumerate(spans))[::-1]
        pieces: dict[int, list[str]] = {}
        while left or pieces:
            while left and len(pieces) < AT_ONCE:
                number, span = left.pop()
                pieces[number] = []
                asked = {**request(span, self._settings).params(), "context": []}
                self._backend.submit(number, InfillParams(**asked))
            for event in self._backend.step():
                if isinstance(event, Piece):
                    pieces[event.id].append(event.text)
                elif isinstance(event, Finished):
                    yield event.id, pieces.pop(event.id), event.result.finish_reason
