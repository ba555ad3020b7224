"""An `infill` request: its params for the daemon, and the texts to show that are in the answer. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from threadrunner.lsp.suggest import filters
from threadrunner.lsp.suggest.closers import cut_second_closer, cut_tail_again
from threadrunner.lsp.suggest.context import Snippet
from threadrunner.lsp.suggest.cursor import Cursor
from threadrunner.lsp.suggest.settings import Settings
from threadrunner.lsp.suggest.window import TextWindow

CANDIDATES_TEMPERATURE = 0.4
"""The temperature of several candidates; one alone is greedy."""
PATIENT = 4
"""Times the time limit where the person waits for several candidates, or where no person waits at all."""


@dataclass(frozen=True)
class InfillRequest:
    """One request: what the model sees, under which settings, and how urgent it is."""

    settings: Settings
    language: str
    path: str
    """Of the file, as the model is shown it; empty for a text that is not a file."""
    window: TextWindow
    context: Sequence[Snippet] = ()
    count: int = 1
    """Number of candidates."""
    priority: Literal["interactive", "background"] = "interactive"
    confidence: bool = False
    """With the tokens' log-probabilities."""

    @property
    def streamed(self) -> bool:
        """Whether the text arrives in pieces before the answer: only one candidate's can be told apart."""
        return self.count == 1

    def params(self) -> dict[str, Any]:
        """What `infill` is sent."""
        settings = self.settings
        hurried = self.count == 1 and self.priority == "interactive"
        params: dict[str, Any] = {
            "prefix": self.window.prefix,
            "suffix": self.window.suffix,
            "language": self.language,
            "context": [{"path": snippet.path, "text": snippet.text} for snippet in self.context],
            "max_tokens": settings.max_tokens,
            # What arrives after the pause in which it was needed is not seen; the next guess continues from there.
            "max_time_ms": settings.max_time_ms * (1 if hurried else PATIENT),
            "priority": self.priority,
            "stream": self.streamed,
            **settings.load_params(),
        }
        if self.path:
            params["path"] = self.path
        if self.confidence:
            params["confidence"] = True
        if self.count > 1:
            params |= {"n": self.count, "temperature": CANDIDATES_TEMPERATURE}
        return params

    def texts(self, answer: dict[str, Any]) -> list[str]:
        """The answer's texts that have passed the filters, without repeats; an answer is a result of `infill`."""
        choices = answer.get("choices") or [answer]
        shown = [
            filters.apply(choice["text"], self._cursor(unfinished=choice["finish_reason"] == "length"))
            for choice in choices
        ]
        return list(dict.fromkeys(filter(None, shown)))

    def ends_with(self, text: str) -> bool:
        """Whether a filter would cut all that could follow this beginning of an answer."""
        return filters.ended(text, self._cursor())

    def _cursor(self, unfinished: bool = False) -> Cursor:
        window = self.window
        return Cursor(window.prefix, window.suffix, self.language, unfinished)


def cut_for(text: str, window: TextWindow, language: str) -> str:
    """A cached text, cut for the cursor's place now: an editor may have put a closer behind it since."""
    cursor = Cursor(window.prefix, window.suffix, language)
    return cut_tail_again(cut_second_closer(text, cursor), cursor)
