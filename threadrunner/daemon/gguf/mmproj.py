"""What an mmproj file holds, the encoder with which a model looks at pictures, and whether native code may see it."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from threadrunner.api.errors import ModelLoadFailed
from threadrunner.daemon.gguf.check import check_complete, opened, reported
from threadrunner.daemon.gguf.header import Array, Damaged, Header, read
from threadrunner.daemon.gguf.names import printable
from threadrunner.daemon.gguf.tables import FLOATS, INTEGERS

_MAX = 2**31 - 1
# With minimum and maximum; native code divides by most, and multiplies all. Under clip.vision. and clip.audio.
_BOUNDS = {
    "image_size": (1, 1 << 14),
    "patch_size": (1, 1 << 12),
    "embedding_length": (1, 1 << 17),
    "feed_forward_length": (0, 1 << 20),
    "block_count": (0, 512),
    "projection_dim": (1, 1 << 20),
    "attention.head_count": (1, 1 << 12),
    "attention.head_count_kv": (1, 1 << 12),
    "projector.scale_factor": (1, 64),
    "spatial_merge_size": (1, 64),
    "preproc_image_size": (1, 1 << 14),
    "num_mel_bins": (1, 1 << 12),
}
_PROJECTION = re.compile(r"(?P<layer>[av]\.blk\.\d+)\.attn_(?P<which>[qkv])\.weight")
_PLACED_BY_THE_PROMPT = ("deepseek4v", "hunyuanvl")
"""Kinds of which a picture's tokens depend on those before it, so that they cannot be kept by the picture alone."""


class MmprojFacts(NamedTuple):
    kind: str
    """What projects its output, say gemma3 or qwen2.5vl_merger."""
    vision: bool
    audio: bool
    size: int
    """Bytes."""


def check_mmproj(path: str) -> MmprojFacts:
    """What the file holds. Raises ModelLoadFailed, whose text says what is wrong with it and what to do."""
    with reported(path), opened(path) as (fd, size):
        header = read(fd, size)
        check_complete(header, size)
        if header.text("general.architecture") != "clip":
            raise Damaged("it is no encoder of pictures (its general.architecture is not clip)")
        if not header.tensors:
            raise Damaged("it holds no weights")
        _check_attention([tensor.name for tensor in header.tensors])
        for key, (kind, value) in header.values.items():
            if key.startswith("clip."):
                _check(key, kind, value)
    kinds = [header.text(f"clip.{part}projector_type") or "" for part in ("", "vision.", "audio.")]
    if placed := next((kind for kind in kinds if kind in _PLACED_BY_THE_PROMPT), None):
        text = f"{printable(path)}: encoders of the kind {placed} are not supported; use the model without pictures"
        raise ModelLoadFailed(text, path=printable(path))
    return MmprojFacts(
        next(filter(None, kinds), ""), _says(header, "has_vision_encoder"), _says(header, "has_audio_encoder"), size
    )


def _check_attention(names: list[str]) -> None:
    """Raises Damaged for a layer that has some of the three projections and not the others: native code then takes them
    to be in one, and reads at address 0 where they are not."""
    found: dict[str, set[str]] = {}
    for name in names:
        if match := _PROJECTION.fullmatch(name):
            found.setdefault(match["layer"], set()).add(match["which"])
        elif not name.isascii() or not name.isprintable():
            raise Damaged(f"the name of a tensor is damaged: {name[:40]!r}")
    for layer, which in found.items():
        if lacking := {"q", "k", "v"} - which:
            raise Damaged(f"{layer} lacks attn_{min(lacking)}.weight")


def _says(header: Header, name: str) -> bool:
    _, value = header.values.get(f"clip.{name}", (0, False))
    return bool(value)


def _check(key: str, kind: int, value: object) -> None:
    """Raises Damaged for a number that native code cannot use."""
    numbers = value.numbers if isinstance(value, Array) else (value,) if isinstance(value, (int, float)) else ()
    kind = value.kind if isinstance(value, Array) else kind
    name = key.removeprefix("clip.vision.").removeprefix("clip.audio.")
    if name in _BOUNDS and kind not in INTEGERS:
        raise Damaged(f"{key} is not a whole number")
    lowest, highest = _BOUNDS.get(name, (-_MAX, _MAX))
    for number in numbers:
        if kind in FLOATS and not math.isfinite(number):
            raise Damaged(f"{key} is not a finite number")
        if kind in INTEGERS and not lowest <= number <= highest:
            raise Damaged(f"{key} is {number}, not between {lowest} and {highest}")
