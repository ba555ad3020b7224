"""What a worker cannot do any more, and that it still works."""

from __future__ import annotations

import ctypes
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import PATIENCE, Daemon, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")

TRIES = """
import os, resource, socket, subprocess, sys, threading
from threadrunner.worker import confine
early = threading.Event()
def from_a_thread_that_was_there(found):
    early.wait()
    found.append(attempt(socket.socket))
def attempt(do):
    try:
        do()
    except PermissionError:
        return "refused"
    return "done"
found = []
thread = threading.Thread(target=from_a_thread_that_was_there, args=[found])
thread.start()
confine.at_start()
confine.before_load(1 << 20)
early.set()
thread.join()
later = threading.Thread(target=lambda: found.append(attempt(socket.socket)))
later.start()
later.join()
found.append(attempt(lambda: socket.create_connection(("127.0.0.1", 1))))
found.append(attempt(lambda: os.execv("/bin/true", ["true"])))
found.append(attempt(lambda: subprocess.run(["/bin/true"])))
found.append(attempt(lambda: socket.socketpair()))
found.append(attempt(lambda: os.read(os.open("/etc/hosts", os.O_RDONLY), 1)))
with open(sys.argv[1], "wb") as file:
    try:
        file.truncate(1 << 30)
        found.append("done")
    except OSError as error:
        found.append(os.strerror(error.errno))
print(*found, sep=",")
"""


def test_no_network_no_programs_no_large_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRIES, str(tmp_path / "large")], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout.strip() == "refused,refused,refused,refused,refused,done,done,File too large", done.stderr


ASKING = """
import os, socket, sys, threading
from threadrunner.worker import confine
def attempt(do):
    try:
        do()
    except OSError as error:
        return os.strerror(error.errno)
    return "done"
confine.at_start()
confine.before_asking()
found = []
def asking():
    found.append(attempt(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1])))))
    found.append(attempt(lambda: socket.getaddrinfo("localhost", 80)))
    found.append(attempt(lambda: os.execv("/bin/true", ["true"])))
    found.append(attempt(lambda: open("/etc/hosts").read()))
    found.append(attempt(lambda: open(sys.argv[2]).read()))
    found.append(attempt(lambda: open(sys.argv[2], "w").write("x")))
    import wave  # of the standard library, and not loaded yet
thread = threading.Thread(target=asking)
thread.start()
thread.join()
print(*found, sep=",")
"""


def test_who_asks_other_machines_has_the_network_and_no_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = subprocess.run(
            [sys.executable, "-c", ASKING, str(listener.getsockname()[1]), str(secret)],
            capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
    # Without Landlock it reads files, and writes none.
    reads, writes = ("Permission denied",) * 2 if has_landlock() else ("done", "File too large")
    assert done.stdout.strip() == f"done,done,Operation not permitted,done,{reads},{writes}", done.stderr
    assert secret.read_text() in ("x", "")


def has_landlock() -> bool:
    return ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) > 0


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    yield from running(THREADRUNNER_BACKEND="llama", THREADRUNNER_CONTEXT="256")


def test_the_real_worker_is_confined_and_works(daemon: Daemon, smollm2: Path) -> None:
    answer = daemon.wire().call("generate", model=str(smollm2), prompt="One, two,", raw=True, max_tokens=2)
    assert answer["usage"]["completion_tokens"] == 2
    (pid,) = daemon.workers()
    assert (status(pid)["NoNewPrivs"], status(pid)["Seccomp"]) == ("1", "2")
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    assert next(line for line in limits if line.startswith("Max core file size")).split()[4:6] == ["0", "0"]


def test_an_installed_backend_may_use_the_network(troubled: Daemon) -> None:
    assert troubled.wire().call("generate", prompt="hi")
    (pid,) = troubled.workers()
    assert status(pid).get("Seccomp_filters") == status(troubled.pid).get("Seccomp_filters")


def status(pid: int) -> dict[str, str]:
    """/proc/<pid>/status. A container has filters of its own, so what counts is what we add."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
