"""How tokens are chosen: all that a request can say of it, in the engine's own terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from threadrunner.engine.constraints.constraint import Constraint

WINDOW = 64
"""Tokens that penalties count, usually."""
BREAKERS = ("\n", ":", '"', "*")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Names, ranges and meanings as api.sampling has them; zero or one, as there, means off."""

    temperature: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat: int = 0
    """1 or 2: its version."""
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_window: int = WINDOW
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_window: int = -1
    dry_breakers: tuple[str, ...] = BREAKERS
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Minus infinity forbids a token."""
    min_tokens: int = 0
    ignore_eos: bool = False
    seed: int | None = None
    constraint: Constraint | None = None
    logprobs: int | None = None

    @property
    def penalizes(self) -> bool:
        return self.repeat_penalty != 1.0 or self.presence_penalty != 0.0 or self.frequency_penalty != 0.0
