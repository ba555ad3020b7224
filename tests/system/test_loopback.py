"""The daemon over the loopback, as on systems without Unix sockets: who is let in, and whom a client believes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shell import Shell
from tests.support import PATIENCE, wait_for_exit
from threadrunner.client import aio
from threadrunner.system import listening, loopback, transport

STATUS = b'{"jsonrpc":"2.0","id":1,"method":"status"}\n'


@pytest.fixture(scope="module")
def far() -> Iterator[Shell]:
    shell = Shell()
    shell.env[transport.VARIABLE] = "loopback"
    try:
        assert shell.run("Hello, you").stdout == "lorem ipsum dolor sit amet Hello. you.\n"
        yield shell
    finally:
        shell.close()


@pytest.fixture
def endpoint(far: Shell, monkeypatch: pytest.MonkeyPatch) -> loopback.Endpoint:
    monkeypatch.setenv(transport.VARIABLE, "loopback")
    return loopback.read(far.socket)


def test_a_shell_finds_the_daemon_by_a_file_that_is_this_users_alone(far: Shell) -> None:
    facts = os.stat(far.socket)
    assert stat.S_ISREG(facts.st_mode) and facts.st_mode & 0o777 == 0o600
    assert json.loads(far.run("status", "--json").stdout)["pid"] == far.daemon_pid()
    assert far.starts == 1


def test_an_editor_comes_in_too(far: Shell, endpoint: loopback.Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREADRUNNER_SOCKET", far.socket)

    async def ask() -> int:
        connection = await aio.connected()
        status = await connection.request("status", {})
        await connection.close()
        return int(status["pid"])

    assert asyncio.run(ask()) == far.daemon_pid()


@pytest.mark.parametrize(
    "said",
    [STATUS * 3, loopback.HELLO + bytes(loopback.NONCE + loopback.PROOF) + STATUS, b"GET / HTTP/1.1\r\n" + b"x" * 99],
    ids=["requests at once", "a wrong proof", "a browser"],
)
def test_what_cannot_prove_itself_is_hung_up_on_and_never_answered(
    far: Shell, endpoint: loopback.Endpoint, said: bytes
) -> None:
    with socket.create_connection((loopback.HOST, endpoint.port), PATIENCE) as stranger:
        stranger.sendall(said)
        heard = b""
        while more := _received(stranger):
            heard += more
    assert b"jsonrpc" not in heard and endpoint.secret not in heard
    assert "refused a program that does not know the secret" in _log(far)


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(4096)
    except ConnectionResetError:  # hung up on with bytes of ours unread
        return b""


def _log(shell: Shell) -> str:
    return "".join(file.read_text() for file in (shell.home / "cache").glob("*.log"))


def test_another_program_at_the_port_is_no_daemon_and_learns_nothing(tmp_path: Path) -> None:
    """The daemon has gone without a farewell, and its port has been given to another program."""
    heard = b""
    with socket.create_server((loopback.HOST, 0)) as other:
        endpoint = loopback.Endpoint(other.getsockname()[1], os.urandom(32))
        path = _file(tmp_path, loopback.written(endpoint))

        def answer() -> None:
            nonlocal heard
            client, _ = other.accept()
            with client:
                heard = client.recv(4096)
                client.sendall(bytes(loopback.NONCE + loopback.PROOF))
                heard += client.recv(4096)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectionRefusedError):
            loopback.connect(path)
        thread.join(PATIENCE)
    assert heard.startswith(loopback.HELLO) and len(heard) == len(loopback.HELLO) + loopback.NONCE


def _file(folder: Path, text: bytes, mode: int = 0o600) -> str:
    path = folder / "daemon.sock"
    path.write_bytes(text)
    path.chmod(mode)
    return str(path)


GOOD = loopback.written(loopback.Endpoint(4321, bytes(32)))


@pytest.mark.parametrize(
    ("text", "mode", "remedy"),
    [
        (GOOD, 0o644, "others can read it; remove it"),
        (b"precious", 0o600, "move it away"),
        (GOOD.replace(b"4321", b"66666"), 0o600, "damaged; remove it"),
        (GOOD[:-40], 0o600, "damaged; remove it"),
        (loopback.HELLO, 0o600, "damaged; remove it"),
        (loopback.HELLO + b"\xff\xff 00\n", 0o600, "damaged; remove it"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_an_error_that_says_what_to_do(
    text: bytes, mode: int, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(loopback.BadEndpoint) as failed:
        loopback.read(_file(tmp_path, text, mode))
    assert remedy in str(failed.value.strerror)


def test_a_file_of_another_kind_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(transport.VARIABLE, "loopback")
    path = _file(tmp_path, b"precious")
    with pytest.raises(listening.Occupied, match="move it away"):
        listening.bind(path)
    assert Path(path).read_bytes() == b"precious"


def test_the_file_of_a_daemon_that_was_killed_is_replaced(far: Shell) -> None:
    pid, old = far.daemon_pid(), loopback.read(far.socket)
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_for_exit(pid)
    assert far.run("again").stdout.endswith("again.\n")
    assert loopback.read(far.socket).secret != old.secret
    assert far.run("stop").returncode == 0
    assert not os.path.exists(far.socket)


def test_a_transport_that_there_is_not_is_an_error(far: Shell) -> None:
    failed = far.run("hi", THREADRUNNER_TRANSPORT="pigeon")
    assert (failed.returncode, "it can be `loopback`, or unset" in failed.stderr) == (2, True), failed.stderr
