"""What is known of how suggestions fare with one person: a model, its outcomes, and counts by language. No text.

`Habits` is what one process knows. What it has learned since it last wrote is a difference, and differences add up: so
two editors lose nothing of each other's.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from threadrunner.learning.logistic import FARTHEST, FIRM, Logistic, within
from threadrunner.learning.quiet import BINS, Ledger, threshold

VERSION = 1
COUNTS = ("shown", "taken", "typed", "wrong", "quiet", "quiet_right")
"""By language. `quiet`: not shown; `quiet_right`: of these, what was then typed in its place."""
ACQUAINTED = 20
"""Suggestions whose end is known; before that nothing is held back: what others would not take is no reason to show
someone nothing in their first minute."""
LANGUAGES = 64
"""Of which counts are kept, at most; others are counted as `other`."""

_LANGUAGE = re.compile(r"[a-z0-9+#._-]{1,32}")

Counts = dict[str, Counter[str]]


@dataclass
class Habits:
    """`names` are the features, in the order of the model's weights."""

    names: Sequence[str]
    model: Logistic
    ledger: Ledger
    counts: Counts = field(default_factory=dict)

    @classmethod
    def of(cls, names: Sequence[str], prior: Mapping[str, float], ledger: Ledger) -> Habits:
        """Those of someone of whom nothing is known."""
        return cls(names, Logistic([prior.get(name, 0.0) for name in names]), ledger)

    def count(self, language: str, what: str) -> None:
        name = language if _LANGUAGE.fullmatch(language) else "other"
        if name not in self.counts and len(self.counts) >= LANGUAGES:
            name = "other"
        self.counts.setdefault(name, Counter())[what] += 1

    @property
    def threshold(self) -> float:
        """The chance below which nothing is shown."""
        known = sum(found["shown"] + found["quiet"] for found in self.counts.values())
        return threshold(self.ledger) if known >= ACQUAINTED else 0.0

    @property
    def takes(self) -> float:
        """The share of the right ones that this person takes and does not type; four in five where little is known."""
        taken = sum(found["taken"] for found in self.counts.values())
        typed = sum(found["typed"] for found in self.counts.values())
        return (taken + 8) / (taken + typed + 10)

    def copy(self) -> Habits:
        model = Logistic(list(self.model.weights), list(self.model.squares))
        counts = {name: Counter(found) for name, found in self.counts.items()}
        return Habits(self.names, model, Ledger.empty().plus(self.ledger), counts)

    def since(self, base: Habits) -> Habits:
        """What was learned since: this less `base`, which was a copy of it once."""
        return self._combined(base, -1)

    def plus(self, learned: Habits) -> Habits:
        """With what another has learned since."""
        return self._combined(learned, 1)

    def _combined(self, other: Habits, sign: int) -> Habits:
        def added(mine: list[float], theirs: list[float]) -> list[float]:
            return [a + sign * b for a, b in zip(mine, theirs, strict=True)]

        weights = added(self.model.weights, other.model.weights)
        squares = added(self.model.squares, other.model.squares)
        counts: Counts = {}
        for name in [*self.counts, *(name for name in other.counts if name not in self.counts)]:
            mine, theirs = self.counts.get(name, Counter()), other.counts.get(name, Counter())
            found = Counter({what: mine[what] + sign * theirs[what] for what in COUNTS})
            if any(found.values()):
                counts[name] = found
        model = Logistic([within(weight) for weight in weights], squares)
        return Habits(self.names, model, self.ledger.plus(other.ledger, sign), counts)

    # ---- as JSON

    def told(self) -> dict[str, Any]:
        """As it is kept in a file."""
        ledger = self.ledger.faded()
        return {
            "version": VERSION,
            "about": "how often suggestions are taken, by what they look like; no text. docs/learning.md explains it",
            "weights": _named(self.names, self.model.weights),
            "squares": _named(self.names, self.model.squares),
            "right": _rounded(ledger.right),
            "wrong": _rounded(ledger.wrong),
            "characters": _rounded(ledger.characters),
            "counts": {name: dict(found) for name, found in list(self.counts.items())[: LANGUAGES + 1]},
        }

    def read(self, told: Mapping[str, Any]) -> Habits:
        """What a file holds; features that it does not know are as they are here. Raises ValueError."""
        try:
            if told["version"] != VERSION:
                raise ValueError(f"its version is {str(told['version'])[:20]}")
            weights = _numbers(told["weights"], self.names, self.model.weights, -FARTHEST, FARTHEST)
            squares = _numbers(told["squares"], self.names, [FIRM] * len(self.names), FIRM, 1e9)
            bins = [_column(told[name]) for name in ("right", "wrong", "characters")]
            counts = {
                str(name): Counter({what: max(0, int(found.get(what, 0))) for what in COUNTS})
                for name, found in list(told["counts"].items())[: LANGUAGES + 1]
                if _LANGUAGE.fullmatch(str(name))
            }
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        return Habits(self.names, Logistic(weights, squares), Ledger(*bins), counts)


def _named(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return {name: round(value, 5) for name, value in zip(names, values, strict=True)}


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in values]


def _numbers(
    found: Mapping[str, Any], names: Sequence[str], usual: Sequence[float], low: float, high: float
) -> list[float]:
    values = [float(found.get(name, default)) for name, default in zip(names, usual, strict=True)]
    if not all(low <= value <= high for value in values):
        raise ValueError("a number is out of range")
    return values


def _column(found: Sequence[Any]) -> list[float]:
    values = [float(value) for value in found]
    if len(values) != BINS or not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"a column is not {BINS} numbers")
    return values
