"""Records the README's pictures: runs real commands on a terminal of its own and draws what they printed, as SVG.

    python docs/pictures/record.py NAME TITLE COMMAND...        writes docs/pictures/NAME.svg

Each COMMAND is run by bash and shown after a prompt. The colours and the shape of the window are rich's.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 106


def run(command: str) -> str:
    """What the command shows on a terminal."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    with subprocess.Popen(["bash", "-c", command], stdin=theirs, stdout=theirs, stderr=theirs, env=env):
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # EIO: the command has closed its end
                break
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def main(name: str, title: str, *commands: str) -> None:
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        for command in commands:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            lines = run(command).split("\n")
            # A progress line is drawn over: only the text after the last carriage return is visible.
            console.print(Text.from_ansi("\n".join(line.rpartition("\r")[2] for line in lines)), end="")
            console.print()
        Path(__file__).with_name(f"{name}.svg").write_text(console.export_svg(title=title))


if __name__ == "__main__":
    main(*sys.argv[1:])
