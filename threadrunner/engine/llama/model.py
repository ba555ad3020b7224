"""Weights and vocabulary of one GGUF file."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass

from threadrunner.engine.llama import ggml, library
from threadrunner.engine.llama.devices import Device
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.library import llama_cpp

_NO_VOCABULARY = 0  # LLAMA_VOCAB_TYPE_NONE: any call about a token ends the process
_DRAFTS = {"eagle3", "dflash"}
_LOCKED_MAPPING = 3  # LLAMA_LOAD_MODE_MMAP_MLOCK
_EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"  # llama.cpp's own pattern for --cpu-moe
F16 = 1
"""ggml's number for the type."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which devices a model's weights go to; see engine/offload.py. As it is made: to the CPU alone."""

    gpu_layers: int = 0
    """The last so many, the output counted as one."""
    devices: tuple[Device, ...] = ()
    by_device: tuple[int, ...] = ()
    """Of these layers, how many each of the devices has."""
    cpu_moe: int = 0
    """Layers, from the first, whose experts stay on the CPU."""
    mlock: bool = False
    """Keep the weights in memory: the system must not swap them out."""


class _Override(ctypes.Structure):
    """struct llama_model_tensor_buft_override: tensors by a pattern of their names, and the memory they go to."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p))


class Model:
    """A loaded GGUF file and what its header says. Contexts and samplers made of it must be closed before it is."""

    def __init__(self, path: str, report: Callable[[int, int], None] | None = None, where: Where | None = None) -> None:
        """`report(done, total)` hears of the load's progress, in percent. Raises LoadError."""
        library.start()
        library.forget_errors()
        params = llama_cpp.llama_model_default_params()
        self.where = where or Where()
        self._kept = _send_to(params, self.where)

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
        self.warnings = library.warnings("mlock")
        """What was asked for and could not be had, e.g. memory that the system does not lock."""
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

    def chat_template(self, name: str | None = None) -> str | None:
        """The model's template, or another that it has under a name, say "tool_use"."""
        text = llama_cpp.llama_model_chat_template(self.handle, name.encode() if name else None)
        return text.decode("utf-8", "replace") if text else None

    def cell_bytes(self, type_k: int = F16, type_v: int = F16) -> int:
        """Bytes that one token takes in the KV cache, keys and values in these types of ggml's."""
        arch = self.meta("general.architecture") or ""
        heads = max(1, llama_cpp.llama_model_n_head(self.handle))
        head_size = self.n_embd // heads
        key = int(self.meta(f"{arch}.attention.key_length") or head_size)
        value = int(self.meta(f"{arch}.attention.value_length") or head_size)
        heads_kv = max(1, llama_cpp.llama_model_n_head_kv(self.handle))
        layer = ggml.row_bytes(type_k, heads_kv * key) + ggml.row_bytes(type_v, heads_kv * value)
        return llama_cpp.llama_model_n_layer(self.handle) * layer

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            llama_cpp.llama_model_free(self.handle)


def _send_to(params: llama_cpp.llama_model_params, where: Where) -> list[object]:
    """Fill in where the weights go; the arrays that must live as long as the model."""
    if where.mlock:
        params.load_mode = _LOCKED_MAPPING
    # Never NULL, which would mean all devices: even with no layer of its own a GPU is then given large products, and
    # neither memory nor the abort flag would be as we say.
    devices = (ctypes.c_void_p * (len(where.devices) + 1))(*(device.handle for device in where.devices), None)
    params.devices = ctypes.cast(devices, ctypes.c_void_p)
    params.n_gpu_layers = where.gpu_layers
    kept: list[object] = [devices]
    if len(where.devices) > 1:
        parts = [float(count) for count in where.by_device]
        room = llama_cpp.llama_max_devices()
        split = (ctypes.c_float * room)(*parts, *([0.0] * (room - len(parts))))
        params.tensor_split = split
        kept.append(split)
    if where.cpu_moe:
        cpu = ggml.function("ggml_backend_cpu_buffer_type")()
        patterns = [rf"blk\.{layer}{_EXPERTS}".encode() for layer in range(where.cpu_moe)]
        overrides = (_Override * (len(patterns) + 1))(*(_Override(pattern, cpu) for pattern in patterns))
        params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
        kept += [overrides, patterns]
    return kept
