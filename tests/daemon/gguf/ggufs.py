"""GGUF files for tests: small ones made here, and the places of every field in a real one's header.

Shares no code with the product's reader, so a mistake in one shows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT, LIST = 8, 9


class Raw(NamedTuple):
    """A value whose type and bytes a test chooses."""

    kind: int
    data: bytes


class Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...] = (32,)
    kind: int = 0
    offset: int | None = None
    size: int = 128


LLAMA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "llama.block_count": 1,
    "llama.context_length": 64,
    "llama.embedding_length": 32,
    "llama.attention.head_count": 2,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "b", "<|fim_suffix|>"],
    "tokenizer.ggml.token_type": [1, 1, 3],
}
WEIGHTS = [Tensor("token_embd.weight", (32, 3), size=384), Tensor("output_norm.weight")]


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def typed(value: Any) -> Raw:  # noqa: PLR0911 - one return for each type
    """As the usual writers would store it."""
    match value:
        case Raw():
            return value
        case str():
            return Raw(TEXT, text(value))
        case bool():
            return Raw(7, bytes([value]))
        case int():
            return Raw(4, struct.pack("<I", value))
        case float():
            return Raw(6, struct.pack("<f", value))
        case [str(), *_]:
            return Raw(LIST, struct.pack("<IQ", TEXT, len(value)) + b"".join(map(text, value)))
        case [float(), *_]:
            return Raw(LIST, struct.pack(f"<IQ{len(value)}f", 6, len(value), *value))
        case list():
            return Raw(LIST, struct.pack(f"<IQ{len(value)}i", 5, len(value), *value))
    raise TypeError(value)


def made(
    changes: Mapping[str, Any] = {},
    tensors: list[Tensor] = WEIGHTS,
    *,
    version: int = 3,
    keys: int | None = None,
    count: int | None = None,
    extra: bytes = b"",
) -> bytes:
    """A tiny model with those values changed (None: left out). `keys` and `count` are what the header claims."""
    values = {key: value for key, value in {**LLAMA, **changes}.items() if value is not None}
    claimed = len(values) + (1 if extra else 0) if keys is None else keys
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors) if count is None else count, claimed)
    for key, value in values.items():
        kind, data = typed(value)
        head += text(key) + struct.pack("<I", kind) + data
    head += extra
    used = 0
    for tensor in tensors:
        offset = used if tensor.offset is None else tensor.offset
        head += text(tensor.name) + struct.pack(f"<I{len(tensor.shape)}q", len(tensor.shape), *tensor.shape)
        head += struct.pack("<IQ", tensor.kind, offset)
        used += -(-tensor.size // 32) * 32
    return head + bytes(-len(head) % 32) + bytes(used)


class Field(NamedTuple):
    """A number in a header: what it is, where, and of how many bytes."""

    name: str
    at: int
    width: int


def fields(path: Path) -> tuple[list[Field], int]:
    """All numbers in a healthy file's header, and where the tensors' data begins. Of a long list, three entries."""
    with path.open("rb") as file:
        walk = _Walk(file.read(64 << 20))
    return list(walk.header()), walk.at


class _Walk:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, name: str, width: int) -> Field:
        field = Field(name, self.at, width)
        self.at += width
        return field

    def value(self, field: Field) -> int:
        return int.from_bytes(self.data[field.at : field.at + field.width], "little")

    def text(self, name: str) -> Iterator[Field]:
        length = self.number(f"{name}: length", 8)
        yield length
        if self.value(length):
            yield Field(f"{name}: first letter", self.at, 1)
        self.at += self.value(length)

    def header(self) -> Iterator[Field]:
        yield self.number("magic", 4)
        yield self.number("version", 4)
        tensors, keys = self.number("tensors", 8), self.number("keys", 8)
        yield from (tensors, keys)
        for index in range(self.value(keys)):
            yield from self.text(f"key {index}")
            kind = self.number(f"key {index}: type", 4)
            yield kind
            yield from self.content(f"key {index}", self.value(kind))
        for index in range(self.value(tensors)):
            yield from self.tensor(f"tensor {index}")
        self.at += -self.at % 32

    def content(self, name: str, kind: int) -> Iterator[Field]:
        if kind == TEXT:
            yield from self.text(f"{name}: value")
        elif kind == LIST:
            of, length = self.number(f"{name}: type within", 4), self.number(f"{name}: entries", 8)
            yield from (of, length)
            shown = {0, self.value(length) // 2, self.value(length) - 1}
            for index in range(self.value(length)):
                entry = list(self.content(f"{name}: entry {index}", self.value(of)))
                if index in shown:
                    yield from entry
        else:
            yield self.number(f"{name}: value", WIDTHS[kind])

    def tensor(self, name: str) -> Iterator[Field]:
        yield from self.text(name)
        dims = self.number(f"{name}: dimensions", 4)
        yield dims
        for index in range(self.value(dims)):
            yield self.number(f"{name}: length {index}", 8)
        yield self.number(f"{name}: type", 4)
        yield self.number(f"{name}: offset", 8)
