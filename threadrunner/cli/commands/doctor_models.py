"""The doctor's findings about models: is there one, does it fit, how fast is it read from the disk."""

from __future__ import annotations

import os
import time

from threadrunner import config, machine, paths
from threadrunner.cli import render, request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Finding = tuple[str, str, str]
    """How it is (OK, NOTE or BAD), what was looked at, and what there is to say about it."""

OK, NOTE, BAD = "ok", "note", "FAIL"
_SAMPLE_BYTES = 32 << 20
_SLOW = 100_000_000  # bytes a second; a disk of today reads five times that, a network drive or an old one does not


def ok(what: str, text: str) -> Finding:
    return OK, what, text


def note(what: str, text: str) -> Finding:
    """Nothing fails, but the user should know."""
    return NOTE, what, text


def bad(what: str, text: str) -> Finding:
    """A prompt fails for this; the text says what to do."""
    return BAD, what, text


def options() -> config.Config:
    """Those in force; the defaults where they cannot be used, which the check of the configuration reports."""
    try:
        return config.load()
    except config.ConfigError:
        return config.Config()


def found() -> Iterator[Finding]:
    chosen, files, known = _chosen(), _files(), options()
    if os.path.isabs(chosen):
        yield _file(chosen)
    elif chosen.endswith(".gguf") and ":" not in chosen and chosen not in files and chosen not in known.aliases:
        listed = f"there are {', '.join(files)}" if files else "there is none"
        yield bad("model", f"the default one, {chosen}, is not in {paths.models_dir()}: {listed}; change `model`")
    elif files:
        yield ok("model", f"{', '.join(files)} in {paths.models_dir()}")
    elif known.offline and known.backend == "llama":
        yield bad(
            "model", f"none in {paths.models_dir()}, and fetching one is forbidden; allow it (`offline`) or put one"
        )
    else:
        yield note("model", f"none in {paths.models_dir()} yet; the first prompt fetches the default one")


def _chosen() -> str:
    """The default model's path or name."""
    known = options()
    return str(request.target(None).get("model") or known.model_path or known.model)


def _files() -> list[str]:
    try:
        return sorted(name for name in os.listdir(paths.models_dir()) if name.endswith(".gguf"))
    except OSError:
        return []


def _candidates() -> list[str]:
    """Paths of the models that a prompt may use: the chosen one, else all in the folder."""
    chosen = _chosen()
    listed = [chosen] if os.path.isabs(chosen) else [os.path.join(paths.models_dir(), name) for name in _files()]
    return [path for path in listed if os.path.isfile(path)]


def memory() -> Iterator[Finding]:
    free = machine.available_memory()
    if free is None:
        return
    yield ok("memory", f"{render.size(free)} free")
    for path in _candidates():
        needed = machine.bytes_for(os.path.getsize(path))
        if needed > free:
            yield note(
                "memory",
                f"{os.path.basename(path)} takes about {render.size(needed)}; use a smaller quantization, unload other "
                "models (`threadrunner unload`), or close other large programs",
            )


def reading() -> Iterator[Finding]:
    """How fast a model's file is read: its middle, which is less likely to be in memory already."""
    for path in _candidates()[:1]:
        size = os.path.getsize(path)
        count = min(size, _SAMPLE_BYTES)
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek((size - count) // 2)
                began = time.perf_counter()
                count = len(file.read(count))
        except OSError as error:
            yield bad("reading", f"{path}: {error.strerror}; change its permissions, or use another")
            return
        rate = count / max(time.perf_counter() - began, 1e-6)
        if count >= _SAMPLE_BYTES // 4 and rate < _SLOW:
            yield note(
                "reading",
                f"{render.size(int(rate))}/s from {path}: loading takes {render.duration(size / rate)}; a local disk "
                "is faster",
            )
        else:
            yield ok("reading", f"{render.size(int(rate))}/s from {os.path.dirname(path)}")


def _file(path: str) -> Finding:
    try:
        with open(path, "rb") as file:
            head = file.read(4)
    except OSError as error:
        return bad("model", f"{path}: {error.strerror}; set THREADRUNNER_MODEL_PATH to a GGUF file")
    if head != b"GGUF":
        return bad("model", f"{path} is not a GGUF file; set THREADRUNNER_MODEL_PATH to one")
    return ok("model", f"{path} ({render.size(os.path.getsize(path))})")
