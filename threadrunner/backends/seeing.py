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


NOT_HERE = (
    "`threadrunner models pull` of it fetches its mmproj file, if its repository has one. Or put that beside its GGUF,"
    " or name it by `mmproj` in config.toml. Then unload the model; or use one that has it"
)


def load_projector(spec: ModelSpec, model: Model, threads: int) -> tuple[Projector | None, str]:
    """The encoder, or why there is none. Raises LoadError for one that the user has named; one that only lies beside
    the model may be for another."""
    if not spec.mmproj_path or model.only_embeds:
        return None, NOT_HERE
    try:
        return _usable(Projector(spec.mmproj_path, model, threads), model), ""
    except LoadError as error:
        if spec.mmproj_named:
            raise
        log.warning("%s is used without pictures: %s", spec.name, error)
        return None, str(error)


def _usable(projector: Projector, model: Model) -> Projector:
    """Raises LoadError."""
    text = ""
    if projector.turns and (model.recurrent or model.n_swa):
        text = "pictures by line and column (M-RoPE) for a model with a recurrent state or a window are not supported"
    elif not projector.sees:
        text = "the encoder is for sound alone, which is not supported"
    if text:
        projector.close()
        raise LoadError(f'{text}: use another model for it, or this one without (`mmproj = "off"`)')
    return projector


def bytes_of(spec: ModelSpec) -> int:
    """Of memory that it takes."""
    return Path(spec.mmproj_path).stat().st_size + BUFFERS if spec.mmproj_path else 0


def batch_for(projector: Projector, usual: int, most: int) -> int:
    """Tokens that must be computed at once: where the rows of a picture look at each other, as many as it has."""
    if projector.causal:
        return usual
    sizes = [part.size for probe in _PROBES for part in projector.layout(*probe) if isinstance(part, Part)]
    return min(most, max(usual, *sizes))


def sight(spec: ModelSpec, projector: Projector, context: Context) -> Sight:
    facts = Path(spec.mmproj_path).stat()
    return Sight(projector, context, f"{facts.st_size} {facts.st_mtime_ns} {build()}")


def facts(spec: ModelSpec, blind_because: str) -> dict[str, Any]:
    """For `status`: whether the model takes pictures, and why it does not where there is a file for that."""
    if not spec.mmproj_path:
        return {}
    return {"vision": False, "vision_fault": blind_because} if blind_because else {"vision": True}
