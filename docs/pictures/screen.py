"""A full-screen program on a terminal of tmux, and the picture of what that terminal shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from rich.console import Console
from rich.text import Text

from tests.clients.support import program

WIDTH, HEIGHT = 84, 20
LINE = 11
"""Of CODE: where the pictures' suggestion is typed, from 1."""
CODE = '''"""Small statistics."""

from math import sqrt


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def variance(values: list[float]) -> float:
    

def deviation(values: list[float]) -> float:
    return sqrt(variance(values))
'''  # noqa: W293


class Screen:
    """For `with`: the program ends with the block."""

    def __init__(self, command: str, env: dict[str, str]) -> None:
        self._tmux = [program("tmux"), "-L", f"record-{os.getpid()}"]
        size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
        start = [*self._tmux, "-f", os.devnull, "new-session", "-d", *size, "-s", "r", command]
        subprocess.run(start, env={**env, "COLORTERM": "truecolor"}, check=True)

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False)

    def keys(self, *keys: str) -> None:
        """By tmux's names, or text."""
        subprocess.run([*self._tmux, "send-keys", "-t", "r", *keys], check=True)

    def save(self, name: str, title: str) -> None:
        """Write docs/pictures/NAME.svg."""
        shown = subprocess.run([*self._tmux, "capture-pane", "-t", "r", "-e", "-p"], check=True, capture_output=True)
        with Path(os.devnull).open("w") as nowhere:
            console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
            console.print(Text.from_ansi(shown.stdout.decode()), end="")
            (HERE / f"{name}.svg").write_text(console.export_svg(title=title))
