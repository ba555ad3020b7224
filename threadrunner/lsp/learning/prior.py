"""What is known before anything is learned: weights and outcomes of a simulated person in files of repositories by
which nothing is judged (tests/bench/learning.py --train): Python's standard library, commander, rack and mux."""

from __future__ import annotations

from threadrunner.learning.habits import Habits
from threadrunner.learning.quiet import Ledger
from threadrunner.lsp.learning.features import NAMES

WEIGHTS: dict[str, float] = {
    "always": 0.298, "mean": 0.827, "first": 1.015, "least": 1.416, "unknown": 0.000,
    "length": -0.701, "lines": -0.011, "mid_line": 0.000, "line_begin": -0.140, "after_mark": -0.020,
    "in_comment": 0.119, "prose": 0.000, "since_taken": -0.164, "since_wrong": 0.090, "file_rate": 0.007,
    "misses_here": 0.201, "new_words": -0.312, "ends_open": 0.197, "agreed": 0.000,
}  # fmt: skip
RIGHT = [
    1.0, 1.0, 0.0, 2.0, 0.0, 5.0, 1.0, 7.0, 8.0, 10.0, 8.0, 6.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
]  # fmt: skip
WRONG = [
    12.0, 26.0, 17.0, 21.0, 11.0, 12.0, 12.0, 3.0, 8.0, 6.0, 2.0, 0.0, 1.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0,
]  # fmt: skip
CHARACTERS = [
    16.0, 25.0, 0.0, 32.0, 0.0, 137.0, 4.0, 143.0, 104.0, 119.0, 106.0, 53.0, 11.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
]  # fmt: skip


def habits() -> Habits:
    """Those of someone of whom nothing is known."""
    ledger = Ledger(list(RIGHT), list(WRONG), list(CHARACTERS)) if RIGHT else Ledger.empty()
    return Habits.of(NAMES, WEIGHTS, ledger)
