"""A shell of a test's own: the real command line, a home and a socket for it alone, no daemon left behind."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import PATIENCE, Wire, wait_for_exit
from threadrunner import processes

COMMAND = [sys.executable, "-m", "threadrunner"]

# Every start of a daemon leaves a line, whether or not the daemon comes up; DIE makes it end before it can speak.
SITE = """
import os, sys
if sys.orig_argv[1:5] == ["-P", "-m", "threadrunner", "daemon"]:
    with open(os.environ["STARTS"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    if "DIE" in os.environ:
        os._exit(int(os.environ["DIE"]))
"""


class Terminal:
    """A command on a terminal: what it prints, keys for it, its exit code."""

    def __init__(self, argv: list[str], env: dict[str, str], **streams: Any) -> None:
        self.master, theirs = pty.openpty()
        attributes = termios.tcgetattr(theirs)
        attributes[1] &= ~termios.ONLCR  # so that a newline is read as it was written
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        chosen = {"stdin": theirs, "stdout": theirs, "stderr": theirs, **streams}

        def own_terminal() -> None:
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(argv, env=env, start_new_session=True, preexec_fn=own_terminal, **chosen)
        os.close(theirs)
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end within a character

    def read_until(self, wanted: str) -> str:
        while wanted not in self.text:
            assert self._read(), f"the terminal closed without {wanted!r}; it showed {self.text!r}"
        return self.text

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def finish(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def _read(self) -> bool:
        assert select.select([self.master], [], [], PATIENCE)[0], f"nothing more than {self.text!r}"
        try:
            data = os.read(self.master, 65536)
        except OSError:  # EIO: no process has the other end open any more
            return False
        self.text += self._decoder.decode(data)
        return bool(data)

    def close(self) -> None:
        os.close(self.master)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def echoes(terminal: Terminal) -> bool:
    """Whether a shell that is there now shows what is typed."""
    return bool(termios.tcgetattr(terminal.master)[3] & termios.ECHO)


class Shell:
    def __init__(self) -> None:
        # Not pytest's tmp_path: a socket's path may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="tr-"))
        self.home = self.folder / "home"
        self.socket = str(self.folder / "run" / "daemon.sock")
        self.work = self.folder / "work"
        self.work.mkdir()
        site = self.folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SITE)
        self.starts_file = self.folder / "starts"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("THREADRUNNER_")}
        self.env = {
            **inherited,
            "THREADRUNNER_HOME": str(self.home),
            "THREADRUNNER_SOCKET": self.socket,
            "THREADRUNNER_BACKEND": "dummy",
            "THREADRUNNER_OFFLINE": "1",
            "THREADRUNNER_LOG": "info",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(site), inherited.get("PYTHONPATH", "")])),
            "STARTS": str(self.starts_file),
            "TERM": "xterm",
        }
        self._opened: list[Terminal | subprocess.Popen[bytes]] = []

    def use(self, plugin: Path, backend: str) -> None:
        self.env["PYTHONPATH"] = os.pathsep.join([self.env["PYTHONPATH"], str(plugin)])
        self.env["THREADRUNNER_BACKEND"] = backend

    def run(self, *args: str, input: str | bytes | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run to its end; without `input`, standard input is empty."""
        data = input.encode() if isinstance(input, str) else input
        stdin: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
        done = subprocess.run(
            [*COMMAND, *args], capture_output=True, env={**self.env, **env}, cwd=self.work, timeout=PATIENCE, **stdin
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    def bash(self, script: str) -> str:
        """What a script shows, both streams in order; `threadrunner` is in its PATH."""
        tool = self.folder / "bin" / "threadrunner"
        if not tool.exists():
            tool.parent.mkdir()
            tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m threadrunner "$@"\n')
            tool.chmod(0o755)
        env = {**self.env, "PATH": f"{tool.parent}{os.pathsep}{self.env['PATH']}"}
        done = subprocess.run(
            ["bash", "-c", script],
            env=env, cwd=self.work, timeout=PATIENCE,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.stdout.decode()

    def start(self, *args: str, **streams: Any) -> subprocess.Popen[bytes]:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        process = subprocess.Popen([*COMMAND, *args], env=self.env, cwd=self.work, **streams)
        self._opened.append(process)
        return process

    def terminal(self, *args: str, code: str | None = None, **streams: Any) -> Terminal:
        """`code` is a program to run instead of ours."""
        command = COMMAND if code is None else [sys.executable, "-c", code]
        terminal = Terminal([*command, *args], self.env, cwd=self.work, **streams)
        self._opened.append(terminal)
        return terminal

    @contextlib.contextmanager
    def listening(self) -> Iterator[socket.socket]:
        """A listening socket where the daemon's would be: the test plays the daemon."""
        Path(self.socket).parent.mkdir(mode=0o700, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.socket)
            listener.listen()
            listener.settimeout(PATIENCE)
            yield listener

    def wire(self) -> Wire:
        return Wire(self.socket)

    def status(self) -> dict[str, Any]:
        with self.wire() as wire:
            answer: dict[str, Any] = wire.call("status")
            return answer

    @property
    def starts(self) -> int:
        """How often a start of a daemon was tried."""
        return len(self.starts_file.read_text().split()) if self.starts_file.exists() else 0

    def daemon_pid(self) -> int | None:
        """The process that holds the lock of our socket; None when none does."""
        try:
            with open(f"{self.socket}.lock", "r+b") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    # Verified: a daemon in a namespace of its own calls itself 1, which here is another process.
                    return processes.daemon(self.socket) or None
        except OSError:
            pass
        return None

    def close(self) -> None:
        for opened in self._opened:
            if isinstance(opened, Terminal):
                opened.close()
            else:
                if opened.poll() is None:
                    opened.kill()
                opened.communicate()
        pid = self.daemon_pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGTERM)
                wait_for_exit(pid)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def shell() -> Iterator[Shell]:
    shell = Shell()
    try:
        yield shell
    finally:
        shell.close()


@pytest.fixture
def troubled(shell: Shell, plugin: Path) -> Shell:
    """A shell whose backend crashes, hangs and fails on request."""
    shell.use(plugin, "trouble")
    return shell


@pytest.fixture(scope="module")
def busy_shell() -> Iterator[Shell]:
    """One with a daemon that a module's tests share."""
    shell = Shell()
    try:
        assert shell.run("warm").returncode == 0
        yield shell
    finally:
        shell.close()
