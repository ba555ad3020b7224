"""What a step of the engine tells."""

from __future__ import annotations

from dataclasses import dataclass

from threadrunner.engine.llama.errors import EngineError
from threadrunner.engine.llama.sampler import Logprob
from threadrunner.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Text:
    id: int
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Told for prompts of more than one batch."""

    id: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Ended:
    """One candidate is complete."""

    id: int
    index: int
    text: str
    reason: str
    sequence: Sequence
    logprobs: list[Logprob]


@dataclass(frozen=True, slots=True)
class Broken:
    """The request cannot go on."""

    id: int
    error: EngineError


Event = Text | Prefilled | Ended | Broken
