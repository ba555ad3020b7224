"""What is known before anything is learned: weights and outcomes of a simulated person in files of repositories by
which nothing is judged (tests/bench/learning.py --train): Python's standard library, commander, rack and mux."""

from __future__ import annotations

from threadrunner.learning.habits import Habits
from threadrunner.learning.quiet import Ledger
from threadrunner.lsp.learning.features import NAMES

WEIGHTS: dict[str, float] = {}
RIGHT: list[float] = []
WRONG: list[float] = []
CHARACTERS: list[float] = []


def habits() -> Habits:
    """Those of someone of whom nothing is known."""
    ledger = Ledger(list(RIGHT), list(WRONG), list(CHARACTERS)) if RIGHT else Ledger.empty()
    return Habits.of(NAMES, WEIGHTS, ledger)
