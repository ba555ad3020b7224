"""Finding and starting the daemon: exactly one, by events, and in words when it cannot be."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import threadrunner
from tests.shell import Shell
from tests.support import PATIENCE, wait_for_exit
from threadrunner.client.autostart import version_key

ANSWER = "lorem ipsum dolor sit amet hi.\n"


def test_the_first_prompt_starts_a_daemon_that_stays(shell: Shell) -> None:
    assert shell.run("hi").stdout == ANSWER
    pid = shell.daemon_pid()
    assert pid is not None
    assert shell.run("hi").stdout == ANSWER
    assert (shell.daemon_pid(), shell.starts) == (pid, 1)
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert Path(shell.socket).parent.stat().st_mode & 0o777 == 0o700


def test_many_shells_at_once_start_exactly_one(shell: Shell) -> None:
    processes = [shell.start("hi") for _ in range(32)]
    for process in processes:
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out.decode(), err) == (0, ANSWER, b"")
    assert shell.starts == 1


def test_a_stale_socket_is_found_out_by_connecting(shell: Shell) -> None:
    Path(shell.socket).parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(shell.socket)
    assert shell.run("hi").stdout == ANSWER


def test_a_killed_daemon_is_followed_by_another(shell: Shell) -> None:
    assert shell.run("hi").stdout == ANSWER
    status = shell.status()
    os.kill(status["pid"], signal.SIGKILL)
    wait_for_exit(status["pid"])
    wait_for_exit(status["models"][0]["pid"])  # no orphan
    assert shell.run("hi").stdout == ANSWER
    assert shell.starts == 2


def test_a_daemon_killed_under_a_prompt(troubled: Shell) -> None:
    process = troubled.start("drip")
    assert process.stdout and process.stderr
    assert process.stdout.read(4) == b"drip"
    os.kill(troubled.daemon_pid() or 0, signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert b"the daemon ended before it had answered" in err


OTHER_VERSION = """
import sys, threadrunner
threadrunner.__version__ = sys.argv[1]
from threadrunner.daemon.app import run
sys.exit(run(int(sys.argv[2])))
"""


def start_version(shell: Shell, version: str) -> subprocess.Popen[bytes]:
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_VERSION, version, str(write)], env=shell.env, pass_fds=[write]
    )
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"ready\n"
    return process


def test_an_older_daemon_is_replaced(shell: Shell) -> None:
    older = start_version(shell, "0.0.9")
    assert shell.status()["version"] == "0.0.9"
    processes = [shell.start("hi") for _ in range(4)]
    for process in processes:
        assert process.communicate(timeout=PATIENCE) == (ANSWER.encode(), b"")
    assert older.wait(PATIENCE) == 0
    assert shell.status()["version"] == threadrunner.__version__
    assert shell.starts == 1


def test_a_newer_daemon_is_used(shell: Shell) -> None:
    newer = start_version(shell, "99.0")
    assert shell.run("hi").stdout == ANSWER
    assert shell.status()["version"] == "99.0"
    assert shell.run("stop").returncode == 0
    assert newer.wait(PATIENCE) == 0


def test_status_and_stop_take_an_older_daemon_as_it_is(shell: Shell) -> None:
    older = start_version(shell, "0.0.9")
    assert shell.run("status").stdout.startswith("daemon 0.0.9, ")
    assert shell.run("unload").returncode == 0
    assert older.poll() is None
    assert shell.run("stop").returncode == 0
    assert older.wait(PATIENCE) == 0
    assert shell.starts == 0


def test_versions_compare_as_numbers() -> None:
    assert version_key("0.9.0") < version_key("0.10.0") < version_key("1.0")
    assert version_key("0.2.0.dev3") == version_key("0.2.0")


def test_a_prompt_while_the_daemon_stops_waits_for_the_next_one(troubled: Shell) -> None:
    """The daemon finishes what it has and refuses the new prompt; the shell waits for its end and starts another."""
    first = troubled.start("drip")
    assert first.stdout
    assert first.stdout.read(4) == b"drip"
    with troubled.wire() as wire:
        wire.call("shutdown")
        second = troubled.start("hello")
        # Ends only when `first` has: by the drain's bound, or as here, by hanging up.
        first.terminate()
        out, err = second.communicate(timeout=PATIENCE)
    assert (second.returncode, out, err) == (0, b"0 cancelled, 0 others\n", b"")
    assert troubled.starts == 2


def test_a_path_that_the_kernel_does_not_take(shell: Shell) -> None:
    done = shell.run("hi", THREADRUNNER_SOCKET=f"/tmp/{'x' * 120}/d.sock")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the socket's path has 132 bytes" in done.stderr
    assert "Set THREADRUNNER_SOCKET to a shorter one" in done.stderr


@pytest.mark.parametrize("folder", ["/proc/nowhere", "/dev/null/run"])
def test_a_folder_that_cannot_be_written(shell: Shell, folder: str) -> None:
    done = shell.run("hi", THREADRUNNER_SOCKET=f"{folder}/d.sock")
    assert (done.returncode, done.stdout) == (2, "")
    assert folder in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(shell: Shell) -> None:
    folder = shell.folder / "locked"
    folder.mkdir(mode=0o500)
    done = shell.run("hi", THREADRUNNER_SOCKET=str(folder / "run" / "d.sock"))
    assert done.returncode == 2
    assert "Permission denied" in done.stderr


def test_a_folder_that_others_can_enter(shell: Shell) -> None:
    folder = Path(shell.socket).parent
    folder.mkdir()
    folder.chmod(0o755)
    done = shell.run("hi")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"chmod 700 {folder}" in done.stderr
    assert shell.starts == 0


def test_a_daemon_that_cannot_start_says_why(shell: Shell) -> None:
    done = shell.run("hi", THREADRUNNER_LOG="loudly")
    assert (done.returncode, done.stdout) == (2, "")
    assert "threadrunner: the daemon could not start: THREADRUNNER_LOG: log: 'loudly' is not a level" in done.stderr


@pytest.mark.parametrize(("command", "name"), [("lsp", "THREADRUNNER_LSP_LOG"), ("serve", "THREADRUNNER_HTTP_LOG")])
def test_a_level_that_is_none(shell: Shell, command: str, name: str) -> None:
    done = shell.run(command, **{name: "loudly"})
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith(f"threadrunner: {name}: 'loudly' is not a level; use one of critical")


def test_a_daemon_that_dies_without_a_word(shell: Shell) -> None:
    done = shell.run("hi", DIE="7")
    assert (done.returncode, done.stdout) == (2, "")
    assert "it ended with exit code 7 and said nothing; run `threadrunner daemon` to see why" in done.stderr


def test_something_else_on_the_socket(shell: Shell) -> None:
    with shell.listening() as other:
        process = shell.start("hi")
        peer, _ = other.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (2, b"")
    assert b"is not threadrunner's daemon" in err


SQUATTER = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
os.setuid(65534)
listener.listen()
print("listening", flush=True)
sys.exit(len(listener.accept()[0].recv(1)))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_somebody_elses_daemon_is_told_nothing(shell: Shell) -> None:
    Path(shell.socket).parent.mkdir(mode=0o700)
    command = [sys.executable, "-c", SQUATTER, shell.socket]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as squatter:
        assert squatter.stdout
        assert squatter.stdout.readline() == b"listening\n"
        done = shell.run("my secret")
        assert squatter.wait(PATIENCE) == 0
    assert (done.returncode, done.stdout) == (2, "")
    assert "is answered by uid 65534, not by you" in done.stderr
