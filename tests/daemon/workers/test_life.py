"""Lives and deaths: of models, workers and the daemon itself. Real processes, real signals."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import python_path
from tests.support import PATIENCE, Daemon, running, wait_for_exit


@pytest.fixture
def mortal(plugin: Path) -> Iterator[Daemon]:
    """A daemon for one test that will not leave it as it was."""
    yield from running(THREADRUNNER_BACKEND="trouble", PYTHONPATH=python_path(plugin), THREADRUNNER_DRAIN="0.5")


def test_a_model_is_loaded_by_the_first_request_and_stays(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.call("models.unload")
    response, before = wire.until(wire.begin("generate", prompt="x"))
    assert [m["params"]["stage"] for m in before if m["method"] == "progress"] == ["load"]
    assert response["result"]["timings"]["load_ms"] > 0
    first = daemon.workers()
    wire.call("generate", prompt="x")
    assert daemon.workers() == first != []


def test_an_idle_model_is_unloaded_and_its_process_gone(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.call("subscribe", events=["model.unloaded"])
    wire.call("generate", prompt="x", keep_alive=0.2)
    (pid,) = daemon.workers()
    assert wire.event("model.unloaded")["model"] == "dummy"
    wait_for_exit(pid)
    assert wire.call("status")["models"] == []
    assert wire.call("generate", prompt="x", max_tokens=1)["text"] == "lorem"


def test_keep_alive_zero_unloads_at_once_and_minus_one_never(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.call("generate", prompt="x", keep_alive=-1)
    assert wire.call("status")["models"][0]["expires_s"] is None
    wire.call("subscribe", events=["model.unloaded"])
    wire.call("generate", prompt="x", keep_alive=0)
    wire.event("model.unloaded")


def test_a_model_is_never_unloaded_under_a_request(troubled: Daemon) -> None:
    wire = troubled.wire()
    wire.call("subscribe", events=["model.unloaded"])
    id = wire.begin("generate", prompt="wide 3000", keep_alive=0)
    wire.begin("models.unload")
    response, before = wire.until(id)
    assert sum(len(m["params"]["text"]) for m in before if m.get("method") == "token") == 3000 * 1024
    assert not [m for m in before if m.get("method") == "event"]
    assert "result" in response
    wire.event("model.unloaded")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL"])
def test_a_crash_ends_its_requests_and_nothing_else(troubled: Daemon, name: str) -> None:
    wire, other = troubled.wire(), troubled.wire()
    neighbour = other.begin("generate", prompt="drip")
    while other.read().get("method") != "token":
        pass
    error = wire.fail("generate", prompt=f"crash {name}")
    assert (error["code"], error["data"]["kind"], error["data"]["signal"]) == (-32003, "WorkerCrashed", name)
    assert "loads the model again" in error["message"]
    assert other.until(neighbour)[0]["error"]["data"]["signal"] == name
    assert "others" in wire.call("generate", prompt="count")["text"]
    assert wire.call("status")["pid"] == troubled.pid


def test_a_worker_killed_from_outside(troubled: Daemon) -> None:
    wire = troubled.wire()
    id = wire.begin("generate", prompt="drip")
    while wire.read().get("method") != "token":
        pass
    (pid,) = troubled.workers()
    os.kill(pid, signal.SIGKILL)
    assert wire.until(id)[0]["error"]["data"]["signal"] == "SIGKILL"
    assert "others" in wire.call("generate", prompt="count")["text"]
    assert troubled.workers() != [pid]


def test_a_backend_that_breaks_tells_its_last_words(troubled: Daemon) -> None:
    error = troubled.wire().fail("generate", prompt="raise")
    assert error["data"]["exit_code"] == 1
    assert "RuntimeError: the backend is broken" in error["message"]


@pytest.mark.parametrize(
    ("model", "kind", "says"),
    [
        ("fail", "ModelLoadFailed", "the file is no good"),
        ("crash", "WorkerCrashed", "SIGSEGV"),
        ("exit", "WorkerCrashed", "exit code 7: these were my last words"),
    ],
)
def test_a_load_that_keeps_failing_backs_off(troubled: Daemon, model: str, kind: str, says: str) -> None:
    wire = troubled.wire()
    for _ in range(2):  # the second try is made at once, for what was only passing
        error = wire.fail("generate", prompt="x", model=model)
        assert error["data"]["kind"] == kind
        assert says in error["message"]
        assert "retry_in_s" not in error["data"]
        wire.call("status")
    third = wire.fail("generate", prompt="x", model=model)
    assert third["data"]["kind"] == "ModelLoadFailed"
    assert says in third["message"]
    assert third["data"]["retry_in_s"] > 0
    state = {m["name"]: m for m in wire.call("status")["models"]}[model]
    assert (state["state"], state["pid"]) == ("failed", None)
    assert "others" in wire.call("generate", prompt="count")["text"]


def test_an_unknown_backend_names_the_installed_ones(troubled: Daemon) -> None:
    error = troubled.wire().fail("generate", prompt="x", backend="nothing")
    assert error["data"]["kind"] == "ModelLoadFailed"
    assert "dummy, llama, several, shout, thinker, trouble" in error["message"]


def test_a_plugin_is_found_by_its_entry_point(troubled: Daemon) -> None:
    wire = troubled.wire()
    response, before = wire.until(wire.begin("generate", prompt="hear me out", backend="shout"))
    assert response["result"]["text"] == "HEAR ME OUT"
    assert "".join(m["params"]["text"] for m in before if m["method"] == "token") == "HEAR ME OUT"
    shout = {m["backend"]: m for m in wire.call("status")["models"]}["shout"]
    assert shout["facts"]["voice"] == "loud"


def test_a_killed_daemon_leaves_no_orphan_and_a_new_one_takes_its_socket(mortal: Daemon) -> None:
    wire = mortal.wire()
    wire.begin("generate", prompt="drip")
    while wire.read().get("method") != "token":
        pass
    (worker,) = mortal.workers()
    mortal.kill()
    wait_for_exit(worker)
    assert Path(mortal.socket).exists(), "the stale socket is what the next start has to cope with"
    mortal.start()
    assert "others" in mortal.wire().call("generate", prompt="count")["text"]


def test_sigterm_lets_a_request_finish(mortal: Daemon) -> None:
    wire = mortal.wire()
    wire.call("models.load")
    id = wire.begin("generate", prompt="wide 500")
    while wire.read().get("method") != "token":
        pass
    os.kill(mortal.pid, signal.SIGTERM)
    assert "result" in wire.until(id)[0]
    assert wire.read() is None
    assert mortal.process and mortal.process.wait(PATIENCE) == 0
    assert not Path(mortal.socket).exists()


def test_sigterm_ends_what_takes_too_long_and_refuses_what_comes_after(mortal: Daemon) -> None:
    wire, other = mortal.wire(), mortal.wire()
    endless = wire.begin("generate", prompt="drip")
    while wire.read().get("method") != "token":
        pass
    (worker,) = mortal.workers()
    pid = other.call("shutdown")["pid"]
    assert pid == mortal.pid
    assert other.fail("generate", prompt="x")["data"]["kind"] == "ShuttingDown"
    assert wire.until(endless)[0]["error"]["data"]["kind"] == "ShuttingDown"
    assert mortal.process and mortal.process.wait(PATIENCE) == 0
    wait_for_exit(worker)


def test_a_second_daemon_says_who_is_there_and_leaves_the_socket_alone(daemon: Daemon) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "threadrunner", "daemon"], env=daemon.env, capture_output=True, timeout=PATIENCE
    )
    assert second.returncode == 2
    assert f"pid {daemon.pid}" in second.stderr.decode()
    assert daemon.wire().call("status")["pid"] == daemon.pid


def test_a_file_in_the_sockets_place_is_not_deleted() -> None:
    daemon = Daemon()
    try:
        Path(daemon.socket).parent.mkdir(mode=0o700)
        Path(daemon.socket).write_text("precious")
        with pytest.raises(AssertionError, match="is a file, not a socket"):
            daemon.start()
        assert Path(daemon.socket).read_text() == "precious"
    finally:
        daemon.close()


def test_idle_exit_ends_the_daemon() -> None:
    for daemon in running(THREADRUNNER_IDLE_EXIT="0.2"):
        wire = daemon.wire()
        wire.call("generate", prompt="x", keep_alive=0)
        daemon.hang_up()
        assert daemon.process and daemon.process.wait(PATIENCE) == 0


def activated(daemon: Daemon, path: str) -> subprocess.Popen[bytes]:
    """Start the daemon as systemd does: the listening socket is file descriptor 3."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        os.chmod(path, 0o666)
        inheritable = os.dup2(listening.fileno(), 200, inheritable=True)
    code = (
        "import os, sys; os.dup2(200, 3); os.environ['LISTEN_PID'] = str(os.getpid());"
        "os.execv(sys.executable, [sys.executable, '-m', 'threadrunner', 'daemon'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**daemon.env, "LISTEN_FDS": "1"}, pass_fds=[inheritable]
    )
    os.close(inheritable)
    return process


def test_systemd_socket_activation_and_the_peers_uid() -> None:
    """The socket is there before the daemon, stays after it, and its mode does not let another user in."""
    daemon = Daemon()
    daemon.home.chmod(0o711)
    path = str(daemon.home / "s")
    ask = (
        "import os, socket, sys\n"
        "os.setuid(int(sys.argv[2])) if sys.argv[2] != '-' else None\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        'try:\n s.sendall(b\'{"jsonrpc":"2.0","id":1,"method":"status"}\\n\'); sys.stdout.buffer.write(s.recv(99999))\n'
        "except OSError: pass\n"
    )

    def answer(uid: str) -> bytes:
        return subprocess.run(
            [sys.executable, "-c", ask, path, uid], capture_output=True, check=True, timeout=PATIENCE
        ).stdout

    daemon.home.chmod(0o700)
    process = activated(daemon, path)
    try:
        assert json.loads(answer("-"))["result"]["pid"] == process.pid
        if os.getuid() == 0:  # only root can become another user
            daemon.home.chmod(0o711)
            assert answer("65534") == b""
            assert "refused a client of uid 65534" in daemon.log
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert Path(path).exists(), "systemd's socket is not ours to remove"
    finally:
        process.kill()
        process.wait()
        daemon.close()
