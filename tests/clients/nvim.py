"""A real Neovim without a screen, driven through its own server socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import msgspec

from tests.clients.support import EDITORS, program
from tests.lsp.nursery import forked
from tests.support import PATIENCE

ENTERED = """
vim.api.nvim_create_autocmd('VimEnter', { callback = function() io.stdout:write('entered\\n') io.stdout:flush() end })
"""
INIT = """
vim.opt.runtimepath:append(%(plugin)s)
vim.opt.swapfile = false
vim.opt.fixendofline = false
vim.opt.autoindent = true
vim.cmd('filetype plugin indent on')
require('threadrunner').setup(vim.json.decode(%(options)s))
"""


class Nvim:
    """Opens one file; `keys` types, `wait` waits for a Lua condition. `before` is Lua to run before our plugin's."""

    def __init__(
        self, folder: Path, env: dict[str, str], file: Path, options: dict[str, object], before: str = ""
    ) -> None:
        # A path of its own: a socket's path may have 107 bytes.
        self._socket = env["THREADRUNNER_SOCKET"] + ".nvim"
        Path(self._socket).unlink(missing_ok=True)
        init = folder / "init.lua"
        text = json.dumps({"cmd": forked("lsp"), **options})
        init.write_text(
            ENTERED + before + INIT % {"plugin": json.dumps(str(EDITORS / "neovim")), "options": f"[=[{text}]=]"}
        )
        homes = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("CONFIG", "DATA", "STATE", "CACHE")}
        self.process = subprocess.Popen(
            [program("nvim"), "--headless", "--listen", self._socket, "-u", str(init), str(file)],
            env={**env, **homes},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        self._link, self._asked = socket.socket(socket.AF_UNIX), 0
        self._link.settimeout(2 * PATIENCE)
        self._wait_for_start()
        self.wait("#vim.lsp.get_clients({name = 'threadrunner', bufnr = 0}) == 1 "
                  "and vim.lsp.get_clients({name = 'threadrunner'})[1].initialized", "the server")  # fmt: skip

    def lua(self, expression: str) -> str:
        """The value of a Lua expression, as text."""
        value = self._call("nvim_exec_lua", f"return {expression}", [])
        return value if isinstance(value, str) else json.dumps(value)

    def do(self, lua: str) -> None:
        self._call("nvim_exec_lua", lua, [])

    def keys(self, keys: str) -> None:
        self._call("nvim_input", keys)

    def _call(self, method: str, *params: object) -> object:
        """A request by MessagePack-RPC: a process for each, `nvim --remote-expr`, costs 0.1 s of CPU."""
        self._asked += 1
        self._link.sendall(msgspec.msgpack.encode([0, self._asked, method, params]))
        said = b""
        while True:
            said += (more := self._link.recv(65536))
            assert more, f"{method} {params}: Neovim is gone"
            try:
                _, _, problem, value = msgspec.msgpack.decode(said)
            except msgspec.DecodeError:  # not all of it yet
                continue
            assert problem is None, f"{params}: {problem}"
            return value

    def wait(self, condition: str, what: str) -> None:
        """Return once it holds; Neovim looks after each of its events."""
        found = self.lua(f"vim.wait({PATIENCE * 1000}, function() return {condition} end, 5)")
        assert found == "true", f"never: {what}; messages: {self.lua(MESSAGES)}"

    def wait_ghost(self, text: str) -> None:
        self.wait(f"require('threadrunner.ghost').text(0) == {json.dumps(text, ensure_ascii=False)}", f"ghost {text!r}")

    def place(self, line: int, column: int) -> None:
        self.do(f"vim.api.nvim_win_set_cursor(0, {{{line + 1}, {column}}})")

    def insert_at(self, line: int, column: int) -> None:
        """Insert mode with the cursor before this byte."""
        self.do(f"vim.api.nvim_win_set_cursor(0, {{{line + 1}, {max(0, column - 1)}}})")
        self.keys("a" if column else "i")
        self.wait("vim.fn.mode() == 'i'", "insert mode")

    def kill_server(self) -> None:
        """kill -9 for the language server: the child of Neovim that runs `lsp`, and no other.

        `pgrep -f lsp` once answered with more than one line.
        """
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (server,) = [int(pid) for pid in children if b"\0lsp\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(server, signal.SIGKILL)

    def quit(self) -> None:
        self.keys("<C-\\><C-n>:qa!<CR>")
        self.process.communicate(timeout=PATIENCE)

    def close(self) -> None:
        self._link.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def _wait_for_start(self) -> None:
        # `wait` before that would keep it from starting: it may answer while it reads its configuration.
        assert self.process.stdout
        said = b""
        while not said.endswith(b"entered\n"):
            line = self.process.stdout.readline()
            assert line, said.decode()
            said += line
        self._link.connect(self._socket)


MESSAGES = "vim.api.nvim_exec2('messages', {output = true}).output"
