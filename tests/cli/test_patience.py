"""Nothing waits for good, and no process is to be killed that was not looked at."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.shell import Shell
from tests.support import PATIENCE
from threadrunner import processes

pytestmark = pytest.mark.slow


# The command line, less patient.
HASTY = """
import sys
from threadrunner.cli import main
from threadrunner.client import autostart, blocking
blocking._SILENCE_SECONDS = 0.2
blocking._CONNECT_SECONDS = 1
autostart._START_SECONDS = 0.2
sys.exit(main.main())
"""


def hasty(shell: Shell, *args: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", HASTY, *args]
    return subprocess.run(command, env=shell.env, cwd=shell.work, input=input, capture_output=True, timeout=PATIENCE)


def test_a_daemon_that_does_not_answer_is_given_up(shell: Shell) -> None:
    assert shell.run("warm").returncode == 0
    pid = shell.daemon_pid()
    assert pid
    os.kill(pid, signal.SIGSTOP)
    says = f"the daemon (pid {pid}) at {shell.socket} does not answer; its process is suspended: `kill -CONT {pid}`"
    for words in ("hi", "status", "stop", "load", "unload", "models list", "sessions list", "modes", "remember x"):
        done = hasty(shell, *words.split())
        assert (done.returncode, done.stdout) == (2, b""), words
        assert says in done.stderr.decode() and done.stderr.count(b"\n") == 1, words
    assert says in hasty(shell, input=b"a" * 2_000_000).stderr.decode()  # more than the socket's buffer takes
    event = json.loads(hasty(shell, "--json", "hi").stdout)
    assert (event["event"], event["data"]["kind"], event["exit"]) == ("error", "Unreachable", 2)
    done = hasty(shell, "doctor")
    assert done.returncode == 1
    assert f"FAIL daemon: {says}" in done.stdout.decode() and b" model: " in done.stdout
    os.kill(pid, signal.SIGCONT)
    assert shell.run("hi").returncode == 0


def test_a_daemon_at_work_is_not_given_up(shell: Shell) -> None:
    patient = HASTY.replace("_SILENCE_SECONDS = 0.2", "_SILENCE_SECONDS = 1")  # in which we must have answered
    with shell.listening() as listener:
        process = subprocess.Popen([sys.executable, "-c", patient, "hi"], env=shell.env, stdin=-3, stdout=-1)
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as lines:
            prompt = json.loads(lines.readline())
            for _ in range(2):
                asked = json.loads(lines.readline())
                assert asked["method"] == "status"
                peer.sendall(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {}}).encode() + b"\n")
            peer.sendall(
                json.dumps({"jsonrpc": "2.0", "id": prompt["id"], "result": {"text": "done"}}).encode() + b"\n"
            )
            assert process.communicate(timeout=PATIENCE)[0] == b"done\n"


def test_a_shell_that_is_suspended_while_it_starts_the_daemon(shell: Shell) -> None:
    folder = Path(shell.socket).parent
    folder.mkdir(mode=0o700)
    with open(f"{shell.socket}.start", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = hasty(shell, "hi")
    assert done.returncode == 2
    assert b"another shell has been starting the daemon" in done.stderr
    assert shell.starts == 0


def test_a_daemon_without_its_socket_is_named(shell: Shell) -> None:
    Path(shell.socket).parent.mkdir(mode=0o700)
    code = "import sys; from threadrunner.daemon import app, listener; listener.PREDECESSOR = 1; sys.exit(app.run())"
    with open(f"{shell.socket}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("1 0.0.0\n")  # as in another namespace: not to be believed
        file.flush()
        done = subprocess.run([sys.executable, "-c", code], env=shell.env, capture_output=True, timeout=PATIENCE)
        assert done.returncode == 2
        assert b"its process cannot be seen from here" in done.stderr
        file.seek(0)
        file.write(f"{os.getpid()} 0.0.0\n")
        file.flush()
        assert f"FAIL lock: a daemon holds {shell.socket}.lock and does not listen" in shell.run("doctor").stdout
        assert f"run: kill {os.getpid()}\n" in shell.run("doctor").stdout


def test_a_pid_in_a_file_is_no_process(tmp_path: Path) -> None:
    path = str(tmp_path / "d.sock")
    lock = tmp_path / "d.sock.lock"
    for text in ("", "1 0.1.0\n", "x", f"{os.getpid()} 0.1.0\n", "99999999 0.1.0"):
        lock.write_text(text)
        assert processes.daemon(path) == 0
    lock.write_text(f"{os.getpid()} 0.1.0\n")
    with lock.open():
        assert processes.daemon(path) == os.getpid()
        lock.write_text("1 0.1.0\n")
        assert processes.daemon(path, os.getpid()) == os.getpid()
    assert "kill" not in processes.remedy(0)


def _namespaces() -> bool:
    try:
        return subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not _namespaces(), reason="pid namespaces cannot be made here")
def test_a_daemon_in_a_container_is_stopped_by_its_real_pid(shell: Shell) -> None:
    read, write = os.pipe()
    inside = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    command = [*inside, sys.executable, "-m", "threadrunner", "daemon", "--ready-fd", str(write)]
    process = subprocess.Popen(command, env=shell.env, pass_fds=[write])
    os.close(write)
    try:
        with os.fdopen(read, "rb") as pipe:
            assert pipe.readline() == b"ready\n"
        assert Path(f"{shell.socket}.lock").read_text().startswith("1 ")
        done = shell.run("stop")
        assert (done.returncode, done.stderr) == (0, "")
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()  # and with it the daemon, which the fixture would take for process 1
        process.wait()


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_timeout_runs_while_standard_input_is_silent(shell: Shell, flags: list[str]) -> None:
    process = shell.start("--timeout", "0.5", "hi", *flags, stdin=subprocess.PIPE)
    out, err = process.stdout, process.stderr
    assert process.wait(PATIENCE) == 4
    assert out and err
    assert err.read() == b"threadrunner: standard input has not ended within 0.5 s (--timeout)\n"
    events = [json.loads(line) for line in out.read().splitlines()]
    assert [(event["data"]["kind"], event["exit"]) for event in events] == [("Timeout", 4)] * len(flags)
    assert shell.starts == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_json_ends_with_an_error_when_a_signal_ends_it(troubled: Shell, number: int, code: int) -> None:
    process = troubled.start("--json", "drip")
    assert process.stdout
    first = process.stdout.readline()
    process.send_signal(number)
    rest = process.stdout.read()
    assert process.wait(PATIENCE) == code
    *tokens, last = [json.loads(line) for line in (first + rest).splitlines()]
    assert tokens and {event["event"] for event in tokens} <= {"token", "progress"}
    assert (last["event"], last["data"]["kind"], last["exit"]) == ("error", "RequestCancelled", code)


def test_json_that_is_not_read_does_not_hold_a_signal(troubled: Shell) -> None:
    """A pipe that is full: the line under way cannot be finished, and is not waited for."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x")
    except BlockingIOError:
        pass
    assert troubled.run("warm").returncode == 0
    process = troubled.start("--json", "drip", stdout=write)
    with troubled.wire() as wire:
        while not wire.call("status")["models"][0]["active"]:
            pass
    time.sleep(0.5)  # no event tells that it waits for the pipe
    process.terminate()
    assert process.wait(PATIENCE) == 143
    os.close(read)
    os.close(write)
