"""A KV cache, the batch to fill it with, and the flag that stops a running batch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

from threadrunner.engine.llama import library
from threadrunner.engine.llama.adapters import apply
from threadrunner.engine.llama.attention import Attention
from threadrunner.engine.llama.errors import ContextLost, EngineError, LoadError
from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.model import Model
from threadrunner.system.c_library import c_library

if TYPE_CHECKING:  # in functions only: numpy takes 60 ms to load
    import numpy as np
    from numpy.typing import NDArray

OK, NO_ROOM, ABORTED = 0, 1, 2
"""What llama_decode answers, beside negative numbers for failures."""
MANY_ROWS = 64
"""Views of scores that are kept; a prompt that is scored has more."""
NOT_POOLED, MEAN, FIRST, LAST, RANK = range(5)
"""How a model makes one vector of a text's: llama.cpp's numbers. RANK is a score, no vector."""


class Context:
    """One KV cache of `n_cells` shared by `n_seq` sequences, a batch to fill, and a flag that stops a running batch.

    One thread calls it; `set_abort` is the one method that another thread may call.
    """

    def __init__(  # noqa: PLR0913 - by name, as llama_context_params has them
        self,
        model: Model,
        *,
        n_cells: int,
        n_seq: int,
        n_batch: int,
        n_ubatch: int,
        threads: int,
        embeddings: bool = False,
        pooling: int | None = None,
        attention: Attention | None = None,
    ) -> None:
        """Batches hold up to `n_batch` tokens, computed `n_ubatch` at a time. `pooling` None: as the model says.
        Raises LoadError."""
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = n_cells
        params.n_batch = n_batch
        params.n_ubatch = n_ubatch
        params.n_seq_max = n_seq if embeddings else n_seq + 1
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True  # a fork is a tag on cells, not a copy
        params.swa_full = True  # a windowed cache forgets what a fork from the middle would need
        params.embeddings = embeddings
        (attention or Attention()).fill(params)
        if pooling is not None:
            params.pooling_type = pooling
        params.no_perf = True
        self._model, self._params = model, params
        self.n_batch, self.n_ubatch, self.n_seq = n_batch, n_ubatch, n_seq
        self._scratch = n_seq
        """A sequence id of our own: holds cells while they are copied."""
        self._n_embd = model.n_embd_out
        self._n_vocab = model.n_vocab
        self._encodes = model.has_encoder
        self._make_batch(n_batch)
        self._flag = ctypes.create_string_buffer(2)
        self._open()
        self.pooling = llama_cpp.llama_pooling_type(self.handle)
        """How it makes one embedding of a sequence; NOT_POOLED: it gives one of each token."""

    def _open(self) -> None:
        """Raises LoadError."""
        library.forget_errors()
        handle = llama_cpp.llama_init_from_model(self._model.handle, self._params)
        if not handle:
            raise LoadError(library.reason())
        self.handle = handle
        self.n_cells = llama_cpp.llama_n_ctx(handle)
        self._memory = llama_cpp.llama_get_memory(handle)
        self.remembers = bool(self._memory)
        """Whether it has a cache: without one, each batch is a text of its own (BERT, diffusion models)."""
        self.abortable = not self._model.where.devices
        """Whether `set_abort` stops a batch. A GPU looks at no flag, so where one computes batches must be short."""
        self._applied: tuple[tuple[int, float], ...] = ()
        self._rows: dict[int, NDArray[np.float32]] = {}
        """Views of logits by their address: to make one takes longer than to look for the highest score."""
        self._nothing: bytearray | None = None
        if self._model.recurrent and not self._params.embeddings:
            self._nothing = bytearray(self.point_size(self._scratch))
            self.save_point(self._scratch, memoryview(self._nothing))
        self._set_abort_callback()

    def resize(self, n_cells: int) -> None:
        """Another number of cells, all of them empty. Raises LoadError where there is no memory for so many; it has as
        many as before then. Raises ContextLost where not even these can be had again, since another process has taken
        the memory meanwhile; nothing but `close` may follow."""
        before = self._params.n_ctx
        self.close()
        try:
            self._params.n_ctx = n_cells
            self._open()
        except LoadError:
            self._params.n_ctx = before
            try:
                self._open()
            except LoadError as error:
                raise ContextLost(f"no memory for the {before} cells that the context had: {error}") from error
            raise

    def _make_batch(self, size: int) -> None:
        """Arrays of our own under llama_batch: ctypes fills a slice of an array at once, a pointer item by item."""
        self._tokens = (ctypes.c_int32 * size)()
        self._positions = (ctypes.c_int32 * size)()
        self._seqs = (ctypes.c_int32 * size)()
        self._outputs = (ctypes.c_int8 * size)()
        self._seq_counts = (ctypes.c_int32 * size)(*([1] * size))
        int_p = ctypes.POINTER(ctypes.c_int32)
        base = ctypes.addressof(self._seqs)
        self._seq_pointers = (int_p * size)(*(ctypes.cast(base + 4 * i, int_p) for i in range(size)))
        batch = llama_cpp.llama_batch()
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
        strlen = ctypes.cast(c_library().strlen, ctypes.c_void_p).value
        self._abort_callback = ctypes.cast(strlen or 0, llama_cpp.ggml_abort_callback)
        data = ctypes.cast(self._flag, ctypes.c_void_p)
        llama_cpp.llama_set_abort_callback(self.handle, self._abort_callback, data)

    def set_abort(self) -> None:
        """Any thread: `decode`, under way or to come, returns ABORTED until the flag is cleared."""
        self._flag[0] = b"\x01"

    def clear_abort(self) -> None:
        self._flag[0] = b"\x00"

    def set_threads(self, threads: int, prefill: int) -> None:
        """As many compute a batch with one token, as `prefill` one with more."""
        self._params.n_threads, self._params.n_threads_batch = threads, prefill
        llama_cpp.llama_set_n_threads(self.handle, threads, prefill)

    def apply(self, adapters: Sequence[tuple[int, float]]) -> None:
        """These adapters, by handles of the model's, each at its scale, hold for the batches to come, and no others."""
        if (wanted := tuple(adapters)) != self._applied:
            self._applied = wanted
            apply(self.handle, wanted)

    # the batch

    def clear_batch(self) -> None:
        self.n_tokens = 0

    def add(self, seq: int, position: int, tokens: Sequence[int], output: bool) -> None:
        """Append a run of a sequence's tokens to the batch; the last of them gives logits if `output`."""
        begin, count = self.n_tokens, len(tokens)
        end = self.n_tokens = begin + count
        if count == 1:
            self._tokens[begin] = tokens[0]
            self._positions[begin] = position
            self._seqs[begin] = seq
        else:
            self._tokens[begin:end] = [*tokens]
            self._positions[begin:end] = [*range(position, position + count)]
            self._seqs[begin:end] = [seq] * count
            self._outputs[begin:end] = [0] * count
        self._outputs[end - 1] = output

    def replace(self, place: int, position: int, token: int) -> None:
        """Another token of the sequence that has this place in the batch."""
        self._tokens[place] = token
        self._positions[place] = position

    def add_all_outputs(self, seq: int, position: int, tokens: Sequence[int]) -> None:
        """As `add`, and each of the tokens gives output."""
        begin = self.n_tokens
        self.add(seq, position, tokens, True)
        self._outputs[begin : self.n_tokens] = [1] * len(tokens)

    def decode(self) -> int:
        """Evaluate the batch: OK, NO_ROOM, ABORTED, or a negative number for a failure."""
        self._batch.n_tokens = self.n_tokens
        status = llama_cpp.llama_decode(self.handle, self._batch)
        if not self.abortable:
            # A GPU is only handed its work by then: without a wait here, batches queue up that no cancel reaches, and
            # the scheduler learns a pace that is not true.
            llama_cpp.llama_synchronize(self.handle)
        return status

    def encode(self) -> int:
        """As `decode`, by the encoder where the model has one: T5's decoder would end the process without its work."""
        self._batch.n_tokens = self.n_tokens
        call = llama_cpp.llama_encode if self._encodes else llama_cpp.llama_decode
        return call(self.handle, self._batch)

    def logits(self, index: int) -> ctypes._Pointer[ctypes.c_float]:
        """After the batch's token `index`: n_vocab floats, valid until the next `decode`."""
        return llama_cpp.llama_get_logits_ith(self.handle, index)

    def row(self, index: int) -> NDArray[np.float32]:
        """The same as an array, no copy."""
        if not (logits := self.logits(index)):
            raise EngineError("the model gave no scores")
        address = ctypes.addressof(logits.contents)
        if (row := self._rows.get(address)) is None:
            import numpy as np

            if len(self._rows) >= MANY_ROWS:
                self._rows.clear()
            row = self._rows[address] = np.ctypeslib.as_array(logits, shape=(self._n_vocab,))
        return row

    def pooled_embedding(self, seq: int) -> list[float]:
        """Of all the tokens of a sequence, where `pooling` says how (but not RANK, whose buffer is shorter): n_embd_out
        floats, of any length as a vector. Raises EngineError."""
        return self._pooled(seq)[: self._n_embd]

    def score(self, seq: int) -> float:
        """Of a sequence, where `pooling` is RANK: the first of what the model's head gives. Raises EngineError."""
        return float(self._pooled(seq)[0])

    def embeddings(self) -> NDArray[np.float32]:
        """Of all the batch's tokens, where each gives output: a row of n_embd_out floats each, valid until the next
        batch. Raises EngineError."""
        import numpy as np

        floats = llama_cpp.llama_get_embeddings(self.handle)
        if not floats:
            raise EngineError("the model gave no embedding")
        return np.ctypeslib.as_array(floats, shape=(self.n_tokens, self._n_embd))

    def _pooled(self, seq: int) -> ctypes._Pointer[ctypes.c_float]:
        if not (floats := llama_cpp.llama_get_embeddings_seq(self.handle, seq)):
            raise EngineError("the model gave no embedding")
        return floats

    # the KV cache; positions are [begin, end), end -1 is all the rest

    def remove(self, seq: int, begin: int = -1, end: int = -1) -> None:
        llama_cpp.llama_memory_seq_rm(self._memory, seq, begin, end)

    def share(self, source: int, target: int, begin: int, end: int) -> None:
        """`target` sees `source`'s cells at these positions too; none is copied."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, begin, end)

    def first_position(self, seq: int) -> int:
        """The first position that is whole in all layers; -1 where the sequence has none."""
        return llama_cpp.llama_memory_seq_pos_min(self._memory, seq)

    def last_position(self, seq: int) -> int:
        """The last position; -1 where the sequence has none."""
        return llama_cpp.llama_memory_seq_pos_max(self._memory, seq)

    # the state of cells, for the same model and build; copied out and in by way of a sequence of our own, because
    # llama.cpp saves whole sequences and empties the one that it restores

    def state_size(self, seq: int, begin: int, end: int) -> int:
        """Bytes of the state of these cells."""
        self._hold(seq, begin, end)
        try:
            return llama_cpp.llama_state_seq_get_size(self.handle, self._scratch)
        finally:
            self.remove(self._scratch)

    def save(self, seq: int, begin: int, end: int, into: memoryview) -> bool:
        """Copy the state of these cells; False when it has another size than `into`."""
        self._hold(seq, begin, end)
        written = llama_cpp.llama_state_seq_get_data(self.handle, _bytes(into), len(into), self._scratch)
        self.remove(self._scratch)
        return written == len(into)

    def _hold(self, seq: int, begin: int, end: int) -> None:
        self.share(seq, self._scratch, begin, end)
        if self._nothing is not None:
            # a recurrent state is shared whole, whatever the positions: it is a point's, not the cells'
            nothing = memoryview(self._nothing)
            llama_cpp.llama_state_seq_set_data_ext(
                self.handle, _bytes(nothing), len(nothing), self._scratch, llama_cpp.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
            )

    def restore(self, seq: int, state: memoryview, begin: int, end: int) -> bool:
        """Give the sequence, which has no cells at these positions, those of a saved state that may have more; False
        when llama.cpp refuses it. The bytes are trusted."""
        if not llama_cpp.llama_state_seq_set_data(self.handle, _bytes(state), len(state), self._scratch):
            self.remove(self._scratch)  # of two caches the second may have had no room: what is in the first stays
            return False
        self.share(self._scratch, seq, begin, end)
        self.remove(self._scratch)
        return True

    # what cannot be cut: the state of recurrent layers, and of layers with a sliding window the cells that it shows

    def point_size(self, seq: int) -> int:
        """Bytes that `save_point` needs."""
        flags = llama_cpp.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
        return llama_cpp.llama_state_seq_get_size_ext(self.handle, seq, flags)

    def save_point(self, seq: int, into: memoryview) -> bool:
        """Copy it as it is at the sequence's end; False when it has another size than `into`."""
        flags = llama_cpp.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
        return llama_cpp.llama_state_seq_get_data_ext(self.handle, _bytes(into), len(into), seq, flags) == len(into)

    def restore_point(self, seq: int, state: memoryview) -> bool:
        """Put it in the place of what the sequence has, whose last position must be the saved one's; False when
        llama.cpp refuses it. The bytes are trusted."""
        flags = llama_cpp.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
        return llama_cpp.llama_state_seq_set_data_ext(self.handle, _bytes(state), len(state), seq, flags) != 0

    def close(self) -> None:
        handle, self.handle = self.handle, llama_cpp.llama_context_p(0)
        if handle:
            llama_cpp.llama_free(handle)


def _bytes(view: memoryview) -> ctypes.Array[ctypes.c_uint8]:
    return (ctypes.c_uint8 * len(view)).from_buffer(view)
