"""The encoder of pictures that is loaded beside a model."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from threadrunner.backends.base import ModelSpec
from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.library import build
from threadrunner.engine.llama.model import Model
from threadrunner.engine.llama.mtmd import Part, Projector
from threadrunner.engine.sight import Sight

log = logging.getLogger("threadrunner.backends.llama")

BUFFERS = 128 << 20
"""Bytes kept for what the encoder computes in, and for decoded pictures."""
_PROBES = ((4096, 4096), (4096, 1024), (1024, 4096), (448, 448))
"""Pixels of pictures of which the largest part is looked for."""


def load_projector(spec: ModelSpec, model: Model, threads: int) -> Projector | None:
    """None where none is wanted, or one that only lies beside the model is not for it. Raises LoadError."""
    if not spec.mmproj_path or model.only_embeds:
        return None
    try:
        return Projector(spec.mmproj_path, model, threads)
    except LoadError as error:
        if spec.mmproj_named:
            raise
        log.warning("%s is used without pictures: %s", spec.name, error)
        return None


def bytes_of(spec: ModelSpec) -> int:
    """Of memory that it takes."""
    return Path(spec.mmproj_path).stat().st_size + BUFFERS if spec.mmproj_path else 0


def batch_for(projector: Projector, usual: int, most: int) -> int:
    """Tokens that must be computed at once: where the rows of a picture look at each other, as many as it has."""
    if projector.causal or not projector.sees:
        return usual
    sizes = [part.size for probe in _PROBES for part in projector.layout(*probe) if isinstance(part, Part)]
    return min(most, max(usual, *sizes))


def sight(spec: ModelSpec, projector: Projector, context: Context) -> Sight:
    facts = Path(spec.mmproj_path).stat()
    return Sight(projector, context, f"{facts.st_size} {facts.st_mtime_ns} {build()}")


def facts(sight: Sight | None) -> dict[str, Any]:
    """For `status`."""
    return {} if sight is None else {"vision": sight.projector.sees, "audio": sight.projector.hears}
