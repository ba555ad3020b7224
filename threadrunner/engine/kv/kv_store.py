"""KV state on disk: what was evaluated before the process ended need not be evaluated after it starts again.

A file is one sequence: magic, a hash of what it belongs to (model file, llama.cpp build), tokens, llama.cpp's state in
pieces, a checksum over all of it. llama.cpp trusts the state it is given, so nothing reaches it that did not pass the
checksum.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from threadrunner.engine.kv.buffers import Buffer
from threadrunner.engine.kv.prefix_cache import common_length

log = logging.getLogger("threadrunner.engine")

_HEAD = struct.Struct("<8s32sIIQ32s")
"""Magic, key, tokens, pieces, bytes after the head, checksum."""
_PIECE = struct.Struct("<IIQ")
"""First position, the one after the last, bytes of state."""
_MAGIC = b"TRKV0002"
_DIGEST_BYTES = 32
MIN_TOKENS = 64
"""Fewer are evaluated as fast as a file is read."""


class StatePiece(NamedTuple):
    """The state of the tokens at positions [begin, end); where the two are the same, what cannot be cut, after `end`
    tokens."""

    begin: int
    end: int
    state: Buffer


@dataclass(slots=True)
class Entry:
    """A file: the tokens whose state it holds, its pieces, and its bytes."""

    path: Path
    tokens: list[int]
    pieces: int
    size: int


class KvStore:
    """The folder of one model. `match` and `take` while it runs, `write` at its end: what was written is found by the
    next process, or after `scan`. A file that cannot be used is logged and deleted; nothing here raises OSError."""

    def __init__(self, folder: Path, belongs_to: str, max_bytes: int) -> None:
        """`belongs_to` names model and build: files of another are dropped."""
        self._folder = folder
        self._key = hashlib.sha256(belongs_to.encode()).digest()
        self._max_bytes = max_bytes
        self._entries: list[Entry] = []
        self.scan()

    def scan(self) -> None:
        """Find out what the folder holds; it is made if it is missing."""
        self._entries.clear()
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            files = sorted(self._folder.iterdir())
        except OSError as error:
            log.warning("no KV state is kept: %s", error)
            self._max_bytes = 0
            return
        for path in files:
            if path.suffix == ".tmp":
                _delete(path)  # a write that a crash cut short
            elif path.suffix == ".kv":
                self._index(path)

    def _index(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                magic, key, count, pieces, size, _ = _HEAD.unpack(file.read(_HEAD.size))
                data = file.read(4 * count)
            if magic != _MAGIC or key != self._key or len(data) != 4 * count:
                raise ValueError("of another model or version")
            if path.stat().st_size != _HEAD.size + size:
                raise ValueError("of another size than it says")
        except (OSError, ValueError, struct.error) as error:
            self._discard(path, str(error))
            return
        tokens = array("i")
        tokens.frombytes(data)
        self._entries.append(Entry(path, tokens.tolist(), pieces, _HEAD.size + size))

    def match(self, tokens: Sequence[int]) -> tuple[int, Entry | None]:
        """The entry with the longest prefix in common, and how many tokens that is."""
        found = ((common_length(entry.tokens, tokens), entry) for entry in self._entries)
        return max(found, key=lambda pair: pair[0], default=(0, None))

    def take(self, entry: Entry, allocate: Callable[[int], Buffer]) -> list[StatePiece] | None:
        """The entry's state, once: it is in the cache then. None when the file is not what it was."""
        self._entries.remove(entry)
        try:
            with entry.path.open("rb") as file:
                return _read(file, entry, allocate)
        except OSError as error:
            log.warning("%s: %s", entry.path.name, error)
        except (ValueError, struct.error) as error:
            self._discard(entry.path, str(error))
        return None

    def write(self, leaves: Iterable[tuple[list[int], Iterable[StatePiece]]]) -> int:
        """Keep these sequences, the first ones first, then files from before, within the bytes allowed. A leaf is its
        tokens and the pieces of its state, each asked for when the one before it is written. How many of the leaves
        were kept."""
        kept: set[Path] = set()
        room = self._max_bytes
        for tokens, pieces in leaves:
            if len(tokens) < MIN_TOKENS or room <= 0:
                continue
            path = self._folder / (hashlib.sha256(array("i", tokens).tobytes()).hexdigest()[:32] + ".kv")
            try:
                size = self._write(path, tokens, pieces, room)
            except OSError as error:
                log.warning("KV state is not kept: %s", error)
                break
            if size:
                room -= size
                kept.add(path)
        for _, size, path in sorted(self._others(kept), reverse=True):
            room -= size
            if room < 0:
                _delete(path)
        return len(kept)

    def _others(self, kept: set[Path]) -> Iterator[tuple[float, int, Path]]:
        """When each of the other files was written, and its bytes; another process may be deleting them."""
        for path in self._folder.glob("*.kv"):
            if path not in kept:
                with contextlib.suppress(OSError):
                    status = path.stat()
                    yield status.st_mtime, status.st_size, path

    def _write(self, path: Path, tokens: list[int], pieces: Iterable[StatePiece], room: int) -> int:
        """Bytes of the file; 0 where it is over `room`, or not all of the state was there. Raises OSError."""
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        draft.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
                size = _fill(file, self._key, tokens, pieces, room)
            if size:
                os.replace(draft, path)
            return size
        finally:
            draft.unlink(missing_ok=True)

    @staticmethod
    def _discard(path: Path, why: str) -> None:
        log.warning("dropping the KV file %s: %s", path.name, why)
        _delete(path)


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _fill(file: BinaryIO, key: bytes, tokens: list[int], pieces: Iterable[StatePiece], room: int) -> int:
    """Write one whole file; its bytes, 0 where it is not to be kept. The head comes last: it has the checksum."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    size = count = end = 0

    def put(data: bytes | memoryview) -> None:
        nonlocal size
        digest.update(data)
        file.write(data)
        size += len(data)

    file.seek(_HEAD.size)
    put(array("i", tokens).tobytes())
    for piece in pieces:
        put(_PIECE.pack(piece.begin, piece.end, piece.state.size))
        put(piece.state.view())
        count, end = count + 1, max(end, piece.end)
        if _HEAD.size + size > room:
            return 0
    if end != len(tokens):
        return 0
    head = _HEAD.pack(_MAGIC, key, len(tokens), count, size, bytes(_DIGEST_BYTES))[:-_DIGEST_BYTES]
    digest.update(head)
    file.seek(0)
    file.write(head + digest.digest())
    return _HEAD.size + size


def _read(file: BinaryIO, entry: Entry, allocate: Callable[[int], Buffer]) -> list[StatePiece]:
    """Raises OSError, and ValueError or struct.error for a file that is not as it was written."""
    head = file.read(_HEAD.size)
    tokens = file.read(4 * len(entry.tokens))
    digest = hashlib.blake2b(tokens, digest_size=_DIGEST_BYTES)
    pieces = []
    left = entry.size - _HEAD.size - len(tokens)
    for _ in range(entry.pieces):
        place = file.read(_PIECE.size)
        begin, end, size = _PIECE.unpack(place)
        left -= _PIECE.size + size
        if left < 0:
            raise ValueError("the checksum does not fit")
        state = allocate(size)
        if file.readinto(state.view()) != size:  # type: ignore[attr-defined]
            raise ValueError("it is cut short")
        digest.update(place)
        digest.update(state.view())
        pieces.append(StatePiece(begin, end, state))
    digest.update(head[:-_DIGEST_BYTES])
    if left or digest.digest() != head[-_DIGEST_BYTES:]:
        raise ValueError("the checksum does not fit")
    return pieces
