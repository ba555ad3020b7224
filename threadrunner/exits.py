"""Exit codes, and which error ends in which."""

OK = 0
UNKNOWN = 1
CONNECTION = 2
MODEL = 3
TIMEOUT = 4
NONE_CHOSEN = 5
USAGE = 64
INTERRUPTED = 130

_BY_KIND = {
    "ModelNotFound": MODEL,
    "ModelLoadFailed": MODEL,
    "FetchFailed": MODEL,
    "WorkerCrashed": MODEL,
    "ContextOverflow": MODEL,
    "InvalidGrammar": MODEL,
    "NotSupported": MODEL,
    "RemoteFailed": MODEL,
    "RemoteRefused": MODEL,
    "RemoteUnreachable": CONNECTION,
    "Overloaded": CONNECTION,
    "ShuttingDown": CONNECTION,
    "Disconnected": CONNECTION,
    "Unreachable": CONNECTION,
    "Timeout": TIMEOUT,
    "NoneChosen": NONE_CHOSEN,
    "InvalidParams": USAGE,
    "InvalidRequest": USAGE,
    "ParseError": USAGE,
    "SessionNotFound": USAGE,
    "StorageFailed": UNKNOWN,
    "RequestCancelled": INTERRUPTED,
}


def for_kind(kind: str) -> int:
    """The exit code of an error kind; UNKNOWN for a kind that this version does not know."""
    return _BY_KIND.get(kind, UNKNOWN)
