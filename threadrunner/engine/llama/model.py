"""Weights and vocabulary of one GGUF file."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from threadrunner.engine.llama import library
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.library import llama_cpp

_NO_VOCABULARY = 0  # LLAMA_VOCAB_TYPE_NONE: any call about a token ends the process
_DRAFTS = {"eagle3", "dflash"}


class Model:
    """A loaded GGUF file and what its header says. Contexts and samplers made of it must be closed before it is."""

    def __init__(self, path: str, report: Callable[[int, int], None] | None = None) -> None:
        """`report(done, total)` hears of the load's progress, in percent. Raises LoadError."""
        library.start()
        library.forget_errors()
        params = llama_cpp.llama_model_default_params()

        @llama_cpp.llama_progress_callback
        def on_progress(fraction: float, _data: int | None) -> bool:
            if report is not None:
                report(int(fraction * 100), 100)
            return True

        params.progress_callback = on_progress
        handle = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not handle:
            raise LoadError(library.reason())
        self.handle = handle
        self._closed = False
        try:
            self._look()
        except LoadError:
            self.close()
            raise

    def _look(self) -> None:
        """What the header says. Raises LoadError for a model that could answer no request at all."""
        handle = self.handle
        self.vocab = llama_cpp.llama_model_get_vocab(handle)
        arch = self.meta("general.architecture") or ""
        if llama_cpp.llama_vocab_type(self.vocab) == _NO_VOCABULARY:
            raise LoadError("the file has no vocabulary, so text cannot be given to the model; use a file that has one")
        if arch in _DRAFTS:
            raise LoadError(f"{arch} is a draft for another model and answers nothing by itself; use that other model")
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)
        self.n_ctx_train = llama_cpp.llama_model_n_ctx_train(handle)
        """Tokens of context that it was trained for."""
        self.n_swa = llama_cpp.llama_model_n_swa(handle)
        """Tokens that its layers with a sliding window look back; 0: it has none."""
        self.recurrent = llama_cpp.llama_model_is_recurrent(handle) or llama_cpp.llama_model_is_hybrid(handle)
        """Its state cannot go back by a part of what it has evaluated."""
        self.scales_context = self.meta(f"{arch}.rope.scaling.original_context_length") is not None
        """What it computes may depend on how many cells its context has (LongRoPE)."""
        self.has_encoder = llama_cpp.llama_model_has_encoder(handle)
        self.only_embeds = self.has_encoder or self.meta(f"{arch}.attention.causal") == "false"
        self.size_bytes = llama_cpp.llama_model_size(handle)
        self.n_params = llama_cpp.llama_model_n_params(handle)
        self.n_embd = llama_cpp.llama_model_n_embd(handle)
        self.n_embd_out = llama_cpp.llama_model_n_embd_out(handle)
        """Floats in an embedding."""

    def meta(self, key: str) -> str | None:
        """A GGUF key's value as text; arrays have none."""
        buffer = ctypes.create_string_buffer(256)
        size = llama_cpp.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        if size < 0:
            return None
        if size >= len(buffer):
            buffer = ctypes.create_string_buffer(size + 1)
            llama_cpp.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        llama_cpp.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def chat_template(self) -> str | None:
        text = llama_cpp.llama_model_chat_template(self.handle, None)
        return text.decode("utf-8", "replace") if text else None

    def cell_bytes(self) -> int:
        """Bytes that one token takes in the KV cache, keys and values in f16."""
        arch = self.meta("general.architecture") or ""
        heads = max(1, llama_cpp.llama_model_n_head(self.handle))
        head_size = self.n_embd // heads
        key = int(self.meta(f"{arch}.attention.key_length") or head_size)
        value = int(self.meta(f"{arch}.attention.value_length") or head_size)
        heads_kv = max(1, llama_cpp.llama_model_n_head_kv(self.handle))
        return llama_cpp.llama_model_n_layer(self.handle) * heads_kv * (key + value) * 2

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            llama_cpp.llama_model_free(self.handle)
