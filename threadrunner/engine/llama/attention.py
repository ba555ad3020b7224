"""How attention is computed, and in which types its cache is."""

from __future__ import annotations

from dataclasses import dataclass

from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.model import F16

FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
CACHE_TYPES = {"f32": 0, "f16": F16, "bf16": 30, "q8_0": 8, "q4_0": 2, "q4_1": 3, "iq4_nl": 20, "q5_0": 6, "q5_1": 7}
"""Types that the KV cache may have, by ggml's numbers."""


@dataclass(frozen=True, slots=True)
class Attention:
    """How attention is computed, and in which types its cache is."""

    flash: str = "auto"
    type_k: str = "f16"
    type_v: str = "f16"

    def fill(self, params: llama_cpp.llama_context_params) -> None:
        params.type_k, params.type_v = self.types
        params.flash_attn_type = FLASH_ATTENTION[self.flash]

    @property
    def types(self) -> tuple[int, int]:
        """ggml's numbers. Raises LoadError for values that no model can have."""
        for name in (self.type_k, self.type_v):
            if name not in CACHE_TYPES:
                raise LoadError(f"a cache of type {name!r}: use one of {', '.join(CACHE_TYPES)}")
        if self.flash not in FLASH_ATTENTION:
            raise LoadError(f"flash attention {self.flash!r}: use one of {', '.join(FLASH_ATTENTION)}")
        if self.flash == "off" and self.type_v not in ("f32", "f16", "bf16"):
            raise LoadError(f"a cache of values in {self.type_v} needs flash attention; turn it on, or use f16")
        return CACHE_TYPES[self.type_k], CACHE_TYPES[self.type_v]
