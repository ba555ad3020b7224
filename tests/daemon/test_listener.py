"""The socket's file, its lock and its folder go; descriptors are closed or scarce; a terminal closes."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import python_path
from tests.support import PATIENCE, Daemon, Wire, running, wait_for_exit
from threadrunner.daemon.acceptor import clients_limit
from threadrunner.system.listening import answers

pytestmark = pytest.mark.slow


@pytest.fixture
def own() -> Iterator[Daemon]:
    yield from running()


@pytest.fixture
def slow(plugin: Path) -> Iterator[Daemon]:
    """One whose answers can be made to last."""
    yield from running(THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin))


def start_another(daemon: Daemon) -> subprocess.CompletedProcess[str]:
    """What a shell does that finds no socket; the process ends by itself only where it may not serve."""
    command = [sys.executable, "-m", "threadrunner", "daemon"]
    return subprocess.run(command, env=daemon.env, capture_output=True, text=True, timeout=PATIENCE)


def until(true: object) -> None:
    """The daemon looks after its socket by a timer, which sends no event."""
    while not true():  # type: ignore[operator]
        pass  # the test's own time limit bounds it


def test_a_socket_that_is_removed_is_put_back_for_the_client_that_misses_it(own: Daemon) -> None:
    wire = own.wire()
    os.unlink(own.socket)
    second = start_another(own)
    assert (second.returncode, f"(pid {own.pid}) serves" in second.stderr) == (2, True)
    assert own.wire().call("status")["pid"] == own.pid
    assert wire.call("status")["pid"] == own.pid  # those that are connected stay so


def test_a_socket_that_is_removed_is_put_back_though_no_client_comes(own: Daemon) -> None:
    os.unlink(own.socket)
    until(lambda: os.path.exists(own.socket) and answers(own.socket))  # it is bound a moment before it listens
    assert own.wire().call("status")["pid"] == own.pid


def test_a_folder_that_is_removed_is_made_again(own: Daemon) -> None:
    shutil.rmtree(os.path.dirname(own.socket))
    os.kill(own.pid, signal.SIGHUP)
    until(lambda: os.path.exists(own.socket) and answers(own.socket))
    assert own.wire().call("status")["pid"] == own.pid
    assert Path(f"{own.socket}.lock").read_text().split()[0] == str(own.pid)
    assert os.stat(os.path.dirname(own.socket)).st_mode & 0o777 == 0o700


def test_a_daemon_whose_place_another_has_taken_ends_and_leaves_it_alone(own: Daemon) -> None:
    first = own.process
    assert first
    shutil.rmtree(os.path.dirname(own.socket))
    own.start()
    second = own.pid
    os.kill(first.pid, signal.SIGHUP)
    assert first.wait(PATIENCE) == 0
    assert own.wire().call("status")["pid"] == second


def test_a_daemon_that_cannot_put_its_socket_back_ends_in_order(slow: Daemon) -> None:
    wire = slow.wire()
    id = wire.begin("generate", prompt="wide 300")
    while wire.read().get("method") != "token":
        pass
    folder = Path(slow.socket).parent
    shutil.rmtree(folder)
    folder.write_text("a file in its place")
    os.kill(slow.pid, signal.SIGHUP)
    assert "result" in wire.until(id)[0]
    assert slow.process and slow.process.wait(PATIENCE) == 0


def test_a_file_that_took_the_sockets_place_is_not_removed(own: Daemon) -> None:
    os.unlink(own.socket)
    Path(own.socket).write_text("precious")
    os.kill(own.pid, signal.SIGHUP)
    assert own.process and own.process.wait(PATIENCE) == 0
    assert Path(own.socket).read_text() == "precious"


def test_sighup_ends_no_answer_and_reads_the_options_again(slow: Daemon) -> None:
    wire, listener = slow.wire(), slow.wire()
    listener.call("subscribe", events=["config.loaded"])
    id = wire.begin("generate", prompt="wide 2000", session="s")
    while wire.read().get("method") != "token":
        pass
    (worker,) = slow.workers()
    (slow.home / "config.toml").write_text("drain = 1\n")
    for pid in (slow.pid, worker):  # as a terminal that closes does
        os.kill(pid, signal.SIGHUP)
    assert listener.event("config.loaded")
    assert "result" in wire.until(id)[0]
    assert slow.workers() == [worker]


def launched(daemon: Daemon, code: str, **options: object) -> subprocess.Popen[bytes]:
    """Start the daemon from a process that has first run `code`; it is ready when this returns."""
    read, write = os.pipe()
    run = f"{code}\nos.execv(sys.executable, [sys.executable, '-m', 'threadrunner', 'daemon', '--ready-fd', '{write}'])"
    command = [sys.executable, "-c", f"import os, signal, sys\n{run}"]
    daemon.process = subprocess.Popen(command, env=daemon.env, pass_fds=[write], **options)  # type: ignore[call-overload]
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"ready\n"
    return daemon.process


@pytest.fixture
def fresh() -> Iterator[Daemon]:
    daemon = Daemon()
    try:
        yield daemon
    finally:
        daemon.close()


@pytest.mark.parametrize("closed", ["0, 1, 2", "2", "0"])
def test_without_standard_streams(fresh: Daemon, closed: str) -> None:
    process = launched(fresh, f"for fd in ({closed},): os.close(fd)")
    for fd in (0, 1, 2):
        place = os.readlink(f"/proc/{process.pid}/fd/{fd}") if sys.platform == "linux" else ""
        assert not place.startswith(("socket", "anon_inode", str(fresh.home)))
    assert fresh.wire().call("generate", prompt="x", max_tokens=1)["text"] == "lorem"
    process.terminate()
    assert process.wait(PATIENCE) == 0


def test_signals_that_a_parent_blocked_or_ignored_work(fresh: Daemon) -> None:
    blocked = "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())"
    process = launched(fresh, f"{blocked}\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)")
    wire = fresh.wire()
    wire.call("models.load")
    (worker,) = fresh.workers()
    os.kill(worker, signal.SIGKILL)
    wait_for_exit(worker)
    until(lambda: wire.call("status")["models"][0]["state"] == "failed")
    assert "SIGKILL" in wire.call("status")["models"][0]["error"]
    process.terminate()
    assert process.wait(PATIENCE) == 0


def test_a_socket_that_systemd_gave_another_process_changes_nothing(fresh: Daemon) -> None:
    fresh.env |= {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    fresh.start()
    assert fresh.wire().call("status")["pid"] == fresh.pid
    assert fresh.process
    fresh.process.terminate()
    assert fresh.process.wait(PATIENCE) == 0
    assert not os.path.exists(fresh.socket)


def test_what_is_passed_and_is_no_socket_is_said_in_words(fresh: Daemon) -> None:
    code = (
        "import os, sys; os.dup2(os.open('/dev/null', os.O_RDONLY), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.execv(sys.executable, [sys.executable, '-m', 'threadrunner', 'daemon'])"
    )
    env = {**fresh.env, "LISTEN_FDS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, "file descriptor 3 is not a socket" in done.stderr) == (2, True)


def test_more_clients_than_descriptors_wait_and_are_all_answered(fresh: Daemon) -> None:
    launched(fresh, "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))")
    answers: list[str] = []

    def ask() -> None:
        with Wire(fresh.socket) as wire:
            answers.append(wire.call("generate", prompt="x", max_tokens=1)["text"])

    threads = [threading.Thread(target=ask) for _ in range(70)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["lorem"] * 70
    assert "others wait" in fresh.log


def test_the_daemon_takes_the_descriptors_that_it_may_have(fresh: Daemon) -> None:
    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 500)
    process = launched(fresh, f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}))")
    assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_clients_leave_descriptors_for_workers() -> None:
    assert [clients_limit(n) for n in (-1, 1024, 256, 40, 1)] == [1 << 30, 960, 192, 12, 1]


def test_a_socket_with_a_full_backlog_answers(tmp_path: Path) -> None:
    path = f"{os.path.relpath(tmp_path)}/s"
    with socket.socket(socket.AF_UNIX) as listening, contextlib.ExitStack() as clients:
        listening.bind(path)
        listening.listen(0)
        for _ in range(3):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(path)
        assert answers(path)
