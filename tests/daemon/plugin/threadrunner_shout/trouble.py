"""A backend that does on request what cannot be had otherwise: crashes, loads that fail, answers that never end.

The model's name says how the load goes: `fail`, `crash`, `exit`, `hang`; anything else loads.

The prompt says how the answer goes: `drip` never ends; `wide N` gives N pieces of 1 kB; `crash SIGNAL` ends the worker
by it; `raise` breaks in Python; `hang WHERE` hangs in native code in `submit`, `step`, `cancel` or `close`, with the
GIL, and `spin` in Python; `child` starts a process that keeps our standard error open; `file` gives what the model's
file held at the load, `head` its beginning; one that holds `bad` does not load.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from threadrunner.api import types as t
from threadrunner.api.errors import ModelLoadFailed
from threadrunner.backends.base import Event, Finished, ModelFacts, ModelSpec, Params, Piece


def hang() -> None:
    """As an endless loop in C does: no other thread runs, no signal handler. PyDLL keeps the GIL, CDLL does not."""
    ctypes.PyDLL(None).sleep(3600)


def _break(what: str, rest: list[str]) -> None:
    match what:
        case "crash":
            os.kill(os.getpid(), signal.Signals[rest[0]])
        case "raise":
            raise RuntimeError("the backend is broken")
        case "hang" if rest == ["step"]:
            hang()
        case "spin":
            while True:
                pass


class TroubleBackend:
    def __init__(self) -> None:
        self._open: dict[int, list[str]] = {}
        self._hangs_in_close = False
        self._cancelled = 0
        self._active: dict[int, int] = {}

    def load(self, spec: ModelSpec, report: Callable[[int, int], None]) -> ModelFacts:
        if spec.name == "fail":
            raise ModelLoadFailed("the file is no good", path=spec.path)
        if spec.path:
            self._held = Path(spec.path).open()  # noqa: SIM115  # as a mapping is: or the next file got its inode
            self._file = self._held.read()
            if self._file.startswith("bad"):
                raise ModelLoadFailed(f"{spec.path} is bad")
        if spec.name == "hang":
            hang()
        if spec.name == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if spec.name == "exit":
            print("these were my last words", file=sys.stderr)
            sys.exit(7)
        return ModelFacts(context=1000)

    def submit(self, id: int, params: Params) -> None:
        assert isinstance(params, t.GenerateParams)
        said = params.messages[-1].content if params.messages else params.prompt
        assert said
        if said == "hang submit":
            hang()
        self._hangs_in_close |= said == "hang close"
        self._open[id] = said.split()
        self._active[id] = 0

    def step(self) -> list[Event]:
        events: list[Event] = []
        for id, (what, *rest) in list(self._open.items()):
            self._active[id] += 1
            _break(what, rest)
            match what:
                case "child":
                    child = subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL)
                    self._end(id, events, str(child.pid))
                case "wide":
                    if self._active[id] <= int(rest[0]):
                        events.append(Piece(id, 0, "x" * 1023 + "\n"))
                    else:
                        self._end(id, events)
                case "file":
                    self._end(id, events, self._file)
                case "head":
                    self._end(id, events, self._file[:20])
                case "drip" | "hang" if rest != ["close"]:
                    time.sleep(0.002)  # the work of a token
                    events.append(Piece(id, 0, "drip "))
                case _:
                    self._end(id, events)
        return events

    def _end(self, id: int, events: list[Event], text: str = "") -> None:
        text = text or f"{self._cancelled} cancelled, {len(self._open) - 1} others"
        del self._open[id]
        events.append(Finished(id, t.Generated(text, "stop", "trouble", t.Usage(), t.Timings())))

    def cancel(self, id: int) -> None:
        self._cancelled += 1
        if self._open.pop(id) == ["hang", "cancel"]:
            hang()

    def close(self) -> None:
        if self._hangs_in_close:
            hang()
