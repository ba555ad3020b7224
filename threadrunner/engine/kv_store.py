"""KV state on disk: what was evaluated before the process ended need not be evaluated after it starts again.

A file is one sequence: magic, a hash of what it belongs to (model file, llama.cpp build), tokens, llama.cpp's state, a
checksum over all of it. llama.cpp trusts the state it is given, so nothing reaches it that did not pass the checksum.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from threadrunner.engine.prefix_cache import common_length

log = logging.getLogger("threadrunner.engine")

_HEAD = struct.Struct("<8s32sIQ32s")
_MAGIC = b"TRKV0001"
MIN_TOKENS = 64
"""Fewer are evaluated as fast as a file is read."""


@dataclass(slots=True)
class Entry:
    """A file: the tokens whose state it holds, and its bytes."""

    path: Path
    tokens: list[int]
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
                path.unlink(missing_ok=True)  # a write that a crash cut short
            elif path.suffix == ".kv":
                self._index(path)

    def _index(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                magic, key, count, size, _ = _HEAD.unpack(file.read(_HEAD.size))
                data = file.read(4 * count)
            whole = _HEAD.size + 4 * count + size
            if magic != _MAGIC or key != self._key or len(data) != 4 * count or path.stat().st_size != whole:
                raise ValueError("of another model, version or size")
        except (OSError, ValueError, struct.error) as error:
            self._discard(path, str(error))
            return
        tokens = array("i")
        tokens.frombytes(data)
        self._entries.append(Entry(path, tokens.tolist(), whole))

    def match(self, tokens: Sequence[int]) -> tuple[int, Entry | None]:
        """The entry with the longest prefix in common, and how many tokens that is."""
        found = ((common_length(entry.tokens, tokens), entry) for entry in self._entries)
        return max(found, key=lambda pair: pair[0], default=(0, None))

    def take(self, entry: Entry) -> bytes | None:
        """The entry's state, once: it is in the cache then. None when the file is not what it was."""
        self._entries.remove(entry)
        try:
            data = entry.path.read_bytes()
        except OSError as error:
            log.warning("%s: %s", entry.path.name, error)
            return None
        if len(data) != entry.size or _digest(data) != data[_HEAD.size - 32 : _HEAD.size]:
            self._discard(entry.path, "the checksum does not fit")
            return None
        return data[_HEAD.size + 4 * len(entry.tokens) :]

    def write(self, leaves: Sequence[tuple[list[int], Callable[[], bytes]]]) -> int:
        """Keep these sequences, the first ones first, then files from before, within the bytes allowed. A leaf is its
        tokens and a function that reads its state. How many of the leaves were kept."""
        kept: set[Path] = set()
        room = self._max_bytes
        for tokens, read_state in leaves:
            if len(tokens) < MIN_TOKENS or room <= 0:
                continue
            path = self._folder / (hashlib.sha256(array("i", tokens).tobytes()).hexdigest()[:32] + ".kv")
            data = self._pack(tokens, read_state())
            if len(data) > room:
                continue
            try:
                _write_private(path, data)
            except OSError as error:
                log.warning("KV state is not kept: %s", error)
                break
            room -= len(data)
            kept.add(path)
        for path in sorted(self._folder.glob("*.kv"), key=lambda p: p.stat().st_mtime, reverse=True):
            if path not in kept:
                room -= path.stat().st_size
                if room < 0:
                    path.unlink(missing_ok=True)
        return len(kept)

    def _pack(self, tokens: list[int], state: bytes) -> bytes:
        head = _HEAD.pack(_MAGIC, self._key, len(tokens), len(state), bytes(32))
        data = head + array("i", tokens).tobytes() + state
        return data[: _HEAD.size - 32] + _digest(data) + data[_HEAD.size :]

    @staticmethod
    def _discard(path: Path, why: str) -> None:
        log.warning("dropping the KV file %s: %s", path.name, why)
        path.unlink(missing_ok=True)


def _digest(data: bytes) -> bytes:
    """Over everything but the digest's own place."""
    digest = hashlib.blake2b(data[: _HEAD.size - 32], digest_size=32)
    digest.update(memoryview(data)[_HEAD.size :])
    return digest.digest()


def _write_private(path: Path, data: bytes) -> None:
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    os.replace(draft, path)
