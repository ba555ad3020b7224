"""Records the README's picture of `threadrunner setup`: a real run at a terminal, with what is typed.

    python docs/pictures/record_setup.py QWEN_CODER.gguf        writes docs/pictures/setup.svg

The file is Qwen2.5-Coder-0.5B-Instruct Q4_K_M, which a hub of the tests' own serves: so this model is chosen to
complete code, and none to chat. The home folder is a fresh one, shown as /home/you.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from rich.console import Console
from rich.text import Text

from tests.daemon.downloads.hub import running_hub
from tests.shell import Terminal
from threadrunner.daemon.models.known import known

WIDTH = 118
NAME = "qwen2.5-coder:0.5b"
QUESTION = "for none [1]: "


def main(model: str) -> None:
    entry = known()[NAME]
    with running_hub() as hub, tempfile.TemporaryDirectory() as home:
        hub.files[entry.repo] = {entry.file: Path(model).read_bytes()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("THREADRUNNER_", "XDG_"))}
        env = {**kept, "HOME": home, "HF_ENDPOINT": hub.url, "HF_HOME": f"{home}/hf", "HF_TOKEN": "",
               "NO_PROXY": "127.0.0.1", "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}  # fmt: skip
        try:
            shown = _recorded(env)
        finally:
            subprocess.run([sys.executable, "-m", "threadrunner", "stop"], env=env, check=False, capture_output=True)
        _draw(shown.replace(home, "/home/you").replace(str(HERE.parent.parent), "/home/you/threadrunner"))


def _recorded(env: dict[str, str]) -> str:
    """What the terminal has shown in the end. Raises SystemExit where setup fails."""
    terminal = Terminal([sys.executable, "-m", "threadrunner", "setup"], env)
    shown = ""
    try:
        for wanted in ("", NAME):
            asked = terminal.read_until(QUESTION)
            number = re.search(rf"^ +(\d) +{re.escape(wanted)} ", asked, re.MULTILINE) if wanted else None
            shown, terminal.text = shown + asked, ""
            terminal.type(f"{number[1]}\n" if number else "0\n")
        if terminal.finish():
            raise SystemExit(shown + terminal.text)
        return shown + terminal.text
    finally:
        terminal.close()


def _draw(shown: str) -> None:
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(Text.assemble(("$ ", "bold green"), ("threadrunner setup", "bold")))
        # A progress line is drawn over: only the text after the last carriage return is visible.
        lines = (line.rpartition("\r")[2] for line in shown.replace("\r\n", "\n").split("\n"))
        console.print(Text.from_ansi("\n".join(lines)), end="")
        HERE.joinpath("setup.svg").write_text(console.export_svg(title="threadrunner setup"))


if __name__ == "__main__":
    main(*sys.argv[1:])
