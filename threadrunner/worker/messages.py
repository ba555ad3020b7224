"""What daemon and worker say to each other: beside backends.base and vitals, the only module that both import.

A frame is a 4-byte big-endian length and one msgpack message; pieces of text have a shorter form. A backend's events
are messages as they are, its Finished excepted: params and results travel as raw JSON, since each side knows their type
from the method, and the daemon passes most of them on unread.
"""

from __future__ import annotations

import os
import struct
from typing import Any

import msgspec
from msgspec import Struct

from threadrunner.api.chat import PieceKind
from threadrunner.api.names import encodable_value
from threadrunner.backends.base import Failed, ModelFacts, ModelSpec, Piece, Progress

FRAME_LIMIT = 64 << 20
_SIZE = struct.Struct(">I")


class Load(Struct, tag=True):
    """First message to a worker: which backend, which model. Made by `load`, read by `spec_of`."""

    backend: str
    spec: ModelSpec
    """Without its paths."""
    path: bytes
    """As the system has them: a file's name need not be UTF-8, as a text in msgpack must be."""
    cache_dir: bytes
    draft_path: bytes
    mmproj_path: bytes = b""
    adapter_paths: list[bytes] = []


class Submit(Struct, tag=True):
    """`params` is JSON of the method's params type."""

    id: int
    method: str
    priority: str
    params: bytes


class Cancel(Struct, tag=True):
    """Answered by LetGo; nothing else about `id` follows."""

    id: int


class Hurry(Struct, tag=True):
    """End whatever step is under way, as far as the backend can: its requests go on with the next. For the listening
    thread alone."""


class Stop(Struct, tag=True):
    """End: keep what should be kept, then exit 0."""


ToWorker = Load | Submit | Cancel | Hurry | Stop


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


class Candidate(Struct, tag=True):
    """An answer of a request with a `vote` is complete; `result` is JSON of a Generated with this answer, which is also
    its only choice, with its index and key."""

    id: int
    result: bytes


class Done(Struct, tag=True):
    """A Finished; `result` is JSON of the method's result type."""

    id: int
    result: bytes


class LetGo(Struct, tag=True):
    """A cancelled request is forgotten; the computing thread says so, which shows that it does not hang."""

    id: int


class Gauges(Struct, tag=True):
    """What an Observable backend says of itself."""

    values: dict[str, int | float]


FromWorker = Loading | Ready | LoadFailed | Piece | Progress | Candidate | Done | Failed | LetGo | Gauges

_PATHS = ("path", "cache_dir", "draft_path", "mmproj_path")

_encoder = msgspec.msgpack.Encoder()
to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def load(backend: str, spec: ModelSpec) -> Load:
    adapters = [msgspec.structs.replace(adapter, path="") for adapter in spec.adapters]
    bare = msgspec.structs.replace(spec, adapters=adapters, **dict.fromkeys(_PATHS, ""))
    path, cache_dir, draft_path, mmproj_path = (os.fsencode(getattr(spec, name)) for name in _PATHS)
    beside = [os.fsencode(adapter.path) for adapter in spec.adapters]
    return Load(backend, bare, path, cache_dir, draft_path, mmproj_path, beside)


def spec_of(load: Load) -> ModelSpec:
    paths = {name: os.fsdecode(getattr(load, name)) for name in _PATHS}
    pairs = zip(load.spec.adapters, load.adapter_paths, strict=True)
    adapters = [msgspec.structs.replace(adapter, path=os.fsdecode(path)) for adapter, path in pairs]
    return msgspec.structs.replace(load.spec, adapters=adapters, **paths)


def pack(message: ToWorker | FromWorker) -> bytes:
    """One frame. Raises ValueError where it would be over FRAME_LIMIT."""
    if type(message) is Piece and message.call is None:
        return _pack_piece(message)
    try:
        body = _encoder.encode(message)
    except UnicodeEncodeError:  # e.g. an error that names a file whose name is not UTF-8
        body = _encoder.encode(encodable_value(msgspec.to_builtins(message, builtin_types=[bytes])))
    return _frame(body)


def _frame(body: bytes) -> bytes:
    if len(body) > FRAME_LIMIT:
        raise ValueError(_too_long(len(body)))
    return _SIZE.pack(len(body)) + body


def _too_long(size: int) -> str:
    return f"a message of {size} bytes; the limit is {FRAME_LIMIT}"


PIECE = ord("p")
"""The first byte of a piece's body; no msgpack map begins with it."""
_PIECE = struct.Struct(">BQHB")
_PIECE_FRAME = struct.Struct(">IBQHB")
_KINDS: tuple[PieceKind, ...] = ("text", "reasoning", "confidence")


def _pack_piece(piece: Piece) -> bytes:
    """Beside the text as JSON, which the daemon puts into its own message unread, there is only what says whose it is:
    a token is the one message whose cost counts."""
    try:
        text = msgspec.json.encode(piece.text)
    except UnicodeEncodeError:
        text = msgspec.json.encode(encodable_value(piece.text))
    size = len(text) - 2 + _PIECE.size
    if size > FRAME_LIMIT:
        raise ValueError(_too_long(size))
    return _PIECE_FRAME.pack(size, PIECE, piece.id, piece.index, _KINDS.index(piece.kind)) + text[1:-1]


def unpack_piece(body: bytes) -> tuple[int, int, bytes, PieceKind]:
    """Of a body that begins with PIECE: request, candidate, the text as JSON has it between the quotes, kind."""
    _, id, index, kind = _PIECE.unpack_from(body)
    return id, index, body[_PIECE.size :], _KINDS[kind]


class Unpacker:
    """Bytes in, whole message bodies out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray, count: int | None = None) -> list[bytes]:
        """The bodies that are complete now, with the first `count` bytes of `data`, or all. Raises ValueError for a
        length over FRAME_LIMIT."""
        if count is None:
            count = len(data)
        if not self._buffer and count > 4 and _SIZE.unpack_from(data)[0] == count - 4:  # nearly always: one token
            return [bytes(data[4:count])]
        buffer: bytes | bytearray = data
        if self._buffer:
            self._buffer += memoryview(data)[:count]
            buffer, count = self._buffer, len(self._buffer)
        bodies: list[bytes] = []
        at = 0
        while count - at >= 4:
            (size,) = _SIZE.unpack_from(buffer, at)
            if size > FRAME_LIMIT:
                raise ValueError(f"a message of {size} bytes; the limit is {FRAME_LIMIT}")
            if count - at - 4 < size:
                break
            bodies.append(bytes(buffer[at + 4 : at + 4 + size]))
            at += 4 + size
        if buffer is self._buffer:
            del self._buffer[:at]
        elif at < count:
            self._buffer += memoryview(data)[at:count]
        return bodies
