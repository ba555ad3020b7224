"""Records the picture in docs/editors.md: a real Neovim in a terminal, a real daemon, a real model.

python docs/pictures/record_neovim.py MODEL.gguf        writes docs/pictures/neovim.svg; needs nvim, tmux and rich
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from screen import CODE, LINE, Screen

from tests.clients.nvim import INIT
from tests.clients.support import EDITORS, SERVER, program
from tests.support import Daemon

LOOKS = """
vim.o.number, vim.o.termguicolors, vim.o.laststatus = true, true, 2
vim.o.statusline = " %f %m%= %{v:lua.require'threadrunner'.status()}  %l:%c "
vim.cmd('syntax on')
vim.cmd('highlight Normal guibg=NONE') -- the picture has a background of its own
"""


def main(model: str) -> None:
    folder = Path(tempfile.mkdtemp())
    (folder / "stats.py").write_text(CODE)
    options = json.dumps({"cmd": SERVER, "settings": {"maxTimeMs": 60000, "speculate": False}})
    init = folder / "init.lua"
    init.write_text(INIT % {"plugin": json.dumps(str(EDITORS / "neovim")), "options": f"[=[{options}]=]"} + LOOKS)
    homes = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    nvim, socket = program("nvim"), str(folder / "s")

    def lua(expression: str) -> str:
        quoted = expression.replace("'", "''")
        command = [nvim, "--server", socket, "--remote-expr", f"luaeval('{quoted}')"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def wait(condition: str) -> None:
        lua(f"vim.wait(200000, function() return {condition} end, 20)")

    real = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=model)
    command = f"cd {folder}; exec {nvim} --listen {socket} -u {init} stats.py"
    with closing(real.start()) as daemon, Screen(command, {**daemon.env, **homes}) as screen:
        while not Path(socket).exists():
            pass
        while lua("vim.v.vim_did_enter").strip() != "1":
            pass
        wait("#vim.lsp.get_clients({name = 'threadrunner', bufnr = 0}) == 1")
        screen.keys(f"{LINE}G", "A", "m = me")
        wait("require('threadrunner.ghost').text(0) ~= nil")
        lua("vim.cmd.redraw()")
        screen.save("neovim", "Neovim")


if __name__ == "__main__":
    main(sys.argv[1])
