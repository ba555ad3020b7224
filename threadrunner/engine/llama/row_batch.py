"""A batch of rows in place of tokens: what an encoder made of a picture, for the model that looks at it."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.mtmd import Rows


class RowPlaces(NamedTuple):
    """So many rows, and their positions as llama.cpp reads them."""

    rows: int
    positions: list[int]


def in_order(position: int, count: int) -> RowPlaces:
    """Each row behind the one before it."""
    return RowPlaces(count, [*range(position, position + count)])


def by_line(position: int, begin: int, count: int, columns: int) -> RowPlaces:
    """Rows from number `begin` on of a picture with so many in a line, under M-RoPE: all at one position, with their
    line and column counted from it, and a fourth number of no use. By mtmd-helper.cpp, `set_position_mrope_2d`."""
    rows = range(begin, begin + count)
    lines, across = [position + row // columns for row in rows], [position + row % columns for row in rows]
    return RowPlaces(count, [*[position] * count, *lines, *across, *[0] * count])


class RowBatch:
    """Evaluates rows in a context's cells, alone: a batch of llama.cpp's has either tokens or rows."""

    def __init__(self, context: Context, width: int) -> None:
        """Rows of `width` floats."""
        size = context.n_batch
        self._context = context
        self._width = width
        self._positions = (ctypes.c_int32 * (4 * size))()
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

    def decode(self, seq: int, rows: Rows, begin: int, where: RowPlaces, *, causal: bool) -> int:
        """Evaluate rows from number `begin` on, where these are; none gives logits. Answers as Context.decode. Where
        not `causal`, they look at each other, and all must be in one n_ubatch: else llama.cpp ends the process."""
        context = self._context
        self._seq.value = seq
        count, positions = where
        self._positions[: len(positions)] = [*positions]
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
