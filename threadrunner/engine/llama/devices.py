"""What this build of llama.cpp computes on: ggml's devices, and the memory that each has left."""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Sequence
from typing import NamedTuple

from threadrunner.engine.llama import ggml, library
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.library import llama_cpp

CPU, GPU, IGPU, ACCELERATOR = "cpu", "gpu", "igpu", "accelerator"
_KINDS = (CPU, GPU, IGPU, ACCELERATOR)
"""By ggml_backend_dev_type. An IGPU computes in the machine's own memory; an accelerator helps the CPU (BLAS)."""


class Device(NamedTuple):
    """One of ggml's devices, as it was when it was asked."""

    name: str
    """Unique: CUDA0, Vulkan1, Metal."""
    description: str
    kind: str
    free: int
    """Bytes; 0 where the driver does not tell."""
    total: int
    handle: int
    """ggml's own, for llama_model_params."""


def devices() -> list[Device]:
    """All of them, the CPU included. The first call starts the drivers, which may take a second."""
    library.start()
    get = ggml.function("ggml_backend_dev_get")
    return [_device(get(index)) for index in range(ggml.function("ggml_backend_dev_count")())]


def _device(handle: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ggml.function("ggml_backend_dev_memory")(handle, ctypes.byref(free), ctypes.byref(total))
    kind = ggml.function("ggml_backend_dev_type")(handle)
    return Device(
        name=_text(ggml.function("ggml_backend_dev_name")(handle)),
        description=_text(ggml.function("ggml_backend_dev_description")(handle)),
        kind=_KINDS[kind] if kind < len(_KINDS) else "other",
        free=free.value,
        total=total.value,
        handle=handle,
    )


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace").strip()


def gpus(wanted: Sequence[str] = ()) -> list[Device]:
    """The GPUs that layers may be given to, in the order wanted; none named: all, and those that compute in the
    machine's own memory only where there is no other. Raises LoadError for a name that no device has."""
    able = [device for device in devices() if device.kind in (GPU, IGPU)]
    if not wanted:
        return [device for device in able if device.kind == GPU] or able
    named = {device.name.casefold(): device for device in able}
    for name in wanted:
        if name.casefold() not in named:
            there = ", ".join(device.name for device in able) or "none: this build of llama.cpp is for the CPU alone"
            raise LoadError(f"no GPU is named {name!r}; there is {there}. Change `devices` in config.toml")
    return [named[name.casefold()] for name in wanted]


def refreshed(before: Sequence[Device]) -> list[Device]:
    """The same devices as they are now."""
    return [_device(device.handle) for device in before]


def main() -> None:
    """What `threadrunner doctor` asks, in a process of its own: a driver may end it."""
    found = [{key: value for key, value in device._asdict().items() if key != "handle"} for device in devices()]
    features = llama_cpp.llama_print_system_info().decode("utf-8", "replace").strip(" |\n")
    json.dump({"version": library.build(), "features": features, "devices": found}, sys.stdout)


if __name__ == "__main__":
    main()
