"""What a step of the engine tells."""

from __future__ import annotations

from dataclasses import dataclass

from threadrunner.engine.llama.errors import EngineError
from threadrunner.engine.llama.logprobs import Logprob
from threadrunner.engine.sequence import Sequence
from threadrunner.engine.tools.layout import AnswerPart
from threadrunner.engine.utterance import Told


@dataclass(slots=True)  # not frozen: one is made for each token, and that takes twice as long then
class Text:
    """A piece of what candidate `index` says: whole characters, nothing that a stop may still take back."""

    id: int
    index: int
    part: AnswerPart
    sequence: Sequence


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Told for prompts of more than one batch; counts of tokens."""

    id: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Ended:
    """One candidate is complete. `text` is all of it, `reason` is "stop" or "length"."""

    id: int
    index: int
    text: str
    reason: str
    sequence: Sequence
    logprobs: list[tuple[Logprob, str]]
    """Of each token of the text, with its part of it."""
    told: Told


@dataclass(frozen=True, slots=True)
class Broken:
    """The request cannot go on; nothing follows for any of its candidates."""

    id: int
    error: EngineError


Event = Text | Prefilled | Ended | Broken
