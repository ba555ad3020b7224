"""What a header's values may be: the types that llama.cpp asserts, and bounds on what native code multiplies.

A bound is far above everything that has been published. A key that is not here is left to llama.cpp.
"""

from __future__ import annotations

import math
import re

from threadrunner.daemon.gguf.header import Array, Damaged, Header
from threadrunner.daemon.gguf.tables import BOOL, FLOAT32, FLOATS, INTEGERS, STRING

_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_MAX = 2**32 - 1

# The architecture's own keys, with minimum and maximum; they hold for each layer too if the value is an array.
_BOUNDS = {
    "block_count": (1, 512),
    "context_length": (1, 1 << 27),
    "embedding_length": (1, 1 << 20),
    "feed_forward_length": (0, 1 << 24),
    "vocab_size": (1, 1 << 24),
    "attention.head_count": (0, 1 << 14),
    "attention.head_count_kv": (0, 1 << 14),
    "attention.key_length": (1, 1 << 16),
    "attention.value_length": (1, 1 << 16),
    "rope.dimension_count": (0, 1 << 16),
    "expert_count": (0, 1024),
    "expert_used_count": (0, 1024),
    "ssm.conv_kernel": (0, 1 << 16),
    "ssm.inner_size": (0, 1 << 24),
    "ssm.state_size": (0, 1 << 20),
    "ssm.time_step_rank": (0, 1 << 20),
    "ssm.group_count": (0, 1 << 20),
}
_NEEDED = ("block_count", "context_length", "embedding_length")
_MAX_KV_ROW = 1 << 20
"""Numbers that one token may need in one layer's cache."""

_OTHERS = {
    "clip": "this is an image encoder (mmproj), not a language model",
    "mmproj": "this is an image encoder (mmproj), not a language model",
    "adapter": "this is a LoRA adapter, not a model of its own",
    "imatrix": "this is an importance matrix, not a model",
}


def check(header: Header) -> None:
    """Raises Damaged for a value that llama.cpp cannot use, or that is out of bounds."""
    for key in ("general.architecture", "general.type"):
        if (what := header.text(key) or "") in _OTHERS:
            raise Damaged(_OTHERS[what])
    architecture = header.text("general.architecture")
    if architecture is None or not _ARCHITECTURE.fullmatch(architecture):
        raise Damaged("it does not say what architecture it has (general.architecture)")
    _check_hyper_parameters(header, architecture)
    _check_tokenizer(header)


def _check_hyper_parameters(header: Header, architecture: str) -> None:
    numbers: dict[str, tuple[int | float, ...]] = {}
    for key, (kind, value) in header.values.items():
        if not key.startswith(f"{architecture}."):
            continue
        name = key.removeprefix(f"{architecture}.")
        if isinstance(value, Array):
            numbers[name] = value.numbers
            kind = value.kind
        elif isinstance(value, (int, float)):
            numbers[name] = (value,)
        if name in _BOUNDS and kind not in INTEGERS:
            raise Damaged(f"{key} is not a whole number")
        _check_bounds(key, kind, numbers.get(name, ()), *_BOUNDS.get(name, (-_MAX, _MAX)))
    for name in _NEEDED:
        if len(numbers.get(name, ())) != 1:
            raise Damaged(f"{architecture}.{name} is missing, or not one number")
    _check_cache_row(
        architecture, {name: int(max(values, default=0)) for name, values in numbers.items() if name in _BOUNDS}
    )


def _check_bounds(key: str, kind: int, numbers: tuple[int | float, ...], lowest: int, highest: int) -> None:
    if kind in FLOATS:
        if not all(map(math.isfinite, numbers)):
            raise Damaged(f"{key} is not a finite number")
        if key.endswith("epsilon") and any(not 0 <= number < 1 for number in numbers):
            raise Damaged(f"{key} is {numbers[0]}, not between 0 and 1")
    elif kind in INTEGERS:
        for number in numbers:
            if not lowest <= number <= highest:
                raise Damaged(f"{key} is {number}, not between {lowest} and {highest}")


def _check_cache_row(architecture: str, largest: dict[str, int]) -> None:
    heads = largest.get("attention.head_count", 0)
    grouped = largest.get("attention.head_count_kv", heads)
    if grouped > heads:
        raise Damaged(f"{architecture} has {grouped} key-value heads for {heads} heads")
    width = largest["embedding_length"] // heads if heads else 0
    for name in ("attention.key_length", "attention.value_length"):
        if grouped * largest.get(name, width) > _MAX_KV_ROW:
            raise Damaged(f"{architecture} has {grouped} key-value heads of {largest.get(name, width)} numbers")
    if largest.get("expert_used_count", 0) > largest.get("expert_count", 0):
        raise Damaged(f"{architecture} uses more experts than it has")


def _check_tokenizer(header: Header) -> None:
    if header.text("tokenizer.ggml.model") in (None, "none", "no_vocab"):
        return
    tokens = _list(header, "tokenizer.ggml.tokens", {STRING})
    if tokens is None or not tokens.length:
        raise Damaged("it has a tokenizer without tokens (tokenizer.ggml.tokens)")
    # Native code reads as many of these as there are tokens.
    for key, kinds in {"scores": {FLOAT32, 5}, "token_type": {5}}.items():
        listed = _list(header, f"tokenizer.ggml.{key}", kinds)
        if listed is not None and listed.length != tokens.length:
            raise Damaged(f"tokenizer.ggml.{key} has {listed.length} entries for {tokens.length} tokens")
    _list(header, "tokenizer.ggml.merges", {STRING})
    _check_charsmap(header)
    header.text("tokenizer.chat_template")
    for key, (kind, value) in header.values.items():
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id") and kind not in INTEGERS:
            raise Damaged(f"{key} is {value!r}, not a token's number")
        if key.startswith("tokenizer.ggml.add_") and kind != BOOL:
            raise Damaged(f"{key} is {value!r}, not true or false")


def _list(header: Header, key: str, kinds: set[int]) -> Array | None:
    _, value = header.values.get(key, (0, None))
    if value is not None and not (isinstance(value, Array) and value.kind in kinds):
        raise Damaged(f"{key} is not a list of the expected type")
    return value


def _check_charsmap(header: Header) -> None:
    charsmap = _list(header, "tokenizer.ggml.precompiled_charsmap", {0, 1})
    if charsmap is not None and charsmap.length < 4:
        raise Damaged("tokenizer.ggml.precompiled_charsmap is too short")
