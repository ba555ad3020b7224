"""What tests ask llama.cpp itself, past the engine."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

from threadrunner.engine.llama import library
from threadrunner.engine.llama.context import Context
from threadrunner.engine.llama.library import llama_cpp


def cells_in_use(context: Context) -> int:
    """llama.cpp's own count: it is at the head of a saved state. The buffer ends soon after it, so that the rest is
    not written."""
    head = (ctypes.c_uint8 * 64)()
    llama_cpp.llama_state_get_data(context.handle, head, len(head))
    data = bytes(head)
    name = int.from_bytes(data[:4], "little")
    streams, cells = struct.unpack_from("<II", data, 4 + name)
    assert streams == 1
    return int(cells)


def write_in_f32(model: Path, path: Path) -> None:
    """The model again, its weights in F32."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = 0, True
    library.start()  # or llama.cpp writes a line for each tensor to stderr
    assert llama_cpp.llama_model_quantize(str(model).encode(), str(path).encode(), ctypes.byref(params)) == 0
