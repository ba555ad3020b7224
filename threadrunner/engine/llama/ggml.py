"""Functions of ggml that llama_cpp does not declare: its devices, GGUF headers, sizes of types.

libllama is linked with ggml, so the system's linker finds them through the library that is open already.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from ctypes import c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p
from typing import Any

from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.library import llama_cpp


class GgufParams(ctypes.Structure):
    """struct gguf_init_params: with `no_alloc` and no context, only the header is read."""

    _fields_ = (("no_alloc", c_bool), ("ctx", c_void_p))


_SIZE_P = ctypes.POINTER(c_size_t)
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "ggml_backend_dev_count": (c_size_t,),
    "ggml_backend_dev_get": (c_void_p, c_size_t),
    "ggml_backend_dev_name": (c_char_p, c_void_p),
    "ggml_backend_dev_description": (c_char_p, c_void_p),
    "ggml_backend_dev_type": (c_int, c_void_p),
    "ggml_backend_dev_memory": (None, c_void_p, _SIZE_P, _SIZE_P),
    "ggml_backend_cpu_buffer_type": (c_void_p,),
    "ggml_row_size": (c_size_t, c_int, c_int64),
    "ggml_blck_size": (c_int64, c_int),
    "gguf_init_from_file": (c_void_p, c_char_p, GgufParams),
    "gguf_free": (None, c_void_p),
    "gguf_find_key": (c_int64, c_void_p, c_char_p),
    "gguf_get_kv_type": (c_int, c_void_p, c_int64),
    "gguf_get_arr_type": (c_int, c_void_p, c_int64),
    "gguf_get_arr_n": (c_size_t, c_void_p, c_int64),
    "gguf_get_arr_data": (c_void_p, c_void_p, c_int64),
    "gguf_get_val_data": (c_void_p, c_void_p, c_int64),
    "gguf_get_val_str": (c_char_p, c_void_p, c_int64),
    "gguf_get_n_tensors": (c_int64, c_void_p),
    "gguf_get_tensor_name": (c_char_p, c_void_p, c_int64),
    "gguf_get_tensor_size": (c_size_t, c_void_p, c_int64),
}
"""Name -> what it returns, what it takes."""


@functools.cache
def function(name: str) -> Callable[..., Any]:
    """The C function of that name. Raises LoadError where this build of llama.cpp has none."""
    result, *arguments = _FUNCTIONS[name]
    try:
        found = getattr(llama_cpp._lib, name)
    except AttributeError:
        raise LoadError(
            f"this build of llama.cpp has no {name}; install the version that threadrunner asks for"
        ) from None
    found.restype, found.argtypes = result, arguments
    return found  # type: ignore[no-any-return]  # ctypes types no function


def row_bytes(kind: int, numbers: int) -> int:
    """Bytes of so many numbers of a ggml type; a part of a block counts by its share."""
    block = int(function("ggml_blck_size")(kind))
    return -(-int(function("ggml_row_size")(kind, numbers * block)) // block)
