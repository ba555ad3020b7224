"""llama.cpp's ctypes modules, their start and their log. The only module that imports llama_cpp.

llama_cpp's package __init__ pulls in numpy, jinja2 and the high-level API (170 ms where its ctypes module alone takes
40), so the package is entered through a bare stand-in and only the low-level module runs.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections import deque
from types import ModuleType
from typing import TYPE_CHECKING

from threadrunner.engine.llama.errors import LoadError

log = logging.getLogger("threadrunner.engine")
log.addHandler(logging.NullHandler())  # without any handler, Python would print warnings to stderr


def submodule(name: str) -> ModuleType:
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


if TYPE_CHECKING:
    from llama_cpp import llama_cpp as llama_cpp  # .stubs/llama_cpp: the installed module leaves its functions untyped
else:
    llama_cpp = submodule("llama_cpp")

# ggml's log levels: 1 debug, 2 info, 3 warning, 4 error, 5 continues the line before it
_recent_errors: deque[str] = deque(maxlen=8)
_recent_warnings: deque[str] = deque(maxlen=32)
_last_level = 1


@llama_cpp.llama_log_callback
def on_log(level: int, text: bytes, _data: int | None) -> None:
    global _last_level
    level = _last_level = _last_level if level == 5 else level
    line = text.decode("utf-8", "replace").strip()
    if not line or line == ".":
        return
    if level >= 4:
        _recent_errors.append(line)
    elif level == 3:
        _recent_warnings.append(line)
    # what ends a load or a request is raised with its reason; an aborted batch, which is none, logs "errors" too
    log.log(logging.INFO if level >= 3 else logging.DEBUG, "%s", line)


_started = False
NUMA = {"off": 0, "distribute": 1, "isolate": 2, "numactl": 3}
"""How threads are tied to the memory that is near them, by llama.cpp's numbers."""


def start(numa: str = "off") -> None:
    """Send llama.cpp's log to ours and initialize it, once: the first call's `numa` holds. Every load calls it. Raises
    LoadError for one that is not in NUMA."""
    global _started
    if numa not in NUMA:
        raise LoadError(f"numa {numa!r}: use one of {', '.join(NUMA)}")
    if not _started:
        llama_cpp.llama_log_set(on_log, None)  # first, or the CPU's feature list is written to stderr
        llama_cpp.llama_backend_init()
        if NUMA[numa]:
            llama_cpp.llama_numa_init(NUMA[numa])
        _started = True


def forget_errors() -> None:
    """Before a call whose failure `reason`, or whose `warnings`, will be asked for."""
    _recent_errors.clear()
    _recent_warnings.clear()


def warnings(about: str) -> list[str]:
    """What llama.cpp has warned of since `forget_errors`, where it has this word in it."""
    return [line.removeprefix("warning: ") for line in _recent_warnings if about in line]


def reason() -> str:
    """llama.cpp's last error lines without its function names, the cause first."""
    lines = [line.split(": ", 1)[1] if ": " in line else line for line in _recent_errors]
    lines = [line for line in lines if "failed to load model" not in line] or lines
    return "; ".join(dict.fromkeys(lines)) or "llama.cpp gave no reason"


def build() -> str:
    """Which llama.cpp this is; saved state is not carried from one to another."""
    from pathlib import Path  # not importlib.metadata, which imports the email package: 30 ms of a cold start

    spec = importlib.util.find_spec("llama_cpp")
    packages = Path(spec.origin).parent.parent if spec and spec.origin else Path()
    for place in packages.glob("llama_cpp_python-*.dist-info"):
        return place.stem.partition("-")[2]
    from importlib import metadata

    return metadata.version("llama-cpp-python")
