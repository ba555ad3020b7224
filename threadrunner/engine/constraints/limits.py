"""Bounds on what one constraint may cost."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLParserLimits

LIMITS = {
    "max_lexer_states": 50_000,
    "max_grammar_size": 200_000,
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 200_000,
    "step_max_items": 50_000,
    "verbose_errors": False,
}
"""llguidance's own are 250,000 states of 1 to 2 kB, that is half a GB, and 500,000 symbols."""


@cache
def limits() -> LLParserLimits:
    from llguidance import LLParserLimits

    return LLParserLimits(**LIMITS)  # type: ignore[arg-type]
