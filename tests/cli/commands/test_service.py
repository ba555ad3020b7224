"""service: the files for systemd and launchd, judged by their own tools where those exist."""

from __future__ import annotations

import http.client
import os
import plistlib
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shell import Shell
from tests.support import PATIENCE
from threadrunner.cli.commands.service_units import Launchd, http_command

SYSTEMCTL = """#!/bin/sh
echo "$@" >> "{log}"
[ -e "{log}.fails" ] && echo "Failed to connect to bus" >&2 && exit 1
echo active
"""


@pytest.fixture
def units(shell: Shell) -> Path:
    """Where the units go; a systemctl that only notes what it is told comes first in the PATH."""
    tool = shell.folder / "tools" / "systemctl"
    tool.parent.mkdir()
    tool.write_text(SYSTEMCTL.format(log=shell.folder / "told"))
    tool.chmod(0o755)
    shell.env["PATH"] = f"{tool.parent}{os.pathsep}{shell.env['PATH']}"
    shell.env["XDG_CONFIG_HOME"] = str(shell.folder / "config")
    return shell.folder / "config" / "systemd" / "user"


def told(shell: Shell) -> list[str]:
    return (shell.folder / "told").read_text().splitlines()


PASS_ON = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True);"
    "os.environ['LISTEN_PID'] = str(os.getpid()); os.environ['LISTEN_FDS'] = '1';"
    "os.execv(sys.argv[2], sys.argv[2:])"
)
"""A program that starts another one as systemd does, with a socket."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")


@linux
def test_installed_and_taken_away(shell: Shell, units: Path) -> None:
    assert "not installed" in shell.run("service", "status").stdout
    done = shell.run("service", "install")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in units.iterdir()) == ["threadrunner.service", "threadrunner.socket"]
    assert told(shell) == ["--user daemon-reload", "--user enable --now threadrunner.socket"]
    status = shell.run("service", "status")
    assert status.returncode == 0
    assert "threadrunner.socket: active" in status.stdout
    (units / "threadrunner.service").write_text("[Service]\nExecStart=/gone\n")
    assert "run it again?" in shell.run("service", "status").stdout
    assert shell.run("service", "uninstall").returncode == 0
    assert list(units.iterdir()) == []
    assert told(shell)[-2:] == ["--user disable --now threadrunner.socket threadrunner.service", "--user daemon-reload"]
    assert "not installed" in shell.run("service", "uninstall").stderr


@linux
def test_a_running_daemon_makes_way(shell: Shell, units: Path) -> None:
    assert shell.run("hi").returncode == 0
    assert shell.run("service", "install").returncode == 0
    assert shell.daemon_pid() is None


@linux
def test_without_a_service_manager_it_says_what_to_run(shell: Shell, units: Path) -> None:
    (shell.folder / "told.fails").touch()
    done = shell.run("service", "install")
    assert done.returncode == 1
    assert "Failed to connect to bus" in done.stderr
    assert "systemctl --user enable --now threadrunner.socket" in done.stderr


@linux
def test_print_writes_nothing(shell: Shell, units: Path) -> None:
    shown = shell.run("service", "install", "--print").stdout
    assert f"ListenStream={shell.socket}" in shown
    assert not units.exists()


@linux
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_no_fault_with_them(shell: Shell, units: Path) -> None:
    shell.env["THREADRUNNER_SOCKET"] = str(shell.folder / 'a b%c$d"e' / "daemon.sock")
    assert shell.run("service", "install").returncode == 0
    files = [str(path) for path in units.iterdir()]
    env = {**shell.env, "XDG_RUNTIME_DIR": str(shell.folder)}
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", *files], env=env, capture_output=True, text=True, timeout=PATIENCE
    )
    ours = [line for line in done.stderr.splitlines() if "threadrunner" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


@linux
def test_the_unit_starts_a_daemon_on_the_socket_it_is_given(shell: Shell, units: Path) -> None:
    """As systemd would: the socket listens first, the daemon comes with the first prompt."""
    assert shell.run("service", "install").returncode == 0
    command = next(
        line.removeprefix("ExecStart=").replace('"', "").split()
        for line in (units / "threadrunner.service").read_text().splitlines()
        if line.startswith("ExecStart=")
    )
    Path(shell.socket).parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(shell.socket)
        listener.listen()
        os.chmod(shell.socket, 0o600)
        prompt = shell.start("hi", "there")
        daemon = subprocess.Popen(
            [sys.executable, "-c", PASS_ON, str(listener.fileno()), *command],
            env=shell.env,
            pass_fds=[listener.fileno()],
        )
        try:
            assert b"hi. there." in prompt.communicate(timeout=PATIENCE)[0]
            assert shell.daemon_pid() == daemon.pid  # shells read from the lock whether it is an older version's
            assert shell.run("stop").returncode == 0
            assert daemon.wait(PATIENCE) == 0
            assert stat.S_ISSOCK(os.stat(shell.socket).st_mode), "it is systemd's, and stays"
        finally:
            daemon.kill()
            daemon.wait()


def test_the_agent_for_launchd(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(shell.folder))
    monkeypatch.setenv("THREADRUNNER_HOME", "/some where/<&>")
    monkeypatch.setenv("THREADRUNNER_SOCKET", shell.socket)
    ((path, text),) = Launchd().files().items()
    assert path == str(shell.folder / "Library" / "LaunchAgents" / "dev.threadrunner.daemon.plist")
    agent = plistlib.loads(text.encode())
    assert agent["ProgramArguments"] == [sys.executable, "-P", "-m", "threadrunner", "daemon"]
    assert agent["EnvironmentVariables"]["THREADRUNNER_HOME"] == "/some where/<&>"
    assert agent["EnvironmentVariables"]["THREADRUNNER_SOCKET"] == shell.socket
    if shutil.which("plutil"):
        subprocess.run(["plutil", "-lint", "-"], input=text.encode(), check=True, timeout=PATIENCE)
    both = Launchd(http_command(9000, key=True)).files()
    agent = plistlib.loads(
        both[str(shell.folder / "Library" / "LaunchAgents" / "dev.threadrunner.http.plist")].encode()
    )
    assert agent["ProgramArguments"][-5:] == ["serve", "--port", "9000", "--key", "auto"]


@linux
def test_http_is_installed_beside_and_taken_away_with_it(shell: Shell, units: Path) -> None:
    assert "--http" in shell.run("service", "install", "--port", "1").stderr
    assert shell.run("service", "install", "--http", "--port", "9001", "--key").returncode == 0
    both = [f"threadrunner{which}.{kind}" for which in ("-http", "") for kind in ("service", "socket")]
    assert sorted(path.name for path in units.iterdir()) == both
    assert "ListenStream=127.0.0.1:9001\n" in (units / "threadrunner-http.socket").read_text()
    assert told(shell)[1] == "--user enable --now threadrunner.socket threadrunner-http.socket"
    status = shell.run("service", "status")
    assert status.stdout.count(": installed") == 4 and "run it again?" not in status.stdout
    assert shell.run("service", "uninstall").returncode == 0
    assert list(units.iterdir()) == []


@linux
def test_serve_takes_the_socket_that_it_is_given(shell: Shell, units: Path) -> None:
    """As systemd would: the first connection waits until it has come; `status` and `doctor` know of it then."""
    assert shell.run("service", "install", "--http").returncode == 0
    text = (units / "threadrunner-http.service").read_text()
    line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    command = line.removeprefix("ExecStart=").replace('"', "").split()
    assert shell.run("hi").returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/health")
        served = subprocess.Popen(
            [sys.executable, "-c", PASS_ON, str(listener.fileno()), *command],
            env=shell.env, pass_fds=[listener.fileno()], stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert connection.getresponse().read() == b'{"status":"ok"}'
            assert f"served at http://127.0.0.1:{port}, pid {served.pid}" in shell.run("status").stdout
            assert f"ok   serve: http://127.0.0.1:{port}, pid {served.pid}" in shell.run("doctor").stdout
        finally:
            connection.close()
            served.kill()
            served.communicate()
    assert "served at" not in shell.run("status").stdout, "it was killed, and left its file"
    assert list(Path(shell.socket).parent.glob("serve.*")) == []
