"""llama.vim in a real Neovim, before `threadrunner serve` with a real model: what it shows, and what it costs.

    python -m tests.foreign.llama_vim LLAMA_VIM_FOLDER MODEL.gguf

LLAMA_VIM_FOLDER is a checkout of github.com/ggml-org/llama.vim. It is configured by its one documented setting, the
address. Prints each suggestion with what llama.vim itself shows of its cost, what the file holds when it is accepted,
and the cache: how much of each prompt was not evaluated again.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.clients.nvim import Nvim
from tests.http.served import listening
from tests.support import Daemon

INIT = """
vim.opt.runtimepath:append(%(plugin)s)
vim.opt.swapfile = false
vim.g.llama_config = { endpoint_fim = %(url)s .. '/infill', endpoint_inst = %(url)s .. '/v1/chat/completions' }
vim.cmd('filetype plugin indent on')
"""

FILE = """\
import math


class Circle:
    def __init__(self, radius):
        self.radius = radius

    def area(self):
        return math.pi * self.radius ** 2

    def circumference(self):
        return 2 * math.pi * self.radius


class Rectangle:
    def __init__(self, width, height):
        self.width = width
        self.height = height

    def area(self):

    def perimeter(self):
        return 2 * (self.width + self.height)


def main():
    shapes = [Circle(1), Rectangle(2, 3)]
    for shape in shapes:
        print(shape.area())
"""

SHOWN = """
(function()
  local marks = vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_create_namespace('vt_fim'), 0, -1, {details = true})
  local said, info = {}, ''
  for _, mark in ipairs(marks) do
    local text = mark[4].virt_text
    if text then
      table.insert(said, text[1][1])
      if text[2] then info = text[2][1] end
    end
    for _, line in ipairs(mark[4].virt_lines or {}) do table.insert(said, line[1][1]) end
  end
  return vim.json.encode({table.concat(said, '\\\\n'), info})
end)()
"""


class LlamaVim(Nvim):
    """Neovim with llama.vim instead of a language server."""

    def __init__(self, folder: Path, env: dict[str, str], plugin: str, url: str) -> None:
        import subprocess

        from tests.clients.support import program

        self._program = program("nvim")
        self._socket = env["THREADRUNNER_SOCKET"] + ".nvim"
        init = folder / "init.lua"
        init.write_text(INIT % {"plugin": json.dumps(plugin), "url": json.dumps(url)})
        homes = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
        file = folder / "shapes.py"
        file.write_text(FILE)
        self.process = subprocess.Popen(
            [self._program, "--headless", "--listen", self._socket, "-u", str(init), str(file)],
            env={**env, **homes}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=folder,
        )  # fmt: skip
        self._wait_for_socket()

    def shown(self) -> tuple[str, str]:
        text, info = json.loads(self.lua(SHOWN))
        return text, info


def main(plugin: str, model: str) -> None:
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=model)
    for served in listening(daemon):
        folder = Path(tempfile.mkdtemp(dir=daemon.home))
        vim = LlamaVim(folder, daemon.env, plugin, served.url)
        try:
            served.post("/infill", {"input_prefix": "x = ", "input_suffix": "", "n_predict": 4})
            for line, column, keys in ((20, 0, "        return "), (28, 27, "<CR>        print(f'")):
                vim.insert_at(line, column)
                vim.keys(keys)
                began = time.monotonic()
                while not (text := vim.shown())[0] and time.monotonic() - began < 20:
                    time.sleep(0.05)
                text, info = text
                print(f"after {keys!r}, {1e3 * (time.monotonic() - began):.0f} ms: {text!r}\n    {info.strip()}")
                vim.keys("<Tab>")
                vim.keys("<Esc>")
                vim.wait("vim.fn.mode() == 'n'", "normal mode")
            print(vim.lua("table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), '\\n')"))
            print("messages:", vim.lua("vim.api.nvim_exec2('messages', {output = true}).output") or "none")
        finally:
            vim.close()
        (work,) = daemon.wire().call("status")["work"]
        print(work)


if __name__ == "__main__":
    main(*sys.argv[1:])
