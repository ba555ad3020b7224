"""LoRA adapters of a model, as llama.cpp holds them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence

from threadrunner.engine.llama import library
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.model import Model


class Adapter:
    """A loaded LoRA file. It belongs to its model, which frees it when it is closed."""

    def __init__(self, model: Model, path: str) -> None:
        """Raises LoadError for a file that is not one, or not for this model."""
        library.forget_errors()
        handle = llama_cpp.llama_adapter_lora_init(model.handle, os.fsencode(path))
        if not handle:
            raise LoadError(library.reason())
        self.handle = ctypes.cast(handle, ctypes.c_void_p).value or 0


def apply(context: llama_cpp.llama_context_p, adapters: Sequence[tuple[int, float]]) -> None:
    """These and no others hold for a context's next batches, by their handles, each at its scale."""
    handles = (ctypes.c_void_p * len(adapters))(*(handle for handle, _ in adapters))
    pointers = ctypes.cast(handles, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))
    scales = (ctypes.c_float * len(adapters))(*(scale for _, scale in adapters))
    llama_cpp.llama_set_adapters_lora(context, pointers, len(adapters), scales)
