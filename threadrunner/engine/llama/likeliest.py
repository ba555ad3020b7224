"""The likeliest token after a batch's, found in C."""

from __future__ import annotations

from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.library import llama_cpp


class Likeliest:
    """llama.cpp's greedy sampler. Must be closed before its context is."""

    def __init__(self) -> None:
        self._sampler = llama_cpp.llama_sampler_init_greedy()
        self._closed = False

    def of(self, context: Context, index: int) -> int:
        """After the batch's token `index`, which gives logits."""
        return llama_cpp.llama_sampler_sample(self._sampler, context.handle, index)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            llama_cpp.llama_sampler_free(self._sampler)
