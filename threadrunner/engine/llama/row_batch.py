"""A batch of rows in place of tokens: what an encoder made of a picture, for the model that looks at it."""

from __future__ import annotations

import ctypes

from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.mtmd import Rows


class RowBatch:
    """Evaluates rows in a context's cells, alone: a batch of llama.cpp's has either tokens or rows."""

    def __init__(self, context: Context, width: int) -> None:
        """Rows of `width` floats."""
        size = context.n_batch
        self._context = context
        self._width = width
        self._positions = (ctypes.c_int32 * size)()
        self._outputs = (ctypes.c_int8 * size)()
        self._counts = (ctypes.c_int32 * size)(*([1] * size))
        self._seq = ctypes.c_int32()
        int_p = ctypes.POINTER(ctypes.c_int32)
        self._seqs = (int_p * size)(*([ctypes.pointer(self._seq)] * size))
        batch = llama_cpp.llama_batch()
        batch.pos = ctypes.cast(self._positions, int_p)
        batch.n_seq_id = ctypes.cast(self._counts, int_p)
        batch.seq_id = ctypes.cast(self._seqs, ctypes.POINTER(int_p))
        batch.logits = ctypes.cast(self._outputs, ctypes.POINTER(ctypes.c_int8))
        self._batch = batch

    def decode(self, seq: int, position: int, rows: Rows, begin: int, count: int, *, causal: bool) -> int:
        """Evaluate `count` of the rows, from number `begin` on, at positions from `position` on; none gives logits.
        Answers as Context.decode. Where not `causal`, they look at each other, and all must be in one n_ubatch: else
        llama.cpp ends the process."""
        context = self._context
        self._seq.value = seq
        self._positions[:count] = [*range(position, position + count)]
        at = ctypes.byref(rows, begin * self._width * ctypes.sizeof(ctypes.c_float))
        self._batch.embd = ctypes.cast(at, ctypes.POINTER(ctypes.c_float))
        self._batch.n_tokens = count
        if not causal:
            llama_cpp.llama_set_causal_attn(context.handle, False)
        try:
            status = llama_cpp.llama_decode(context.handle, self._batch)
            if not context.abortable:
                llama_cpp.llama_synchronize(context.handle)
            return status
        finally:
            if not causal:
                llama_cpp.llama_set_causal_attn(context.handle, True)
