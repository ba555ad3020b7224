"""What daemon and worker say to each other: beside backends.base, the only module that both import.

A frame is a 4-byte big-endian length and one msgpack message. A backend's events are messages as they are, its
Finished excepted: params and results travel as raw JSON, since each side knows their type from the method, and the
daemon passes most of them on unread.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec
from msgspec import Struct

from threadrunner.backends.base import Failed, ModelFacts, ModelSpec, Piece, Progress

FRAME_LIMIT = 64 << 20


class Load(Struct, tag=True):
    """First message to a worker: which backend, which model."""

    backend: str
    spec: ModelSpec
    path: bytes = b""
    """The file's path, which need not be UTF-8. `spec` has it too once it is read by `spec_of`."""


def load(backend: str, spec: ModelSpec) -> Load:
    return Load(backend, msgspec.structs.replace(spec, path=""), os.fsencode(spec.path))


def spec_of(message: Load) -> ModelSpec:
    return msgspec.structs.replace(message.spec, path=os.fsdecode(message.path)) if message.path else message.spec


class Submit(Struct, tag=True):
    """`params` is JSON of the method's params type."""

    id: int
    method: str
    priority: str
    params: bytes


class Cancel(Struct, tag=True):
    """No answer follows, nor anything else about `id`."""

    id: int


class Stop(Struct, tag=True):
    """End: keep what should be kept, then exit 0."""


ToWorker = Load | Submit | Cancel | Stop


class Loading(Struct, tag=True):
    """How far the load is, in the backend's own unit."""

    done: int
    total: int


class Ready(Struct, tag=True):
    """The model is loaded."""

    facts: ModelFacts


class LoadFailed(Struct, tag=True):
    """An ApiError by its code; the worker ends after it."""

    code: int
    message: str
    data: dict[str, Any]


class Done(Struct, tag=True):
    """A Finished; `result` is JSON of the method's result type."""

    id: int
    result: bytes


class Gauges(Struct, tag=True):
    """What an Observable backend says of itself."""

    values: dict[str, int | float]


FromWorker = Loading | Ready | LoadFailed | Piece | Progress | Done | Failed | Gauges

_encoder = msgspec.msgpack.Encoder()
to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def pack(message: ToWorker | FromWorker) -> bytes:
    """One frame. Raises ValueError where it would be over FRAME_LIMIT."""
    try:
        body = _encoder.encode(message)
    except UnicodeEncodeError:  # e.g. an error that names a file whose name is not UTF-8
        body = _encoder.encode(_encodable(msgspec.to_builtins(message, builtin_types=[bytes])))
    if len(body) > FRAME_LIMIT:
        raise ValueError(f"a message of {len(body)} bytes; the limit is {FRAME_LIMIT}")
    return len(body).to_bytes(4, "big") + body


def _encodable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_encodable(key): _encodable(member) for key, member in value.items()}
        case list():
            return [_encodable(member) for member in value]
    return value


class Unpacker:
    """Bytes in, whole message bodies out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete now. Raises ValueError for a length over FRAME_LIMIT."""
        self._buffer += data
        bodies: list[bytes] = []
        at = 0
        while len(self._buffer) - at >= 4:
            size = int.from_bytes(self._buffer[at : at + 4], "big")
            if size > FRAME_LIMIT:
                raise ValueError(f"a message of {size} bytes; the limit is {FRAME_LIMIT}")
            if len(self._buffer) - at - 4 < size:
                break
            bodies.append(bytes(self._buffer[at + 4 : at + 4 + size]))
            at += 4 + size
        del self._buffer[:at]
        return bodies
