"""What a backend is: the one interface between the worker's loop and whatever generates.

A backend runs in a worker process of its own, which calls it from one thread (an Interruptible's two methods excepted).
It holds one model and any number of requests; `step()` advances all of them at once and says what came of it. A package
adds a backend with an entry point:

    [project.entry-points."threadrunner.backends"]
    shout = "my_package:ShoutBackend"

The class is called without arguments; `threadrunner --backend shout "hi"` then finds it by name. All that it needs is
here: this module's own names, the params and results of the methods that a worker answers, and the errors to raise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from threadrunner.api.chat import CallPart, Message, PieceKind, Tool, ToolCall
from threadrunner.api.conflicts import conflicts
from threadrunner.api.errors import (
    ApiError,
    ContextOverflow,
    InternalError,
    InvalidGrammar,
    InvalidParams,
    ModelLoadFailed,
    NotSupported,
    Overloaded,
)
from threadrunner.api.fields import FinishReason, Priority
from threadrunner.api.generation import (
    AppliedTemplate,
    ApplyTemplateParams,
    Choice,
    ContextFile,
    Detokenized,
    DetokenizeParams,
    Embedded,
    EmbedParams,
    Generated,
    GenerateParams,
    InfillParams,
    Ranked,
    Reranked,
    RerankParams,
    Timings,
    Tokenized,
    TokenizeParams,
    TokenLogprob,
    Usage,
)
from threadrunner.api.remotes import RemoteModels, RemoteModelsParams

__all__ = [
    "PRIORITIES",
    "AdapterSpec",
    "ApiError",
    "AppliedTemplate",
    "ApplyTemplateParams",
    "Backend",
    "CallPart",
    "CandidateDone",
    "Choice",
    "ContextFile",
    "ContextOverflow",
    "DetokenizeParams",
    "Detokenized",
    "EmbedParams",
    "Embedded",
    "Event",
    "Failed",
    "FinishReason",
    "Finished",
    "GenerateParams",
    "Generated",
    "Hardware",
    "InfillParams",
    "InternalError",
    "Interruptible",
    "InvalidGrammar",
    "InvalidParams",
    "Message",
    "ModelFacts",
    "ModelLoadFailed",
    "ModelSpec",
    "NotSupported",
    "Observable",
    "Overloaded",
    "Params",
    "Piece",
    "PieceKind",
    "Priority",
    "Progress",
    "Ranked",
    "RemoteModels",
    "RemoteModelsParams",
    "RemoteServer",
    "RerankParams",
    "Reranked",
    "Result",
    "Tidy",
    "Timings",
    "TokenLogprob",
    "TokenizeParams",
    "Tokenized",
    "Tool",
    "ToolCall",
    "Usage",
    "conflicts",
]

Params = (
    GenerateParams
    | InfillParams
    | EmbedParams
    | RerankParams
    | TokenizeParams
    | DetokenizeParams
    | ApplyTemplateParams
    | RemoteModelsParams
)
Result = Generated | Embedded | Reranked | Tokenized | Detokenized | AppliedTemplate | RemoteModels

PRIORITIES: dict[str, int] = {"interactive": 0, "normal": 1, "background": 2}
"""A request's priority -> its rank: the smaller goes first."""


class Hardware(Struct, frozen=True, kw_only=True):
    """What a model may use of the machine, as docs/gpu.md explains it. A backend takes of it what it can."""

    threads_batch: int = 0
    """Threads that compute prompts; 0: as many as `ModelSpec.threads`."""
    gpu_layers: str = "auto"
    """Layers that GPUs compute: auto, all, or a number."""
    devices: list[str] = []
    """The GPUs to use, by name; empty: all."""
    main_gpu: int = -1
    """Of these, the one that takes the whole model; -1: it is split."""
    tensor_split: list[float] = []
    """Proportions in which it is split; empty: by what fits."""
    cpu_moe: str = "auto"
    """Layers, from the first, whose experts stay on the CPU: auto, all, or a number."""
    flash_attention: str = "auto"
    """auto, on or off."""
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    mlock: bool = False
    numa: str = "off"
    """off, distribute, isolate or numactl."""
    drafts: str = "auto"
    """Whether likely tokens are evaluated ahead: auto, off or always."""


class RemoteServer(Struct, frozen=True, kw_only=True):
    """A server on another machine, as config.toml names it: see remote_settings.py. Its key goes to the worker that
    asks it with the first message, and nowhere else."""

    name: str
    url: str
    key: str = ""
    models: list[str] = []
    dialect: str = ""
    fim: str = ""
    certificates: str = ""
    """PEM; empty: the system's."""
    read_timeout: float = 0.0

    def __repr__(self) -> str:
        return f"<RemoteServer {self.name} {self.url}>"  # no log and no trace has the key


class AdapterSpec(Struct, frozen=True, kw_only=True):
    """A LoRA adapter to load with a model."""

    name: str
    """By which requests ask for it."""
    path: str = ""
    scale: float = 1.0
    """At which it is applied where a request says nothing; 0: not then."""
    fingerprint: str = ""
    """Changes when the file's content may have changed."""


class ModelSpec(Struct, frozen=True, kw_only=True):
    """What to load, as the daemon resolved it."""

    name: str
    path: str = ""
    """The GGUF file; empty for a backend that needs none."""
    fingerprint: str = ""
    """Changes when the file's content may have changed; a key for all that is kept on disk."""
    context: int = 0
    """Maximum tokens of a conversation; 0: the backend's choice."""
    threads: int = 0
    """Computing threads; 0: the physical cores that this process may use."""
    hardware: Hardware = Hardware()
    draft_path: str = ""
    """The GGUF file of a small model that drafts for this one; empty: none."""
    mmproj_path: str = ""
    """The GGUF file of the encoder with which this model looks at pictures; empty: none."""
    mmproj_named: bool = False
    """The user has named it: where it cannot be used, the model must not be loaded without it."""
    adapters: list[AdapterSpec] = []
    template: str = ""
    """The text of a chat template to use in place of the file's own; empty: that one."""
    memory_limit: int = 0
    """Bytes the worker may take in all; 0: what the machine has free."""
    max_queued: int = 64
    """Requests that may wait; one more is refused with Overloaded."""
    cache_ram: int = -1
    """Bytes of memory for the state of finished requests; -1: the backend's choice, 0: none."""
    cache_dir: str = ""
    """A private folder for state that outlives the process; empty: keep none."""
    cache_bytes: int = 0
    """Maximum bytes to keep there."""
    remote: RemoteServer | None = None
    """The server that answers, for the backend that asks another machine."""


class ModelFacts(Struct, frozen=True, kw_only=True):
    """What a load found."""

    context: int
    """Maximum tokens of one request, prompt and answer together."""
    facts: dict[str, Any] = {}
    """For `status`: plain JSON values, e.g. parameters, quantization, why the cache has its size."""


# Events go to the daemon as they are (worker/messages.py), a Finished's result as JSON.


class Piece(Struct, frozen=True, tag=True, omit_defaults=True):
    """Text of request `id`, candidate `index`: whole characters only. Where it is no part of the answer's text, `kind`
    says what it belongs to: what the model thinks, the arguments of `call`, or, under an infill's `confidence`, the
    tokens so far with their log-probabilities."""

    id: int
    index: int
    text: str
    kind: PieceKind = "text"
    call: CallPart | None = None


class Progress(Struct, frozen=True, tag=True):
    """How far the prefill of request `id` is, in tokens."""

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


class CandidateDone(Struct, frozen=True, tag=True):
    """Of request `id`, which has a `vote`, candidate `index` is complete; `result` is what the request's result would
    be if this were its only answer, with the usage and times so far. A backend need not tell: then the vote is counted
    when all of them have ended."""

    id: int
    index: int
    result: Generated


Event = Piece | Progress | CandidateDone | Finished | Failed


class Backend(Protocol):
    """See the module. Methods raise ApiError's classes. Anything else is a crash of the worker, but for `submit`: then
    that request alone ends, with InternalError, once `cancel` was called for it."""

    def load(self, spec: ModelSpec, report: Callable[[int, int], None]) -> ModelFacts:
        """Called once, first. `report(done, total)` may be called any number of times. Raises ModelLoadFailed."""

    def submit(self, id: int, params: Params) -> None:
        """Take a request; its end is a Finished or Failed from a later step(). Raises ApiError to refuse it, e.g.
        InvalidParams where `conflicts` finds some."""

    def step(self) -> list[Event]:
        """Advance every request once. Called again and again while any request is open; bounded in time."""

    def cancel(self, id: int) -> None:
        """Forget the request, touching no other; no event for it may follow. An unknown id is not an error."""

    def close(self) -> None:
        """Called once, last: keep what should outlive the process, give everything back."""


@runtime_checkable
class Interruptible(Protocol):
    """A backend whose running step() can be cut short. Both methods are called on the listening thread, at the moment
    a message arrives and before the computing thread sees it; they may set a flag, and nothing else."""

    def interrupt_submit(self, priority: str) -> None:
        """A request of this priority has arrived and waits for the step under way."""

    def interrupt_cancel(self, id: int | None) -> None:
        """Request `id` is cancelled; None: all are, the worker must end."""


@runtime_checkable
class Tidy(Protocol):
    """A backend with work that can wait for idle time."""

    def tidy(self) -> bool:
        """No request is open: do a piece of that work, a few milliseconds at most. Whether there is more."""


@runtime_checkable
class Observable(Protocol):
    """A backend that can say how full it is."""

    def gauges(self) -> dict[str, int | float]:
        """For `status`, cheap: cached_tokens, active, queued, and whatever else is worth a column."""
