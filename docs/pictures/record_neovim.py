"""Records the picture in docs/editors.md: a real Neovim in a terminal, a real daemon, a real model.

python docs/pictures/record_neovim.py MODEL.gguf        writes docs/pictures/neovim.svg; needs nvim, tmux and rich
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from rich.console import Console
from rich.text import Text

from tests.clients.nvim import INIT
from tests.clients.support import EDITORS, SERVER, program
from tests.support import Daemon

WIDTH, HEIGHT = 84, 20
CODE = '''"""Small statistics."""

from math import sqrt


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def variance(values: list[float]) -> float:
    

def deviation(values: list[float]) -> float:
    return sqrt(variance(values))
'''  # noqa: W293
LOOKS = """
vim.o.number, vim.o.termguicolors, vim.o.laststatus = true, true, 2
vim.o.statusline = " %f %m%= %{v:lua.require'threadrunner'.status()}  %l:%c "
vim.cmd('syntax on')
"""


def main(model: str) -> None:
    folder = Path(tempfile.mkdtemp())
    file = folder / "stats.py"
    file.write_text(CODE)
    options = json.dumps({"cmd": SERVER, "settings": {"maxTimeMs": 60000, "speculate": False}})
    init = folder / "init.lua"
    init.write_text(INIT % {"plugin": json.dumps(str(EDITORS / "neovim")), "options": f"[=[{options}]=]"} + LOOKS)
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=model).start()
    homes = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    nvim, socket = program("nvim"), str(folder / "s")
    tmux = [program("tmux"), "-L", f"record-{os.getpid()}"]
    command = f"cd {folder}; exec {nvim} --listen {socket} -u {init} {file.name}"
    size = ["-x", str(WIDTH), "-y", str(HEIGHT)]
    env = {**daemon.env, **homes, "COLORTERM": "truecolor"}

    def wait(condition: str) -> None:
        lua = f"vim.wait(200000, function() return {condition} end, 20)".replace("'", "''")
        subprocess.run(
            [nvim, "--server", socket, "--remote-expr", f"luaeval('{lua}')"], check=True, capture_output=True
        )

    try:
        subprocess.run([*tmux, "-f", os.devnull, "new-session", "-d", *size, "-s", "r", command], env=env, check=True)
        while not Path(socket).exists():
            pass
        wait("#vim.lsp.get_clients({name = 'threadrunner', bufnr = 0}) == 1")
        subprocess.run([*tmux, "send-keys", "-t", "r", "11G", "A", "m = me"], check=True)
        wait("require('threadrunner.ghost').text(0) ~= nil")
        wait("false or vim.cmd.redraw() == nil")
        shown = subprocess.run([*tmux, "capture-pane", "-t", "r", "-e", "-p"], check=True, capture_output=True).stdout
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
        daemon.close()
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(shown.decode()), end="")
        Path(__file__).with_name("neovim.svg").write_text(console.export_svg(title="Neovim"))


if __name__ == "__main__":
    main(sys.argv[1])
