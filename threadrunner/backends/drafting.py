"""The small model that drafts for a large one, loaded beside it: the weights first, since caches share what is left.

Where the large model has layers on a GPU, the small one is there as a whole: it says most of its tokens one by one, and
each would wait for the slower device.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from threadrunner.backends.base import ModelSpec
from threadrunner.backends.hardware import Attempt
from threadrunner.engine import sizing
from threadrunner.engine.draft_model import MAX_FOLLOWED, DraftModel, check_pair
from threadrunner.engine.llama import tensors
from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.model import Model, Where

N_BATCH, N_UBATCH = 512, 256
BUFFERS = 64 << 20
"""Bytes kept for its compute buffers and logits."""


@dataclass(frozen=True, slots=True)
class DraftWeights:
    """A loaded small model, without a context."""

    model: Model
    large: Model
    """The one that it drafts for."""

    @property
    def cell_bytes(self) -> int:
        return self.model.cell_bytes()

    @property
    def in_memory(self) -> int:
        """Bytes that it takes of the machine's memory."""
        return BUFFERS + (0 if self.model.where.devices else self.model.size_bytes)

    def proposer(self, size: sizing.Size, threads: int) -> DraftModel:
        """With a context of its own; closing it is the caller's business. Raises LoadError."""
        context = Context(
            self.model,
            n_cells=size.first_cells,
            n_seq=MAX_FOLLOWED,
            n_batch=N_BATCH,
            n_ubatch=N_UBATCH,
            threads=threads,
        )
        return DraftModel(self.model, context, size.cells, self.large)

    def facts(self) -> dict[str, object]:
        """For `status`."""
        return {"draft_model": self.model.description(), "draft_model_bytes": self.model.size_bytes}


def load_weights(spec: ModelSpec, model: Model, attempt: Attempt) -> DraftWeights | None:
    """None where none is wanted. Raises LoadError."""
    if not spec.draft_path or spec.hardware.drafts == "off":
        return None
    try:
        draft = Model(spec.draft_path, None, _where(spec, attempt))
    except LoadError as error:
        raise LoadError(f"the draft_model cannot be loaded: {error}") from None
    with contextlib.ExitStack() as made:
        made.callback(draft.close)
        check_pair(model, draft)
        made.pop_all()
    return DraftWeights(draft, model)


def _where(spec: ModelSpec, attempt: Attempt) -> Where:
    if not attempt.where.devices:
        return Where(mlock=spec.hardware.mlock)
    layers = len(tensors.read(spec.draft_path).layers) + 1
    return Where(layers, attempt.where.devices[:1], (layers,), mlock=spec.hardware.mlock)
