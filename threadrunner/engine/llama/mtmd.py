"""llama.cpp's encoder of pictures (libmtmd): a file to rows of floats, which a model takes in place of tokens.

The only module that calls libmtmd. Its helpers that evaluate are not used: they would stop all other sequences for a
whole picture. Video is decoded by starting ffmpeg there: the folder in which to look for that does not exist.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass, field
from typing import Any

from threadrunner.engine.llama import library
from threadrunner.engine.llama.errors import EngineError, LoadError, UnreadablePicture
from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.model import Model

_TEXT, _IMAGE = 0, 1
_MARKER = b"<__media__>"
_NOWHERE = b"/nonexistent"

Rows = ctypes.Array[ctypes.c_float]


def _library() -> Any:
    """On first need: most models have no encoder."""
    found = library.submodule("mtmd_cpp")
    found.mtmd_helper_log_set(library.on_log, None)
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """What stands for a picture, or a piece of one, among a prompt's tokens."""

    size: int
    """Rows, of which each takes a cell."""
    positions: int
    """How many positions further the text after it is."""
    columns: int = 0
    """Rows in a line of it, where they have positions by line and column (M-RoPE)."""


@dataclass(slots=True)
class Chunks:
    """A picture as the encoder wants it: tokens before, between and behind its parts."""

    handle: int
    parts: list[list[int] | Part] = field(default_factory=list)


class Projector:
    """One mmproj file for one model, which must live longer. The computing thread calls it."""

    def __init__(self, path: str, model: Model, threads: int) -> None:
        """Raises LoadError."""
        self._mtmd = _library()
        library.forget_errors()
        params = self._mtmd.mtmd_context_params_default()
        params.use_gpu = bool(model.where.devices)
        params.n_threads = threads
        params.print_timings = False
        params.warmup = False  # it would encode a picture, for seconds
        handle = self._mtmd.mtmd_init_from_file(os.fsencode(path), model.handle, params)
        if not handle:
            raise LoadError(f"the mmproj {os.path.basename(path)} cannot be used with this model: {library.reason()}")
        self._handle = handle
        self._closed = False
        self.sees = bool(self._mtmd.mtmd_support_vision(handle))
        self.hears = bool(self._mtmd.mtmd_support_audio(handle))
        self.causal = not self._mtmd.mtmd_decode_use_non_causal(handle, None)
        """Whether a row looks only at those before it; else all rows of a part look at each other."""
        self.turns = bool(self._mtmd.mtmd_decode_use_mrope(handle))
        """Whether rows have positions by line and column (M-RoPE)."""
        self.width = llama_cpp.llama_model_n_embd_inp(model.handle)
        """Floats of a row."""

    def layout(self, width: int, height: int) -> list[list[int] | Part]:
        """What a picture of so many pixels becomes: tokens, and parts of it. Raises EngineError."""
        chunks = self._chunks(self._mtmd.mtmd_bitmap_init(width, height, None))
        try:
            return chunks.parts
        finally:
            self.free(chunks)

    def read(self, data: bytes) -> Chunks:
        """The decoded picture, ready to be encoded; `free` is the caller's. Raises EngineError."""
        library.forget_errors()
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        options = self._mtmd.mtmd_helper_init_opt_default()
        options.video_params.ffmpeg_bin_dir = _NOWHERE
        bitmap = self._mtmd.mtmd_helper_bitmap_init_from_buf(self._handle, buffer, len(data), False, options)
        if not bitmap:
            raise UnreadablePicture("a picture cannot be decoded: its file is damaged or cut short; save it again")
        return self._chunks(bitmap)

    def _chunks(self, bitmap: int | None) -> Chunks:
        """Takes the bitmap. Raises EngineError."""
        calls = self._mtmd
        if not bitmap:
            raise EngineError("there is no memory for the picture")
        chunks = Chunks(calls.mtmd_input_chunks_init())
        text = calls.mtmd_input_text(_MARKER, len(_MARKER), False, True)
        bitmaps = (ctypes.c_void_p * 1)(bitmap)
        try:
            status = calls.mtmd_tokenize(self._handle, chunks.handle, ctypes.byref(text), bitmaps, 1)
        finally:
            calls.mtmd_bitmap_free(bitmap)
        if status:
            self.free(chunks)
            raise EngineError(f"the model's encoder refuses the picture: {library.reason()}")
        count = calls.mtmd_input_chunks_size(chunks.handle)
        chunks.parts = [self._part(calls.mtmd_input_chunks_get(chunks.handle, i)) for i in range(count)]
        if any(token < 0 for part in chunks.parts if isinstance(part, list) for token in part):
            self.free(chunks)
            raise EngineError("the mmproj is for another model: this one lacks a token that it puts beside pictures")
        return chunks

    def _part(self, chunk: int) -> list[int] | Part:
        calls = self._mtmd
        if calls.mtmd_input_chunk_get_type(chunk) != _TEXT:
            size = calls.mtmd_input_chunk_get_n_tokens(chunk)
            positions = calls.mtmd_input_chunk_get_n_pos(chunk)
            if not self.turns:
                return Part(size, positions)
            image = calls.mtmd_input_chunk_get_tokens_image(chunk)
            return Part(size, positions, calls.mtmd_image_tokens_get_decoder_pos(image, 0, size - 1).x + 1)
        count = ctypes.c_size_t()
        tokens = calls.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
        return [int(token) for token in tokens[: count.value]]

    def encode(self, chunks: Chunks, part: int) -> Rows:
        """The rows of the picture's part of that number: seconds of computing. Raises EngineError."""
        library.forget_errors()
        at = [i for i, p in enumerate(chunks.parts) if isinstance(p, Part)][part]
        chunk, size = self._mtmd.mtmd_input_chunks_get(chunks.handle, at), chunks.parts[at]
        assert isinstance(size, Part)
        if self._mtmd.mtmd_encode_chunk(self._handle, chunk):
            raise EngineError(f"the picture could not be encoded: {library.reason()}")
        rows: Rows = (ctypes.c_float * (size.size * self.width))()
        ctypes.memmove(rows, self._mtmd.mtmd_get_output_embd(self._handle), ctypes.sizeof(rows))
        return rows

    def free(self, chunks: Chunks) -> None:
        self._mtmd.mtmd_input_chunks_free(chunks.handle)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._mtmd.mtmd_free(self._handle)
