"""One exception for each error code. Standard library only: the shell imports this.

Every error carries `data`: `kind` (the class's name) and facts. Its text says what to do next.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not typing's, which costs the shell 3 ms of every prompt; checkers know the bare name too
if TYPE_CHECKING:
    from typing import Any, ClassVar


class ApiError(Exception):
    """An error as it goes over the wire. `facts` become members of `data` beside `kind`."""

    code: ClassVar[int] = -32000

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        self.kind = type(self).__name__

    @property
    def data(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.facts}


class ParseError(ApiError):
    code = -32700


class InvalidRequest(ApiError):
    code = -32600


class MethodNotFound(ApiError):
    code = -32601


class InvalidParams(ApiError):
    code = -32602


class InternalError(ApiError):
    """A defect of ours; the log has the trace."""

    code = -32603


class ModelNotFound(ApiError):
    """There is no such name, file or repository, or it would have to be fetched and that is forbidden. Facts: model."""

    code = -32001


class ModelLoadFailed(ApiError):
    code = -32002


class WorkerCrashed(ApiError):
    """The process that held the model ended while the request was under way. Facts: signal, exit_code."""

    code = -32003


class ContextOverflow(ApiError):
    """Facts: prompt_tokens, limit."""

    code = -32004


class Overloaded(ApiError):
    """Facts: queued, limit."""

    code = -32005


class Timeout(ApiError):
    code = -32006


class InvalidGrammar(ApiError):
    code = -32007


class SessionNotFound(ApiError):
    code = -32008


class NotSupported(ApiError):
    """The backend or the model cannot do this, for example infilling without FIM tokens."""

    code = -32009


class ShuttingDown(ApiError):
    """The daemon is finishing what it has and takes nothing new; connect again once it has hung up."""

    code = -32010


class StorageFailed(ApiError):
    """The file of the conversations cannot be opened, read or written. Prompts without one go on."""

    code = -32011


class FetchFailed(ApiError):
    """A model could not be fetched. Facts: model; reason: network, disk, checksum, forbidden or gated."""

    code = -32012


class RemoteUnreachable(ApiError):
    """Another machine's server could not be reached, or broke off before it had answered anything. Facts: host."""

    code = -32013


class RemoteFailed(ApiError):
    """Another machine's server failed, or broke off after it had begun to answer. Facts: host; status, where it gave
    one."""

    code = -32014


class RemoteRefused(ApiError):
    """Another machine's server refuses the key, or the account behind it; or there is no key. Facts: host; status."""

    code = -32015


class NoneChosen(ApiError):
    """Of several answers none was chosen: none has a key, they do not agree enough, or the client took none. Facts:
    choices, the answers' texts; agreement, of a vote."""

    code = -32016


class RequestCancelled(ApiError):
    code = -32800


class Disconnected(ApiError):
    """Made by clients only: the connection ended before the answer came."""

    code = -32099


class Unreachable(ApiError):
    """Made by clients only: no daemon could be reached or started."""

    code = -32098


class RemoteError(ApiError):
    """Made by clients only: an error of a code that this version does not know."""


CLIENT_ONLY = (Disconnected, Unreachable)
"""Never sent: what a client makes of a connection that fails."""

BY_CODE: dict[int, type[ApiError]] = {cls.code: cls for cls in ApiError.__subclasses__() if cls is not RemoteError}


def from_wire(error: dict[str, Any]) -> ApiError:
    """The exception for an `error` member of a response."""
    data = error.get("data")
    facts = {str(k): v for k, v in data.items() if k != "kind"} if isinstance(data, dict) else {}
    if data is not None and not isinstance(data, dict):
        facts["detail"] = data
    made = BY_CODE.get(error.get("code", 0), RemoteError)(str(error.get("message", "")), **facts)
    if isinstance(data, dict) and isinstance(data.get("kind"), str):
        made.kind = data["kind"]
    return made
