"""What a backend is: the one interface between the worker's loop and whatever generates.

A backend lives in a worker process of its own, which calls it from one thread (`interrupt` excepted). It holds one
model and any number of requests; `step()` advances all of them at once and says what came of it. A package adds a
backend with an entry point:

    [project.entry-points."threadrunner.backends"]
    shout = "my_package:ShoutBackend"

The class is called without arguments; `threadrunner --backend shout "hi"` then finds it by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from threadrunner.api.generation import (
    Detokenized,
    DetokenizeParams,
    Embedded,
    EmbedParams,
    Generated,
    GenerateParams,
    InfillParams,
    Tokenized,
    TokenizeParams,
)

Params = GenerateParams | InfillParams | EmbedParams | TokenizeParams | DetokenizeParams
Result = Generated | Embedded | Tokenized | Detokenized

PRIORITIES: dict[str, int] = {"interactive": 0, "normal": 1, "background": 2}


class ModelSpec(Struct, frozen=True, kw_only=True):
    """What to load, as the daemon resolved it."""

    name: str
    path: str = ""
    """The GGUF file; empty for a backend that needs none."""
    fingerprint: str = ""
    """Changes when the file's content may have changed; keys whatever is kept on disk."""
    context: int = 0
    """Most tokens a conversation may have; 0: the backend's choice."""
    threads: int = 0
    """Computing threads; 0: the physical cores that this process may use."""
    memory_limit: int = 0
    """Bytes the worker may take in all; 0: what the machine has free."""
    max_queued: int = 64
    """Requests that may wait; one more is refused with Overloaded."""
    cache_dir: str = ""
    """A private folder for state that outlives the process; empty: keep none."""
    cache_bytes: int = 0
    """Most bytes to keep there."""


class ModelFacts(Struct, frozen=True, kw_only=True):
    """What a load found."""

    context: int
    """Most tokens one request may have, prompt and answer together."""
    facts: dict[str, Any] = {}
    """For `status`: plain JSON values, say parameters, quantization, why the cache has its size."""


class Piece(Struct, frozen=True, tag=True):
    """Text of request `id`, candidate `index`: whole characters only."""

    id: int
    index: int
    text: str


class Progress(Struct, frozen=True, tag=True):
    """How far the prefill of request `id` has come, in tokens."""

    id: int
    done: int
    total: int


class Finished(Struct, frozen=True, tag=True):
    """Request `id` has its result; nothing follows it. The result's text is the whole text, streamed or not."""

    id: int
    result: Result


class Failed(Struct, frozen=True, tag=True):
    """Request `id` ended with one of threadrunner.api.errors, by its code; nothing follows it."""

    id: int
    code: int
    message: str
    data: dict[str, Any]


Event = Piece | Progress | Finished | Failed


class Backend(Protocol):
    """See the module. Methods raise threadrunner.api.errors; anything else is a crash of the worker."""

    def load(self, spec: ModelSpec, report: Callable[[int, int], None]) -> ModelFacts:
        """Called once, first. `report(done, total)` may be called any number of times. Raises ModelLoadFailed."""

    def submit(self, id: int, params: Params) -> None:
        """Take a request; its end is a Finished or Failed from a later step(). Raises ApiError to refuse it."""

    def step(self) -> list[Event]:
        """Advance every request once. Called again and again while any request is open; bounded in time."""

    def cancel(self, id: int) -> None:
        """Forget the request, touching no other; no event for it may follow. An unknown id is no error."""

    def close(self) -> None:
        """Called once, last: keep what should outlive the process, give everything back."""


@runtime_checkable
class Interruptible(Protocol):
    """A backend whose running step() can be cut short. Both methods are called on the reader's thread, at the moment
    a message arrives and before the loop's thread sees it; they may set a flag, and nothing else."""

    def interrupt_submit(self, priority: str) -> None:
        """A request of this priority has arrived and waits for the step under way."""

    def interrupt_cancel(self, id: int | None) -> None:
        """Request `id` is no longer wanted; None: none is, the worker is to end."""


@runtime_checkable
class Observable(Protocol):
    """A backend that can say how full it is."""

    def gauges(self) -> dict[str, int | float]:
        """For `status`, cheap: cached_tokens, active, queued, and whatever else is worth a column."""
