"""Encoders of pictures (mmproj files) with random weights, of the kinds that differ in how their tokens are looked at,
for the models of tiny.py; and pictures to show them.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

from tests.backends.tiny import CONTROL, NORMAL, WIDTH, Shapes, bytes_vocabulary, write_gguf

SIDE, PATCH, INNER = 32, 8, 16
"""Pixels of the square that is looked at, and of a patch; floats within the encoder."""

_APART = tuple(f"v.blk.0.attn_{which}." for which in "qkv")

IDEFICS_MARKERS = {
    "\u010a\u010a": NORMAL,  # two line breaks, in GPT-2's letters
    "<fake_token_around_image>": CONTROL,
    "<global-img>": CONTROL,
    **{f"<row_{y}_col_{x}>": CONTROL for y in (1, 2) for x in (1, 2)},
}


def sliced_vocabulary() -> dict[str, Any]:
    """What an encoder of the kind idefics3 needs of its model."""
    return bytes_vocabulary(IDEFICS_MARKERS)


def turning_vocabulary() -> dict[str, Any]:
    """What one of the kind qwen2vl_merger needs."""
    return bytes_vocabulary({"<|vision_start|>": CONTROL, "<|vision_end|>": CONTROL})


def mmproj(path: Path, kind: str = "gemma3", *, width: int = WIDTH, layers: int = 1, **changes: Any) -> Path:
    """`gemma3`: 4 tokens a picture, which look at each other. `mlp`: 16, in order. `idefics3`: a picture is cut into
    four, each 4 tokens, after the whole in small. `qwen2vl_merger`: a token for each 16 pixels in line and column.
    `qwen3vl_merger`: the same, and each has a second half for the model's first layer."""
    turning, deep = kind in ("qwen2vl_merger", "qwen3vl_merger"), kind == "qwen3vl_merger"
    shapes: Shapes = {
        "v.patch_embd.weight": (PATCH, PATCH, 3, INNER),
        "v.position_embd.weight": (INNER, (SIDE // PATCH) ** 2 + (kind == "mlp")),
    }
    if kind == "mlp":
        shapes |= {"v.class_embd": (INNER,), "v.pre_ln.weight": (INNER,), "v.pre_ln.bias": (INNER,)}
    elif turning:
        shapes = dict.fromkeys(("v.patch_embd.weight", "v.patch_embd.weight.1"), (PATCH, PATCH, 3, INNER))
        shapes |= {"v.post_ln.weight": (INNER,), "v.post_ln.bias": (INNER,)}
        if deep:
            shapes |= {"v.patch_embd.bias": (INNER,), "v.position_embd.weight": (INNER, (SIDE // PATCH) ** 2)}
            shapes |= {"v.deepstack.0.norm.weight": (4 * INNER,), "v.deepstack.0.norm.bias": (4 * INNER,)}
            shapes |= {"v.deepstack.0.fc1.weight": (4 * INNER, 4 * INNER), "v.deepstack.0.fc1.bias": (4 * INNER,)}
            shapes |= {"v.deepstack.0.fc2.weight": (4 * INNER, width), "v.deepstack.0.fc2.bias": (width,)}
    else:
        shapes |= {"v.patch_embd.bias": (INNER,), "v.post_ln.weight": (INNER,), "v.post_ln.bias": (INNER,)}
    for block in (f"v.blk.{i}" for i in range(layers + (kind == "mlp"))):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down"):
            shapes |= {f"{block}.{name}.weight": (INNER, INNER), f"{block}.{name}.bias": (INNER,)}
        shapes |= {f"{block}.{name}.{part}": (INNER,) for name in ("ln1", "ln2") for part in ("weight", "bias")}
        if deep:
            shapes = {name: shape for name, shape in shapes.items() if not name.startswith(_APART)}
            shapes |= {f"{block}.attn_qkv.weight": (INNER, 3 * INNER), f"{block}.attn_qkv.bias": (3 * INNER,)}
    keys: dict[str, Any] = {
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.projector_type": kind,
        "clip.use_gelu": True,
        "clip.vision.image_size": SIDE,
        "clip.vision.patch_size": PATCH,
        "clip.vision.embedding_length": INNER,
        "clip.vision.feed_forward_length": INNER,
        "clip.vision.block_count": layers + (kind == "mlp"),
        "clip.vision.attention.head_count": 2,
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.projection_dim": width,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
        "clip.vision.projector.scale_factor": 2,
    }
    if kind == "gemma3":
        shapes |= {"mm.input_projection.weight": (width, INNER), "mm.soft_emb_norm.weight": (INNER,)}
    elif kind == "idefics3":
        shapes |= {"mm.model.fc.weight": (4 * INNER, width)}
        keys["clip.vision.preproc_image_size"] = 2 * SIDE
    elif turning:
        shapes |= {"mm.0.weight": (4 * INNER, 4 * INNER), "mm.0.bias": (4 * INNER,)}
        shapes |= {"mm.2.weight": (4 * INNER, width), "mm.2.bias": (width,)}
    else:
        shapes |= {"mm.0.weight": (INNER, width), "mm.0.bias": (width,)}
        shapes |= {"mm.2.weight": (width, width), "mm.2.bias": (width,)}
    return write_gguf(path, "clip", {**keys, **changes}, shapes)


def png(width: int = 40, height: int = 30, *, seed: int = 1, pixels: bytes = b"") -> bytes:
    """Colours that differ with the seed, or what is given as its lines."""
    rows = pixels or b"".join(
        b"\0" + bytes((x * 7 * seed + y * (3 + c * seed)) % 256 for x in range(width) for c in range(3))
        for y in range(height)
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
