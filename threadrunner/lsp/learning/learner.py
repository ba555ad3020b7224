"""Decides what is worth showing, hears what became of it, and remembers what was kept. One for each language server.

On the way of a key there is only arithmetic. Files are read and written by `flush`, on another thread.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from threadrunner.learning.habits import Habits
from threadrunner.learning.quiet import explores
from threadrunner.lsp.learning.features import LONG_AGO, Habit, Scores, first_line, vector
from threadrunner.lsp.learning.keeping import Keeping
from threadrunner.lsp.learning.prior import habits
from threadrunner.lsp.learning.watch import GLANCE, Became, Open, became, is_outcome
from threadrunner.lsp.suggest.ask import Ask, Judge, Suggestion
from threadrunner.lsp.suggest.context import Snippet, names_near
from threadrunner.lsp.suggest.documents import Document, Documents, Place
from threadrunner.lsp.suggest.window import TextWindow

REMEMBERED = 512
"""Answers whose scores are kept."""
FILES = 64
"""Of which is known how suggestions fare in them."""
USUAL_RATE, RATE_WEIGHT = 0.3, 5.0
"""The share that is taken in a file of which nothing is known, and the suggestions that this counts as."""
DUE = 20
"""Outcomes after which what was learned should be written."""


@dataclass
class _File:
    taken: float = USUAL_RATE * RATE_WEIGHT
    all: float = RATE_WEIGHT
    line: int = -1
    misses: int = 0
    """Wrong ones in a row on this line."""


@dataclass
class _Clock:
    taken: float = -LONG_AGO
    wrong: float = -LONG_AGO


class Learner(Judge):
    """Not `enabled`: everything is shown, and nothing is learned or remembered."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.allowed = False
        """By the user's `learn`, once it is known."""
        self.counts = True
        """By the editor's `count`."""
        self.quiets = True
        """Whether unlikely suggestions are held back."""
        self.glance = GLANCE
        """Seconds that a suggestion must stand to count as seen; 0 for simulated people, who see each at once."""
        self.habits = habits()
        self.keeping = Keeping(clock)
        self.outcomes = 0
        """Since what was learned was written last."""
        self.listener: Callable[[Open, Became], None] | None = None
        """Told of each suggestion's end."""
        self._clock = clock
        self._times = _Clock()
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._scores: OrderedDict[str, Scores] = OrderedDict()
        self._done: OrderedDict[str, bool] = OrderedDict()
        """Suggestions whose end is known, by id, and whether they were shown."""
        self._open: dict[str, Open] = {}
        """By document, the suggestion that was made last."""
        self._threshold = self.habits.threshold

    @property
    def enabled(self) -> bool:
        """Whether anything is learned at all."""
        return self.allowed and self.counts

    @property
    def threshold(self) -> float:
        """The chance below which nothing is shown."""
        return self._threshold

    def take(self, known: Habits) -> None:
        """What is known of this person, in place of the prior."""
        self.habits = known
        self._threshold = known.threshold

    # ---- the suggester

    def heard(self, id: str, answer: dict[str, Any]) -> None:
        """The daemon's answer in which this suggestion is, with log-probabilities where they were asked for."""
        if told := answer.get("logprobs"):
            self._scores[id] = [(each["text"], each["logprob"]) for each in told]
            if len(self._scores) > REMEMBERED:
                self._scores.popitem(last=False)

    def shows(self, ask: Ask, window: TextWindow, suggestion: Suggestion) -> bool:
        """Whether the suggestion is worth showing here. What is asked for by hand always is."""
        if not self.enabled or ask.selected or ask.replaced:
            return True
        if suggestion.id in self._done:
            return ask.manual or self._done[suggestion.id]
        last = self._open.get(ask.document.uri)
        if last is not None and last.id == suggestion.id:
            if last.shown:
                return True
        else:
            last = None
        one = self._judged(ask, window, suggestion, last.typed if last else 0)
        if last is None or one.shown:  # else the same, still held back, counts as it was at first
            self._open[ask.document.uri] = one
        return one.shown

    def _judged(self, ask: Ask, window: TextWindow, suggestion: Suggestion, agreed: int) -> Open:
        document, place = ask.document, ask.place
        scores, habit = self._scores.get(suggestion.id, ()), self._habit(document, place, agreed)
        features = vector(suggestion.text, window, document.language, scores, habit)
        chance = self.habits.model.chance(features)
        shown = ask.manual or not self.quiets or chance >= self._threshold or explores(suggestion.id)
        tail, lines = document.tail(place), len(document.lines)
        return Open(suggestion.id, suggestion.text, place, tail, lines, features, chance, shown, self._clock())

    def remembered(
        self, document: Document, window: TextWindow, chosen: Sequence[Snippet], room: int
    ) -> Sequence[Snippet]:
        """Snippets of this workspace that fit the place, the best last."""
        if not self.enabled:
            return ()
        seen = "".join((window.prefix, window.suffix, *(snippet.text for snippet in chosen)))
        return self.keeping.find(document, names_near(window), seen, room)

    @property
    def due(self) -> bool:
        """Whether enough was learned to write it."""
        return self.outcomes >= DUE

    def _habit(self, document: Document, place: Place, agreed: int) -> Habit:
        now, file = self._clock(), self._files.get(document.uri) or _File()
        return Habit(
            now - self._times.taken,
            now - self._times.wrong,
            file.taken / file.all,
            file.misses if file.line == place.line else 0,
            agreed,
        )

    # ---- the session

    def changed(self, document: Document, edited: Place | None) -> None:
        """The document has changed; `edited` is where the change ended, None where that is not known."""
        one = self._open.get(document.uri)
        if one is not None and (end := became(one, document, edited)) is not None:
            self._ended(document, one, end)
        self.keeping.aged(document)

    def told(self, documents: Documents, id: str, kind: str) -> None:
        """The editor says what became of a suggestion: `accepted`, `word`, `line` or `dismissed`. Mostly the text has
        told it already."""
        for uri, one in list(self._open.items()):
            if one.id == id and (document := documents.get(uri)) is not None:
                self._ended(document, one, "wrong" if kind == "dismissed" else "taken")

    def closed(self, document: Document) -> None:
        self._open.pop(document.uri, None)
        self.keeping.saved(document)

    def saved(self, document: Document) -> None:
        self.keeping.saved(document)

    def _ended(self, document: Document, one: Open, end: Became) -> None:
        self._open.pop(document.uri, None)
        if not self.enabled or not is_outcome(end, self._clock() - one.since, self.glance):
            return
        self._done[one.id] = one.shown
        if len(self._done) > REMEMBERED:
            self._done.popitem(last=False)
        if self.listener is not None:
            self.listener(one, end)
        self._learn(one, end)
        self._note(document, one, end)
        if end == "taken":
            self.keeping.taken(
                document, one.origin.line, first_line(one.text) if one.typed < len(one.text) else one.text
            )

    def _learn(self, one: Open, end: Became) -> None:
        """What was typed though it was shown was not wanted; had it been held back, it might have been."""
        good = 1.0 if end == "taken" else self.habits.takes if end == "typed" and not one.shown else 0.0
        self.habits.model.learn(one.features, good)
        self.habits.ledger.add(one.chance, good, len(first_line(one.text)))
        self.outcomes += 1

    def _note(self, document: Document, one: Open, end: Became) -> None:
        """What the next suggestion's numbers are made of, and the counts."""
        file = self._files.pop(document.uri, None) or _File()
        self._files[document.uri] = file
        if len(self._files) > FILES:
            self._files.popitem(last=False)
        wrong = end == "wrong"
        file.misses = (file.misses if file.line == one.origin.line else 0) + 1 if wrong else 0
        file.line = one.origin.line
        file.taken += not wrong
        file.all += 1
        if wrong:
            self._times.wrong = self._clock()
        elif end == "taken":
            self._times.taken = self._clock()
        self.habits.count(document.language, "shown" if one.shown else "quiet")
        if one.shown:
            self.habits.count(document.language, end)
        elif not wrong:
            self.habits.count(document.language, "quiet_right")
        self._threshold = self.habits.threshold
