"""Reads a GGUF's header: every count and length is held against the file's size before it is believed.

The file is read, never mapped: one that is cut while we look would end the daemon with SIGBUS. Nothing in it makes us
keep or read more than a bounded number of bytes; arrays of numbers are passed over by arithmetic, those of strings (a
vocabulary) by their lengths alone.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from threadrunner.daemon.gguf.tables import ARRAY, BOOL, SCALARS, STRING, TENSOR_TYPES

# Above everything that has been published, below everything that would take the daemon long.
MOST_KEYS = 4096
MOST_TENSORS = 1 << 16
MOST_STRINGS = 1 << 22
MOST_TEXT = 16 << 20
MOST_KEY = 1 << 16
MOST_LISTED = 4096
"""Numbers in an array that is kept; hyper-parameters by layer have at most some hundred."""

_BLOCK = 1 << 20
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_MAX_NAME, _MAX_DIMS = 63, 4  # ggml's own
_INT64_MAX = 2**63 - 1


class Damaged(Exception):
    """The file breaks GGUF's rules; the text says which, and where."""


class Incomplete(Damaged):
    """It is right as far as it goes, but ends too early: a download or a copy that was cut, or still runs."""


class Array(NamedTuple):
    kind: int
    length: int
    start: int
    end: int
    """Where its elements lie in the file."""
    numbers: tuple[int | float, ...] = ()
    """The elements, if they are numbers and few."""


class Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]
    kind: int
    elements: int
    size: int


class Header(NamedTuple):
    values: dict[str, tuple[int, object]]
    """By key: the type's number, and an int, float, str or Array."""
    tensors: list[Tensor]
    end: int
    """The file's least size."""

    def text(self, key: str) -> str | None:
        """The string under `key`. Raises Damaged where it is no string."""
        kind, value = self.values.get(key, (STRING, None))
        if kind != STRING:
            raise Damaged(f"{key} is not a text")
        assert value is None or isinstance(value, str)
        return value

    def whole(self, key: str) -> int | None:
        """The integer under `key`. Raises Damaged where it is no integer."""
        kind, value = self.values.get(key, (4, None))
        if value is not None and (not isinstance(value, int) or kind == BOOL):
            raise Damaged(f"{key} is not a whole number")
        return value


def read(fd: int, size: int) -> Header:
    """The header of an open file of `size` bytes. Raises Damaged, or OSError."""
    at = _Cursor(fd, size)
    if (magic := at.take(4)) != b"GGUF":
        raise Damaged(f"it is no GGUF file: it begins with {magic!r}")
    version = at.number(_U32)
    if version not in (2, 3):
        raise Damaged(
            "it was made for a big-endian machine"
            if version and version & 0xFFFF == 0
            else f"its GGUF version is {version}; 2 and 3 can be read"
        )
    tensors, keys = at.number(_U64), at.number(_U64)
    at.expect(keys, 14, MOST_KEYS, "keys")  # the shortest: length, one letter, type, one byte
    at.expect(tensors, 33, MOST_TENSORS, "tensors")
    values = _values(at, keys)
    alignment = _alignment(values)
    listed, used = _tensors(at, tensors, alignment)
    return Header(values, listed, _padded(at.at, alignment) + used if listed else at.at)


def _values(at: _Cursor, count: int) -> dict[str, tuple[int, object]]:
    values: dict[str, tuple[int, object]] = {}
    for _ in range(count):
        place = at.at
        key = at.text(MOST_KEY, "a key")
        if not key or not key.isprintable():
            raise Damaged(f"the key at byte {place} is {'empty' if not key else 'not text'}")
        if key in values:
            raise Damaged(f"the key {key} stands in it twice")
        kind = at.number(_U32)
        values[key] = kind, _array(at, key) if kind == ARRAY else _single(at, kind, key)
    return values


def _single(at: _Cursor, kind: int, key: str) -> object:
    if kind == STRING:
        return at.text(MOST_TEXT, key)
    if kind not in SCALARS:
        raise Damaged(f"{key} has the type {kind}, which GGUF does not have")
    value = at.number(SCALARS[kind])
    if kind == BOOL and value > 1:
        raise Damaged(f"{key} is {value}, not true or false")
    return value


def _array(at: _Cursor, key: str) -> Array:
    kind, count = at.number(_U32), at.number(_U64)
    if kind == STRING:
        at.expect(count, 8, MOST_STRINGS, f"texts in {key}")
        start = at.at
        at.skip_strings(count, key)
        return Array(kind, count, start, at.at)
    if kind not in SCALARS:
        raise Damaged(f"{key} is an array of {'arrays' if kind == ARRAY else f'the type {kind}, which GGUF has not'}")
    form = SCALARS[kind]
    at.expect(count, form.size, at.size, f"numbers in {key}")
    start, numbers = at.at, ()
    if count <= MOST_LISTED:
        numbers = tuple(value for (value,) in form.iter_unpack(at.take(count * form.size)))
    else:
        at.skip(count * form.size)
    return Array(kind, count, start, at.at, numbers)


def _alignment(values: dict[str, tuple[int, object]]) -> int:
    kind, value = values.get("general.alignment", (4, 32))
    if kind != 4 or not isinstance(value, int) or value & (value - 1) or not 1 <= value <= 1 << 16:
        raise Damaged(f"general.alignment is {value}, not a power of two up to 65536")
    return value


def _tensors(at: _Cursor, count: int, alignment: int) -> tuple[list[Tensor], int]:
    """The tensors, and the bytes of all their data. ggml wants them one after the other, in order, without gaps."""
    tensors: list[Tensor] = []
    names: set[str] = set()
    used = 0
    for _ in range(count):
        name = at.text(_MAX_NAME, "a tensor's name")
        if not name.isprintable() or not name:
            raise Damaged(f"the name of the tensor before byte {at.at} is {'not text' if name else 'empty'}")
        if name in names:
            raise Damaged(f"two tensors are called {name}")
        names.add(name)
        tensor, offset = _tensor(at, name)
        if offset != used:
            raise Damaged(f"the tensor {name} is said to lie at {offset}; it must lie at {used}, behind the one before")
        used += _padded(tensor.size, alignment)
        tensors.append(tensor)
    if tensors:  # nobody needs the padding behind the last one, and some writers leave it out
        used -= _padded(tensors[-1].size, alignment) - tensors[-1].size
    return tensors, used


def _tensor(at: _Cursor, name: str) -> tuple[Tensor, int]:
    dims = at.number(_U32)
    if not 1 <= dims <= _MAX_DIMS:
        raise Damaged(f"the tensor {name} has {dims} dimensions, not 1 to {_MAX_DIMS}")
    shape = struct.unpack(f"<{dims}q", at.take(8 * dims))
    elements = 1
    for length in shape:
        elements *= length
        if length < 1 or elements > _INT64_MAX:
            raise Damaged(f"the tensor {name} has the shape {shape}")
    kind = at.number(_U32)
    known = TENSOR_TYPES.get(kind)
    if known is None:
        raise Damaged(f"the tensor {name} has the type {kind}, which llama.cpp does not have (any more)")
    if shape[0] % known.block:
        raise Damaged(
            f"the tensor {name} has rows of {shape[0]} numbers; {known.name} wants multiples of {known.block}"
        )
    size = elements // known.block * known.size
    if size > _INT64_MAX:
        raise Damaged(f"the tensor {name} has the shape {shape}")
    return Tensor(name, shape, kind, elements, size), at.number(_U64)


def _padded(count: int, alignment: int) -> int:
    return (count + alignment - 1) // alignment * alignment


class _Cursor:
    """A place in the file that only goes forward, with a block of what follows it in memory."""

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._fd = fd
        self._block = b""
        self._start = 0
        self._in = 0

    @property
    def at(self) -> int:
        return self._start + self._in

    def expect(self, count: int, least: int, most: int, what: str) -> None:
        """Raises Damaged where so many things of at least so many bytes cannot follow."""
        if count > most:
            raise Damaged(f"it claims to have {count} {what}")
        if count * least > self.size - self.at:
            raise Incomplete(f"it claims to have {count} {what}, but ends at byte {self.size}")

    def take(self, count: int) -> bytes:
        end = self._in + count
        if end > len(self._block):
            self._fill(count)
            end = self._in + count
        taken = self._block[self._in : end]
        self._in = end
        return taken

    def number(self, form: struct.Struct) -> int:
        """Really int or float, as `form` says."""
        value: int
        try:
            (value,) = form.unpack_from(self._block, self._in)
        except struct.error:
            self._fill(form.size)
            (value,) = form.unpack_from(self._block, self._in)
        self._in += form.size
        return value

    def text(self, most: int, what: str) -> str:
        length = self.number(_U64)
        if length > most:
            raise Damaged(f"{what} at byte {self.at} claims to have {length} bytes")
        return self.take(length).decode("utf-8", "replace")

    def skip(self, count: int) -> None:
        if count > self.size - self.at:
            raise Incomplete(f"it ends at byte {self.size}, within its header")
        self._in += count

    def skip_strings(self, count: int, what: str) -> None:
        """Past so many strings. This loop is what a check takes its time for: a vocabulary has 300,000 of them."""
        length_at = _U64.unpack_from
        left = count
        while left:
            self._fill(8)
            block, place = self._block, self._in
            done = 0
            try:
                for done in range(left):  # noqa: B007 - read behind the loop
                    place += 8 + length_at(block, place)[0]
                done += 1
            except (struct.error, OverflowError):  # the block's end, or far behind it
                pass
            left -= done
            self._in = place
            if self.at > self.size:
                raise Incomplete(f"a text in {what} ends behind the file's end at byte {self.size}")

    def _fill(self, least: int) -> None:
        """Have at least so many bytes behind the cursor in memory. Raises Incomplete."""
        start = self.at
        if start + least > self.size:
            raise Incomplete(f"it ends at byte {self.size}, within its header")
        block = os.pread(self._fd, max(least, _BLOCK), start)
        if len(block) < least:
            raise Incomplete(f"it was cut to {start + len(block)} bytes while it was read")
        self._start, self._in, self._block = start, 0, block
