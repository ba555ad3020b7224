"""LoRA adapters with random weights for the models of tiny.py, and the models that they make of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tests.backends import tiny
from tests.backends.tiny import Array, Shapes

RANK, ALPHA = 4, 8.0
CHANGED = ("blk.0.attn_q.weight", "blk.0.attn_v.weight", "blk.0.ffn_down.weight")


def adapter(path: Path, salt: int = 1, names: Iterable[str] = CHANGED, rank: int = RANK, **keys: Any) -> Path:
    """Another salt is other weights. `keys` with `__` for `.` are put in place of the usual ones."""
    shapes: Shapes = {}
    for name in names:
        shapes |= {f"{name}.lora_a": (tiny.WIDTH, rank), f"{name}.lora_b": (rank, tiny.WIDTH)}
    usual = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": ALPHA}
    changed = {key.replace("__", "."): value for key, value in keys.items()}
    architecture = str(changed.pop("general.architecture", "llama"))
    return tiny.write_gguf(path, architecture, {**usual, **changed}, shapes, salt)


def delta(name: str, salt: int) -> Array:
    """What the adapter of that salt adds to a weight at a scale of 1."""
    a = tiny.values(f"{name}.lora_a", (tiny.WIDTH, RANK), salt)
    b = tiny.values(f"{name}.lora_b", (RANK, tiny.WIDTH), salt)
    return np.asarray(b @ a * np.float32(ALPHA / RANK), dtype=np.float32)


def merged(path: Path, scales: dict[int, float]) -> Path:
    """`tiny.untied` with adapters, by their salts, added to its weights."""

    def changed(name: str, weights: Array) -> Array:
        if name in CHANGED:
            for salt, scale in scales.items():
                weights = weights + np.float32(scale) * delta(name, salt)
        return weights

    return tiny.untied(path, change=changed)
