"""The doctor's findings about models: is there one, does it fit, how fast does it come from the disk."""

from __future__ import annotations

import os
import time

from threadrunner import config, paths
from threadrunner.cli import prompt, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Finding = tuple[str, str, str]

OK, NOTE, BAD = "ok", "note", "FAIL"
_SAMPLE = 32 << 20
_SLOW = 100_000_000  # bytes a second; a disk of today reads five times that, a network drive or an old one does not


def found() -> Iterator[Finding]:
    chosen = _chosen()
    if os.path.isabs(chosen):
        yield _file(chosen)
        return
    files = _files()
    if files:
        yield OK, "model", f"{', '.join(files)} in {paths.models_dir()}"
    else:
        yield NOTE, "model", f"none in {paths.models_dir()} yet; the first prompt fetches the default one"


def _chosen() -> str:
    """The default model's path or name, as far as the shell and the configuration say it."""
    try:
        default = config.load().model_path
    except config.ConfigError:  # _config has told
        default = ""
    return str(prompt.target(None).get("model") or default)


def _files() -> list[str]:
    try:
        return sorted(name for name in os.listdir(paths.models_dir()) if name.endswith(".gguf"))
    except OSError:
        return []


def _looked_at() -> list[str]:
    """The models whose size and speed matter here: the chosen one, else all in the folder."""
    chosen = _chosen()
    listed = [chosen] if os.path.isabs(chosen) else [os.path.join(paths.models_dir(), name) for name in _files()]
    return [path for path in listed if os.path.isfile(path)]


def memory() -> Iterator[Finding]:
    try:
        with open("/proc/meminfo") as file:
            kilobytes = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # another system
        return
    free = kilobytes * 1024
    yield OK, "memory", f"{render.size(free)} free"
    for path in _looked_at():
        needed = os.path.getsize(path) * 5 // 4
        if needed > free:
            yield (
                NOTE,
                "memory",
                (
                    f"{os.path.basename(path)} takes about {render.size(needed)}; use a smaller quantization, unload "
                    "other models (`threadrunner unload`), or close what else is large"
                ),
            )


def reading() -> Iterator[Finding]:
    """How fast a model's file comes from the disk: its middle, which is less likely to be in memory already."""
    for path in _looked_at()[:1]:
        size = os.path.getsize(path)
        count = min(size, _SAMPLE)
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek((size - count) // 2)
                began = time.perf_counter()
                count = len(file.read(count))
        except OSError as error:
            yield BAD, "reading", f"{path}: {error.strerror}; change its permissions, or use another"
            return
        rate = count / max(time.perf_counter() - began, 1e-6)
        if count >= _SAMPLE // 4 and rate < _SLOW:
            yield (
                NOTE,
                "reading",
                (
                    f"{render.size(int(rate))}/s from {path}: loading takes {render.duration(size / rate)}; a local "
                    "disk is faster"
                ),
            )
        else:
            yield OK, "reading", f"{render.size(int(rate))}/s from {os.path.dirname(path)}"


def _file(path: str) -> Finding:
    try:
        with open(path, "rb") as file:
            head = file.read(4)
    except OSError as error:
        return BAD, "model", f"{path}: {error.strerror}; set THREADRUNNER_MODEL_PATH to a GGUF file"
    if head != b"GGUF":
        return BAD, "model", f"{path} is no GGUF file; set THREADRUNNER_MODEL_PATH to one"
    return OK, "model", f"{path} ({render.size(os.path.getsize(path))})"
