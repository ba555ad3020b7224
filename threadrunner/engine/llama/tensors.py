"""How large each layer of a model is, read from its file's header before anything is loaded."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from threadrunner.engine.llama import ggml
from threadrunner.engine.llama.errors import LoadError

_WHOLE = {0: ctypes.c_uint8, 1: ctypes.c_int8, 2: ctypes.c_uint16, 3: ctypes.c_int16, 4: ctypes.c_uint32,
          5: ctypes.c_int32, 10: ctypes.c_uint64, 11: ctypes.c_int64}  # fmt: skip
"""GGUF's number for a type of whole numbers -> ctypes'."""
_TEXT, _ARRAY = 8, 9
_BLOCK = re.compile(r"blk\.(\d+)\.")
_EXPERTS = re.compile(r"\.ffn_(up|down|gate|gate_up)_(ch|)exps")
"""As llama.cpp has it for its --cpu-moe."""
_PART = re.compile(r"-(\d{5})-of-(\d{5})(\.[^.]*)?$")


@dataclass(frozen=True, slots=True)
class Layer:
    """Bytes of one layer's weights, and what its part of the KV cache has for one token."""

    dense: int
    experts: int
    keys: int = 0
    """Numbers, of whatever type the cache is."""
    values: int = 0

    def cell_bytes(self, type_k: int, type_v: int) -> int:
        return ggml.row_bytes(type_k, self.keys) + ggml.row_bytes(type_v, self.values)


@dataclass(frozen=True, slots=True)
class ModelLayout:
    """What a placement needs to know of a model."""

    layers: list[Layer]
    output: int
    """Bytes of the weights after the last layer, which make logits."""
    input: int
    """Bytes of the token embeddings: they stay in the machine's memory."""
    n_vocab: int
    n_embd: int
    trained: int
    """Tokens of context that it was trained for; 0: not said."""

    def cell_bytes(self, type_k: int, type_v: int) -> int:
        return sum(layer.cell_bytes(type_k, type_v) for layer in self.layers)


def read(path: str) -> ModelLayout:
    """The header of a model, of all its parts where it is split. Raises LoadError."""
    blocks: Counter[tuple[int, bool]] = Counter()
    others: dict[str, int] = {}
    for part in _parts(path):
        with _open(part) as file:
            for name, size in file.tensors():
                if block := _BLOCK.match(name):
                    blocks[int(block[1]), bool(_EXPERTS.search(name))] += size
                else:
                    others[name] = size
    with _open(path) as file:
        return _layout(file, blocks, others)


def _layout(file: _Gguf, blocks: Counter[tuple[int, bool]], others: dict[str, int]) -> ModelLayout:
    arch = file.text("general.architecture")
    count = file.number(f"{arch}.block_count")
    n_embd = file.number(f"{arch}.embedding_length")
    heads = file.numbers(f"{arch}.attention.head_count", count)
    heads_kv = file.numbers(f"{arch}.attention.head_count_kv", count) or heads
    head_size = n_embd // max([1, *heads])
    key = file.number(f"{arch}.attention.key_length") or head_size
    value = file.number(f"{arch}.attention.value_length") or head_size
    layers = [
        Layer(blocks[i, False], blocks[i, True], *((heads_kv[i] * key, heads_kv[i] * value) if heads_kv else (0, 0)))
        for i in range(count)
    ]
    embeddings = others.get("token_embd.weight", 0)
    inputs = sum(size for name, size in others.items() if "token_embd" in name)
    tied = 0 if "output.weight" in others else embeddings  # then they are copied to where logits are made
    return ModelLayout(
        layers=layers,
        output=sum(others.values()) - inputs + tied,
        input=inputs,
        n_vocab=file.length("tokenizer.ggml.tokens"),
        n_embd=n_embd,
        trained=file.number(f"{arch}.context_length"),
    )


def _parts(path: str) -> Iterator[str]:
    match = _PART.search(path)
    if match is None:
        yield path
        return
    for number in range(1, int(match[2]) + 1):
        yield f"{path[: match.start()]}-{number:05}-of-{match[2]}{match[3] or ''}"


class _Gguf:
    """An open header."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def tensors(self) -> Iterator[tuple[str, int]]:
        """Names, and bytes."""
        for index in range(ggml.function("gguf_get_n_tensors")(self._handle)):
            name = ggml.function("gguf_get_tensor_name")(self._handle, index).decode("utf-8", "replace")
            yield name, ggml.function("gguf_get_tensor_size")(self._handle, index)

    def text(self, key: str) -> str:
        at, kind = self._find(key)
        return ggml.function("gguf_get_val_str")(self._handle, at).decode("utf-8", "replace") if kind == _TEXT else ""

    def number(self, key: str) -> int:
        """A whole number, of an array the largest; 0 where there is none."""
        return max([0, *self.numbers(key, 1)])

    def numbers(self, key: str, count: int) -> list[int]:
        """An array of them, or one of them `count` times; empty where there is neither."""
        at, kind = self._find(key)
        if kind in _WHOLE:
            place = ggml.function("gguf_get_val_data")(self._handle, at)
            return [_WHOLE[kind].from_address(place).value] * count
        if kind != _ARRAY or (of := ggml.function("gguf_get_arr_type")(self._handle, at)) not in _WHOLE:
            return []
        size, place = self.length(key), ggml.function("gguf_get_arr_data")(self._handle, at)
        found = list((_WHOLE[of] * size).from_address(place)) if size and place else []
        return [*found, *([0] * (count - len(found)))]

    def length(self, key: str) -> int:
        """Of an array; 0 where there is none."""
        at, kind = self._find(key)
        return int(ggml.function("gguf_get_arr_n")(self._handle, at)) if kind == _ARRAY else 0

    def _find(self, key: str) -> tuple[int, int]:
        at = ggml.function("gguf_find_key")(self._handle, key.encode())
        return at, ggml.function("gguf_get_kv_type")(self._handle, at) if at >= 0 else -1


@contextlib.contextmanager
def _open(path: str) -> Iterator[_Gguf]:
    handle = ggml.function("gguf_init_from_file")(os.fsencode(path), ggml.GgufParams(True, None))
    if not handle:
        raise LoadError(f"the header of {os.fsdecode(os.fsencode(path))} cannot be read")
    try:
        yield _Gguf(handle)
    finally:
        ggml.function("gguf_free")(handle)
