"""Reads a GGUF's header: every count and length is compared with the file's size before it is used.

The file is read, never mapped: one that is truncated meanwhile would end the daemon with SIGBUS. Nothing in it makes us
keep or read more than a bounded number of bytes; arrays of numbers are skipped by arithmetic, those of strings (a
vocabulary) by their lengths alone.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from threadrunner.daemon.gguf.tables import ARRAY, BOOL, SCALARS, STRING, TENSOR_TYPES
from threadrunner.system import files

# Above everything that has been published, below everything that would take the daemon long.
MAX_KEYS = 4096
MAX_TENSORS = 1 << 16
MAX_STRINGS = 1 << 22
"""In one array."""
MAX_TEXT_BYTES = 16 << 20
MAX_KEY_BYTES = 1 << 16
MAX_LISTED = 4096
"""Numbers in an array that is kept; hyper-parameters by layer have a few hundred at most."""

_BLOCK = 1 << 20
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_MAX_NAME_BYTES, _MAX_DIMS = 63, 4  # ggml's own
_INT64_MAX = 2**63 - 1


class Damaged(Exception):
    """The file breaks GGUF's rules; the text says which, and where."""


class Incomplete(Damaged):
    """What is there is right, but the file ends too early: a download or a copy that was cut, or is still running."""


class Array(NamedTuple):
    """An array's place in the file, as byte offsets, and the type and number of its elements."""

    kind: int
    length: int
    start: int
    end: int
    numbers: tuple[int | float, ...] = ()
    """The elements, if they are numbers and few."""


class Tensor(NamedTuple):
    """What the header says of one tensor."""

    name: str
    shape: tuple[int, ...]
    kind: int
    elements: int
    size: int
    """Bytes of its data."""


class Header(NamedTuple):
    """All keys and tensors of a file."""

    values: dict[str, tuple[int, object]]
    """By key: the type's number, and an int, float, str or Array."""
    tensors: list[Tensor]
    end: int
    """The file's minimum size in bytes."""

    def text(self, key: str) -> str | None:
        """The string under `key`. Raises Damaged if it is not a string."""
        kind, value = self.values.get(key, (STRING, None))
        if kind != STRING:
            raise Damaged(f"{key} is not a text")
        assert value is None or isinstance(value, str)
        return value

    def integer(self, key: str) -> int | None:
        """The integer under `key`. Raises Damaged if it is not an integer."""
        kind, value = self.values.get(key, (4, None))
        if value is not None and (not isinstance(value, int) or kind == BOOL):
            raise Damaged(f"{key} is not a whole number")
        return value


def read(fd: int, size: int) -> Header:
    """The header of an open file of `size` bytes. Raises Damaged, or OSError."""
    cursor = _Cursor(fd, size)
    if (magic := cursor.take(4)) != b"GGUF":
        raise Damaged(f"it is not a GGUF file: it begins with {magic!r}")
    version = cursor.number(_U32)
    if version not in (2, 3):
        raise Damaged(
            "it was made for a big-endian machine"
            if version and version & 0xFFFF == 0
            else f"its GGUF version is {version}; 2 and 3 can be read"
        )
    tensors, keys = cursor.number(_U64), cursor.number(_U64)
    cursor.expect(keys, 14, MAX_KEYS, "keys")  # the shortest: length, one letter, type, one byte
    cursor.expect(tensors, 33, MAX_TENSORS, "tensors")
    values = _values(cursor, keys)
    alignment = _alignment(values)
    listed, used = _tensors(cursor, tensors, alignment)
    return Header(values, listed, _padded(cursor.position, alignment) + used if listed else cursor.position)


def _values(cursor: _Cursor, count: int) -> dict[str, tuple[int, object]]:
    values: dict[str, tuple[int, object]] = {}
    for _ in range(count):
        start = cursor.position
        key = cursor.text(MAX_KEY_BYTES, "a key")
        if not key or not key.isprintable():
            raise Damaged(f"the key at byte {start} is {'empty' if not key else 'not text'}")
        if key in values:
            raise Damaged(f"the key {key} appears twice")
        kind = cursor.number(_U32)
        values[key] = kind, _array(cursor, key) if kind == ARRAY else _single(cursor, kind, key)
    return values


def _single(cursor: _Cursor, kind: int, key: str) -> object:
    if kind == STRING:
        return cursor.text(MAX_TEXT_BYTES, key)
    if kind not in SCALARS:
        raise Damaged(f"{key} has the type {kind}, which GGUF does not have")
    value = cursor.number(SCALARS[kind])
    if kind == BOOL and value > 1:
        raise Damaged(f"{key} is {value}, not true or false")
    return value


def _array(cursor: _Cursor, key: str) -> Array:
    kind, count = cursor.number(_U32), cursor.number(_U64)
    if kind == STRING:
        cursor.expect(count, 8, MAX_STRINGS, f"texts in {key}")
        start = cursor.position
        cursor.skip_strings(count, key)
        return Array(kind, count, start, cursor.position)
    if kind not in SCALARS:
        raise Damaged(
            f"{key} is an array of {'arrays' if kind == ARRAY else f'the type {kind}, which GGUF does not have'}"
        )
    form = SCALARS[kind]
    cursor.expect(count, form.size, cursor.size, f"numbers in {key}")
    start, numbers = cursor.position, ()
    if count <= MAX_LISTED:
        numbers = tuple(value for (value,) in form.iter_unpack(cursor.take(count * form.size)))
    else:
        cursor.skip(count * form.size)
    return Array(kind, count, start, cursor.position, numbers)


def _alignment(values: dict[str, tuple[int, object]]) -> int:
    kind, value = values.get("general.alignment", (4, 32))
    if kind != 4 or not isinstance(value, int) or value & (value - 1) or not 1 <= value <= 1 << 16:
        raise Damaged(f"general.alignment is {value}, not a power of two up to 65536")
    return value


def _tensors(cursor: _Cursor, count: int, alignment: int) -> tuple[list[Tensor], int]:
    """The tensors, and the bytes of all their data. ggml expects them one after the other, in order, without gaps."""
    tensors: list[Tensor] = []
    names: set[str] = set()
    used = 0
    for _ in range(count):
        name = cursor.text(_MAX_NAME_BYTES, "a tensor's name")
        if not name.isprintable() or not name:
            raise Damaged(f"the name of the tensor before byte {cursor.position} is {'not text' if name else 'empty'}")
        if name in names:
            raise Damaged(f"two tensors are called {name}")
        names.add(name)
        tensor, offset = _tensor(cursor, name)
        if offset != used:
            raise Damaged(f"the tensor {name} is at offset {offset}; it must be at {used}, right after the one before")
        used += _padded(tensor.size, alignment)
        tensors.append(tensor)
    if tensors:  # the padding after the last one is not needed, and some writers leave it out
        used -= _padded(tensors[-1].size, alignment) - tensors[-1].size
    return tensors, used


def _tensor(cursor: _Cursor, name: str) -> tuple[Tensor, int]:
    dims = cursor.number(_U32)
    if not 1 <= dims <= _MAX_DIMS:
        raise Damaged(f"the tensor {name} has {dims} dimensions, not 1 to {_MAX_DIMS}")
    shape = struct.unpack(f"<{dims}q", cursor.take(8 * dims))
    elements = 1
    for length in shape:
        elements *= length
        if length < 1 or elements > _INT64_MAX:
            raise Damaged(f"the tensor {name} has the shape {shape}")
    kind = cursor.number(_U32)
    known = TENSOR_TYPES.get(kind)
    if known is None:
        raise Damaged(f"the tensor {name} uses tensor type {kind}, which llama.cpp does not support")
    if shape[0] % known.block:
        raise Damaged(
            f"the tensor {name} has rows of {shape[0]} numbers; {known.name} needs multiples of {known.block}"
        )
    size = elements // known.block * known.size
    if size > _INT64_MAX:
        raise Damaged(f"the tensor {name} has the shape {shape}")
    return Tensor(name, shape, kind, elements, size), cursor.number(_U64)


def _padded(count: int, alignment: int) -> int:
    return (count + alignment - 1) // alignment * alignment


class _Cursor:
    """A place in the file that only moves forward, with a block of what follows it in memory."""

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._fd = fd
        self._block = b""
        self._block_start = 0
        self._index = 0
        """The place within the block."""

    @property
    def position(self) -> int:
        """Byte offset in the file."""
        return self._block_start + self._index

    def expect(self, count: int, min_bytes: int, max_count: int, what: str) -> None:
        """Raises Damaged if `count` things of at least `min_bytes` each cannot follow, or are more than `max_count`."""
        if count > max_count:
            raise Damaged(f"it claims to have {count} {what}")
        if count * min_bytes > self.size - self.position:
            raise Incomplete(f"it claims to have {count} {what}, but ends at byte {self.size}")

    def take(self, count: int) -> bytes:
        end = self._index + count
        if end > len(self._block):
            self._fill(count)
            end = self._index + count
        taken = self._block[self._index : end]
        self._index = end
        return taken

    def number(self, form: struct.Struct) -> int:
        """One number of the format `form`; a float if that says so."""
        value: int
        try:
            (value,) = form.unpack_from(self._block, self._index)
        except struct.error:
            self._fill(form.size)
            (value,) = form.unpack_from(self._block, self._index)
        self._index += form.size
        return value

    def text(self, max_bytes: int, what: str) -> str:
        length = self.number(_U64)
        if length > max_bytes:
            raise Damaged(f"{what} at byte {self.position} claims to have {length} bytes")
        return self.take(length).decode("utf-8", "replace")

    def skip(self, count: int) -> None:
        if count > self.size - self.position:
            raise Incomplete(f"it ends at byte {self.size}, within its header")
        self._index += count

    def skip_strings(self, count: int, what: str) -> None:
        """Move past `count` strings. A check spends its time in this loop: a vocabulary has 300,000 of them."""
        length_at = _U64.unpack_from
        left = count
        while left:
            self._fill(8)
            block, place = self._block, self._index
            done = 0
            try:
                for done in range(left):  # noqa: B007 - read after the loop
                    place += 8 + length_at(block, place)[0]
                done += 1
            except (struct.error, OverflowError):  # the block's end, or far after it
                pass
            left -= done
            self._index = place
            if self.position > self.size:
                raise Incomplete(f"a text in {what} ends after the file's end at byte {self.size}")

    def _fill(self, count: int) -> None:
        """Have at least `count` of the next bytes in memory. Raises Incomplete."""
        start = self.position
        if start + count > self.size:
            raise Incomplete(f"it ends at byte {self.size}, within its header")
        block = files.pread(self._fd, max(count, _BLOCK), start)
        if len(block) < count:
            raise Incomplete(f"it was cut to {start + len(block)} bytes while it was read")
        self._block_start, self._index, self._block = start, 0, block
