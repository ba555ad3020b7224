"""Vim 9 in a terminal of the test's own, keys typed into it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.support import CASES, EDITORS, IDS, Case, clean_env, program
from tests.lsp.nursery import forked
from tests.lsp.standin import Standin
from tests.support import PATIENCE

VIMRC = """
set nocompatible noswapfile nofixendofline encoding=utf-8 fileencodings=utf-8 viminfo= ttimeout ttimeoutlen=50
set runtimepath^=%(plugin)s
let g:threadrunner_command = json_decode('%(command)s')
let g:threadrunner_settings = #{debounceMs: 0, speculate: v:false}
filetype on
autocmd User ThreadRunnerShown call writefile([json_encode(threadrunner#ghost)], $TEST_TELLS, 'a')
"""


class Vim:
    def __init__(self, folder: Path, env: dict[str, str], file: Path, *commands: str) -> None:
        self._tells = folder / "tells"
        os.mkfifo(self._tells)
        # Open for writing too, so that the end of one writer is not the end of the stream.
        self._told = os.open(self._tells, os.O_RDWR)
        self._lines = b""
        rc = folder / "vimrc"
        ours = VIMRC % {"plugin": EDITORS / "vim", "command": json.dumps(forked("lsp"))}
        rc.write_text("\n".join([ours, *commands, ""]))
        self._terminal, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            [program("vim"), "-Nu", str(rc), "-i", "NONE", str(file)],
            env={**env, "TEST_TELLS": str(self._tells), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.screen = b""
        self._drain = threading.Thread(target=self._read)
        self._drain.start()

    def keys(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def wait_ghost(self, text: str) -> None:
        while True:
            while b"\n" in self._lines:
                line, _, self._lines = self._lines.partition(b"\n")
                if json.loads(line) == text:
                    return
            ready, _, _ = select.select([self._told], [], [], PATIENCE)
            assert ready, f"never: {text!r}; the screen: {self.screen[-600:]!r}"
            self._lines += os.read(self._told, 65536)

    def wait(self) -> None:
        assert self.process.wait(PATIENCE) == 0

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._drain.join()
        os.close(self._terminal)
        os.close(self._told)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._terminal, 65536)
            except OSError:  # Linux's way to say that nobody holds the other end
                return
            if not data:
                return
            self.screen += data


@pytest.fixture
def vims() -> Iterator[list[Vim]]:
    opened: list[Vim] = []
    yield opened
    for vim in opened:
        vim.close()


def needs_virtual_text() -> None:
    said = subprocess.run([program("vim"), "--version"], capture_output=True, text=True, check=True).stdout
    if "+channel" not in said or "+textprop" not in said:
        pytest.skip("this vim has no channels or text properties (Debian: the package vim, not vim-tiny)")


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_accepting_is_exact(standin: Standin, tmp_path: Path, vims: list[Vim], case: Case) -> None:
    needs_virtual_text()
    standin.says = case.answer
    file = tmp_path / "a.py"
    file.write_bytes(case.before)
    vim = Vim(tmp_path, {**clean_env(), **standin.env}, file)
    vims.append(vim)
    insert = "a" if case.column else "i"
    vim.keys(f":call cursor({case.line + 1},{max(1, case.column)})\r:set paste | set nopaste noautoindent\r{insert}")
    vim.keys(case.keys)
    vim.wait_ghost(case.says)
    vim.keys("\t")
    vim.keys("\x1b:wq\r")
    vim.wait()
    assert file.read_bytes() == (case.after if case.before else case.after + b"\n")


@pytest.fixture
def typing(standin: Standin, tmp_path: Path, vims: list[Vim]) -> Callable[..., Vim]:
    """Vim with `x = 1` and `yy`, in insert mode behind `x = 1 a`, where `lpha(beta)` is suggested."""

    def begin(*commands: str) -> Vim:
        needs_virtual_text()
        standin.says = lambda params: "lpha(beta)" if str(params["prefix"]).endswith("a") else ""
        file = tmp_path / "a.py"
        file.write_text("x = 1\nyy\n")
        vims.append(Vim(tmp_path, {**clean_env(), **standin.env}, file, *commands))
        vims[-1].keys("ggA a")
        vims[-1].wait_ghost("lpha(beta)")
        return vims[-1]

    return begin


@pytest.mark.parametrize(
    ("keys", "lines"),
    [
        ("\t\t", ["x = 1 alpha(beta)\t", "yy"]),
        ("x\t", ["x = 1 ax\t", "yy"]),
        ("l\t", ["x = 1 alpha(beta)", "yy"]),
        ("\x1b[B\t", ["x = 1 a", "yy\t"]),
        ("\t.z\x1bu", ["x = 1 alpha(beta)", "yy"]),
        ("\t\x1bu", ["x = 1 a", "yy"]),
        ("\t\x1bj.", ["x = 1 alpha(beta)", "yy alpha(beta)"]),
    ],
    ids=["twice", "another letter", "the same letter", "another line", "undo of what came after", "undo", "repeat"],
)
def test_keys_that_arrive_together(typing: Callable[..., Vim], tmp_path: Path, keys: str, lines: list[str]) -> None:
    vim = typing()
    vim.keys(keys + "\x1b:wq\r")
    vim.wait()
    assert (tmp_path / "a.py").read_text() == "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("mapping", "result"),
    [
        ("inoremap <Tab> USER", "USER"),
        ("inoremap <expr> <Tab> pumvisible() ? 'menu' : 'free'", "free"),
        ("imap <Tab> <Plug>mine|inoremap <Plug>mine PLUG", "PLUG"),
    ],
)
def test_the_users_own_map_works_where_nothing_is_shown(
    typing: Callable[..., Vim], tmp_path: Path, mapping: str, result: str
) -> None:
    vim = typing(mapping.replace("|", "\n"))
    vim.keys("\t\x1bGA\t\x1b:wq\r")
    vim.wait()
    assert (tmp_path / "a.py").read_text() == f"x = 1 alpha(beta)\nyy{result}\n"


def test_a_server_that_ends_at_once_is_not_started_with_each_key(
    standin: Standin, tmp_path: Path, vims: list[Vim]
) -> None:
    needs_virtual_text()
    starts = tmp_path / "starts"
    file = tmp_path / "a.py"
    file.write_text("x\n")
    command = f"let g:threadrunner_command = ['sh', '-c', 'echo >> {starts}; exit 3']"
    vims.append(Vim(tmp_path, {**clean_env(), **standin.env}, file, command))
    vims[-1].keys(":for key in range(30) | call threadrunner#Ask(v:true) | sleep 30m | endfor\r")  # as a key does
    vims[-1].keys(":while execute('messages') !~# 'the server ended' | sleep 30m | endwhile\r")
    vims[-1].keys(f":call writefile(split(execute('messages'), '\\n'), '{tmp_path / 'said'}')\r:wq\r")
    vims[-1].wait()
    assert 1 <= starts.read_text().count("\n") <= 4
    assert "the server ended (code 3)" in (tmp_path / "said").read_text()


def test_a_program_that_is_not_there_is_said_once(standin: Standin, tmp_path: Path, vims: list[Vim]) -> None:
    needs_virtual_text()
    file = tmp_path / "a.py"
    file.write_text("x\n")
    vims.append(Vim(tmp_path, {**clean_env(), **standin.env}, file, "let g:threadrunner_command = ['nowhere', 'lsp']"))
    vims[-1].keys(":for key in range(3) | call threadrunner#Ask(v:true) | endfor\r")
    vims[-1].keys(f":call writefile(split(execute('messages'), '\\n'), '{tmp_path / 'said'}')\r:wq\r")
    vims[-1].wait()
    assert (tmp_path / "said").read_text().count("there is no program `nowhere`") == 1
