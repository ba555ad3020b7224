"""What is known before anything is learned: weights and outcomes of a simulated person in files of repositories by
which nothing is judged (tests/bench/learning.py --train): Python's standard library, commander, rack and mux."""

from __future__ import annotations

from threadrunner.learning.habits import Habits
from threadrunner.learning.quiet import Ledger
from threadrunner.lsp.learning.features import NAMES

WEIGHTS: dict[str, float] = {
    "always": 0.290, "mean": 0.748, "first": 0.832, "least": 1.370, "unknown": 0.000,
    "length": -0.790, "lines": -0.047, "mid_line": 0.000, "line_begin": -0.152, "after_mark": 0.115,
    "in_comment": -0.051, "prose": 0.000, "since_taken": -0.239, "since_wrong": -0.001, "file_rate": -0.013,
    "misses_here": 0.186, "new_words": -0.367, "ends_open": 0.145, "agreed": 0.000,
}  # fmt: skip
RIGHT = [
    0.7, 0.7, 2.2, 2.2, 1.5, 2.2, 2.2, 5.1, 9.5, 9.5, 7.3, 5.1, 2.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
]  # fmt: skip
WRONG = [
    19.0, 26.3, 21.9, 19.0, 19.7, 13.1, 8.0, 7.3, 8.8, 2.2, 1.5, 0.0, 1.5, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
]  # fmt: skip
CHARACTERS = [
    11.7, 18.2, 29.9, 19.0, 42.3, 60.6, 56.9, 86.9, 168.6, 127.7, 63.5, 33.6, 10.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
]  # fmt: skip


def habits() -> Habits:
    """Those of someone of whom nothing is known."""
    ledger = Ledger(list(RIGHT), list(WRONG), list(CHARACTERS)) if RIGHT else Ledger.empty()
    return Habits.of(NAMES, WEIGHTS, ledger)
