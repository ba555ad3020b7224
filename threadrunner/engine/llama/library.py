"""llama.cpp, thinly typed: load a model, run batches, move KV cells. The only module that imports llama_cpp.

llama_cpp's package __init__ pulls in numpy, jinja2 and the high-level API (170 ms where its ctypes module alone takes
40), so the package is entered through a bare stand-in and only the low-level module runs.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from threadrunner.engine.errors import LoadError

log = logging.getLogger("threadrunner.engine")
log.addHandler(logging.NullHandler())  # without any handler, Python would print warnings to stderr


def _submodule(name: str) -> ModuleType:
    """`llama_cpp.<name>` without llama_cpp/__init__.py; a later `import llama_cpp` still gets the real package."""
    full = f"llama_cpp.{name}"
    if full in sys.modules:
        return sys.modules[full]
    if "llama_cpp" in sys.modules:
        return importlib.import_module(full)
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None:
        raise LoadError("llama-cpp-python is not installed")
    sys.modules["llama_cpp"] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module(full)
    finally:
        del sys.modules["llama_cpp"]


L: Any = _submodule("llama_cpp")

OK, NO_ROOM, ABORTED = 0, 1, 2
"""What llama_decode answers, beside negative numbers for failures."""

# ggml's log levels: 1 debug, 2 info, 3 warning, 4 error, 5 continues the line before it
_recent_errors: deque[str] = deque(maxlen=8)
_last_level = 1


@L.llama_log_callback  # type: ignore[untyped-decorator]
def _on_log(level: int, text: bytes, _data: object) -> None:
    global _last_level
    level = _last_level = _last_level if level == 5 else level
    line = text.decode("utf-8", "replace").strip()
    if not line or line == ".":
        return
    if level >= 4:
        _recent_errors.append(line)
    # what ends a load or a request is raised with its reason; an aborted batch, which is no error, logs "errors" too
    log.log(logging.INFO if level >= 3 else logging.DEBUG, "%s", line)


_started = False


def _start() -> None:
    global _started
    if not _started:
        L.llama_log_set(_on_log, None)  # first, or the CPU's feature list lands on stderr
        L.llama_backend_init()
        _started = True


def _reason() -> str:
    """The last error lines without llama.cpp's function names, the cause first."""
    lines = [line.split(": ", 1)[1] if ": " in line else line for line in _recent_errors]
    lines = [line for line in lines if "failed to load model" not in line] or lines
    return "; ".join(dict.fromkeys(lines)) or "llama.cpp gave no reason"


def build() -> str:
    """Which llama.cpp this is; saved state is not carried from one to another."""
    version: str = importlib.metadata.version("llama-cpp-python")
    return version


def schema_converter() -> Any:
    """llama_cpp's JSON schema to GBNF module."""
    return _submodule("llama_grammar")


class Model:
    """Weights and vocabulary of one GGUF file."""

    def __init__(self, path: str, report: Callable[[int, int], None] | None = None) -> None:
        _start()
        _recent_errors.clear()
        params = L.llama_model_default_params()

        @L.llama_progress_callback  # type: ignore[untyped-decorator]
        def on_progress(fraction: float, _data: object) -> bool:
            if report is not None:
                report(int(fraction * 100), 100)
            return True

        params.progress_callback = on_progress
        self.handle = L.llama_model_load_from_file(os.fsencode(path), params)
        if not self.handle:
            raise LoadError(_reason())
        self.vocab = L.llama_model_get_vocab(self.handle)
        self.n_vocab: int = L.llama_vocab_n_tokens(self.vocab)
        self.n_ctx_train: int = L.llama_model_n_ctx_train(self.handle)
        self.n_swa: int = L.llama_model_n_swa(self.handle)
        self.recurrent = bool(L.llama_model_is_recurrent(self.handle) or L.llama_model_is_hybrid(self.handle))
        self.has_decoder = bool(L.llama_model_has_decoder(self.handle))
        self.has_encoder = bool(L.llama_model_has_encoder(self.handle))
        arch = self.meta("general.architecture") or ""
        self.only_embeds = self.has_encoder or self.meta(f"{arch}.attention.causal") == "false"
        self.size_bytes: int = L.llama_model_size(self.handle)
        self.n_params: int = L.llama_model_n_params(self.handle)
        self.n_embd: int = L.llama_model_n_embd(self.handle)

    def meta(self, key: str) -> str | None:
        """A GGUF key's value as text; arrays have none."""
        buffer = ctypes.create_string_buffer(256)
        size = L.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        if size < 0:
            return None
        if size >= len(buffer):
            buffer = ctypes.create_string_buffer(size + 1)
            L.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def description(self) -> str:
        buffer = ctypes.create_string_buffer(256)
        L.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def chat_template(self) -> str | None:
        text = L.llama_model_chat_template(self.handle, None)
        return text.decode("utf-8", "replace") if text else None

    def cell_bytes(self) -> int:
        """Bytes that one token takes in the KV cache, keys and values in f16."""
        arch = self.meta("general.architecture") or ""
        heads = max(1, L.llama_model_n_head(self.handle))
        head_size = self.n_embd // heads
        key = int(self.meta(f"{arch}.attention.key_length") or head_size)
        value = int(self.meta(f"{arch}.attention.value_length") or head_size)
        heads_kv = max(1, L.llama_model_n_head_kv(self.handle))
        return int(L.llama_model_n_layer(self.handle) * heads_kv * (key + value) * 2)

    def close(self) -> None:
        if self.handle:
            L.llama_model_free(self.handle)
            self.handle = None


class Context:
    """One KV cache of `n_cells` shared by `n_seq` sequences, a batch to fill, and a flag that stops a running batch."""

    def __init__(
        self,
        model: Model,
        *,
        n_cells: int,
        n_seq: int,
        n_batch: int,
        n_ubatch: int,
        threads: int,
        embeddings: bool = False,
    ) -> None:
        _recent_errors.clear()
        params = L.llama_context_default_params()
        params.n_ctx = n_cells
        params.n_batch = n_batch
        params.n_ubatch = n_ubatch
        params.n_seq_max = n_seq
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True  # a fork is a tag on cells, not a copy
        params.swa_full = True  # a windowed cache forgets what a fork from the middle would need
        params.embeddings = embeddings
        params.no_perf = True
        self.handle = L.llama_init_from_model(model.handle, params)
        if not self.handle:
            raise LoadError(_reason())
        self.n_cells: int = L.llama_n_ctx(self.handle)
        self.n_batch = n_batch
        self.n_seq = n_seq
        self._memory = L.llama_get_memory(self.handle)
        self._fill_batch_struct(n_batch)
        self._flag = ctypes.create_string_buffer(2)
        self._set_abort_callback()

    def _fill_batch_struct(self, size: int) -> None:
        """Arrays of our own under llama_batch: ctypes fills a slice of an array at once, a pointer item by item."""
        self._tokens: Any = (ctypes.c_int32 * size)()
        self._positions: Any = (ctypes.c_int32 * size)()
        self._seqs: Any = (ctypes.c_int32 * size)()
        self._outputs: Any = (ctypes.c_int8 * size)()
        self._seq_counts = (ctypes.c_int32 * size)(*([1] * size))
        int_p = ctypes.POINTER(ctypes.c_int32)
        base = ctypes.addressof(self._seqs)
        self._seq_pointers = (int_p * size)(*(ctypes.cast(base + 4 * i, int_p) for i in range(size)))
        batch = L.llama_batch()
        batch.token = ctypes.cast(self._tokens, int_p)
        batch.pos = ctypes.cast(self._positions, int_p)
        batch.n_seq_id = ctypes.cast(self._seq_counts, int_p)
        batch.seq_id = ctypes.cast(self._seq_pointers, ctypes.POINTER(int_p))
        batch.logits = ctypes.cast(self._outputs, ctypes.POINTER(ctypes.c_int8))
        self._batch = batch
        self.n_tokens = 0

    def _set_abort_callback(self) -> None:
        """libc's strlen as the callback and two bytes as its data: C asks "is byte 0 zero" with no GIL (1 to 3 ms from
        the flag to llama_decode's return). A callback in Python would take the GIL for each node of the graph."""
        strlen = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value
        self._abort_callback = ctypes.cast(strlen or 0, L.ggml_abort_callback)
        L.llama_set_abort_callback(self.handle, self._abort_callback, ctypes.cast(self._flag, ctypes.c_void_p))

    # the flag; set_abort is the one method that another thread may call

    def set_abort(self) -> None:
        self._flag[0] = b"\x01"

    def clear_abort(self) -> None:
        self._flag[0] = b"\x00"

    def set_threads(self, threads: int) -> None:
        L.llama_set_n_threads(self.handle, threads, threads)

    # the batch

    def clear_batch(self) -> None:
        self.n_tokens = 0

    def add(self, seq: int, position: int, tokens: Sequence[int], output: bool) -> int:
        """Put a run of a sequence's tokens in the batch; the index of the last, which gives logits if `output`."""
        begin, count = self.n_tokens, len(tokens)
        end = self.n_tokens = begin + count
        if count == 1:
            self._tokens[begin] = tokens[0]
            self._positions[begin] = position
            self._seqs[begin] = seq
        else:
            self._tokens[begin:end] = tokens
            self._positions[begin:end] = range(position, position + count)
            self._seqs[begin:end] = [seq] * count
            self._outputs[begin:end] = b"\0" * count
        self._outputs[end - 1] = output
        return end - 1

    def add_all_outputs(self, seq: int, position: int, tokens: Sequence[int]) -> None:
        last = self.add(seq, position, tokens, True)
        self._outputs[last + 1 - len(tokens) : last + 1] = [1] * len(tokens)

    def decode(self) -> int:
        self._batch.n_tokens = self.n_tokens
        return int(L.llama_decode(self.handle, self._batch))

    # the KV cache; positions are [begin, end), end -1 is all the rest

    def remove(self, seq: int, begin: int = -1, end: int = -1) -> bool:
        return bool(L.llama_memory_seq_rm(self._memory, seq, begin, end))

    def share(self, source: int, target: int, begin: int, end: int) -> None:
        L.llama_memory_seq_cp(self._memory, source, target, begin, end)

    def first_position(self, seq: int) -> int:
        return int(L.llama_memory_seq_pos_min(self._memory, seq))

    def last_position(self, seq: int) -> int:
        return int(L.llama_memory_seq_pos_max(self._memory, seq))

    def save(self, seq: int) -> bytes:
        size = L.llama_state_seq_get_size(self.handle, seq)
        buffer = (ctypes.c_uint8 * size)()
        written = L.llama_state_seq_get_data(self.handle, buffer, size, seq)
        return bytes(memoryview(buffer)[:written])

    def restore(self, seq: int, data: bytes) -> bool:
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        return bool(L.llama_state_seq_set_data(self.handle, buffer, len(data), seq))

    def logits(self, index: int) -> Any:
        """A C pointer to n_vocab floats."""
        return L.llama_get_logits_ith(self.handle, index)

    def close(self) -> None:
        if self.handle:
            L.llama_free(self.handle)
            self.handle = None
