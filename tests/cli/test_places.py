"""Paths and names mean what they mean where they are typed; the daemon keeps nothing of the shell that starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shell import COMMAND, Shell
from tests.support import PATIENCE
from threadrunner import config, paths
from threadrunner.cli import request
from threadrunner.client import spawn

SCRIPT = Path(sys.executable).parent / "threadrunner"


def test_relative_variables_are_the_callers(shell: Shell) -> None:
    """The daemon runs in `/`."""
    shell.socket = str(shell.work / "run" / "d.sock")
    shell.env |= {"THREADRUNNER_HOME": "here", "THREADRUNNER_SOCKET": "run/d.sock"}
    done = shell.run("-S", "trip", "hi")
    assert (done.returncode, done.stderr) == (0, "")
    assert (shell.work / "here" / "sessions.db").exists()
    assert shell.run("status").returncode == 0
    assert not Path("/here").exists() and not Path("/run/d.sock").exists()


def test_what_the_daemon_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    env = spawn.environment(
        {"OLLAMA_MODELS": "store", "HF_HOME": "~/hf", "PYTHONPATH": f"lib{os.pathsep}", "LISTEN_FDS": "1", "A": "b"}
    )  # fmt: skip
    assert env == {
        "OLLAMA_MODELS": str(tmp_path / "store"),
        "HF_HOME": os.path.expanduser("~/hf"),
        "PYTHONPATH": str(tmp_path / "lib"),
        "PYTHONUTF8": "1",
        "A": "b",
    }


def test_a_tilde_is_the_home_folder_in_every_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "config.toml"
    file.write_text('model = "~/a.gguf"\nmodel_path = "~/b.gguf"\n[modes.x]\nmodel = "~/d.gguf"\n')
    assert config.mode_tables(str(file))["x"]["model"] == f"{tmp_path}/d.gguf"
    got = config.load({}, str(file))
    assert (got.model, got.model_path) == (f"{tmp_path}/a.gguf", f"{tmp_path}/b.gguf")
    assert config.load({"THREADRUNNER_MODEL_PATH": "~/c.gguf"}, str(file)).model_path == f"{tmp_path}/c.gguf"
    for variable, where in (("THREADRUNNER_HOME", paths.home), ("THREADRUNNER_SOCKET", paths.socket_path)):
        monkeypatch.setenv(variable, "~/x")
        assert where() == f"{tmp_path}/x"


def test_what_lies_about_does_not_shadow_a_models_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    (home / "models").mkdir(parents=True)
    work.mkdir()
    monkeypatch.setenv("THREADRUNNER_HOME", str(home))
    monkeypatch.chdir(work)
    (work / "notes").write_text("of a project")
    for name in ("known", "aliased", "model", "a.gguf", "smollm2:135m"):
        (work / name).write_bytes(b"GGUF")
    (work / "coder").mkdir()
    (work / "fetched").mkdir()
    (work / "fetched" / "b.gguf").touch()
    (home / "models" / "known.gguf").touch()
    (home / "config.toml").write_text('[aliases]\naliased = "b"')
    for name in ("notes", "known", "aliased", "coder", "smollm2:135m", "nowhere", "nowhere.gguf"):
        assert request.model_name(name, folders=True) == name
    for name in ("./known", "model", "a.gguf", "fetched", "../work/notes", "sub/x.gguf"):
        assert request.model_name(name, folders=True) == os.path.abspath(name)
    assert request.model_name("fetched") == "fetched"


def test_a_folder_that_was_removed(shell: Shell) -> None:
    gone = f"mkdir gone; cd gone; rmdir ../gone; {SCRIPT} -n 1 hi"
    assert shell.bash(f"{gone}; {SCRIPT} -n 1 hi -m x.gguf") == "lorem\nlorem\n"
    says = "threadrunner: ./x.gguf is relative, and the current folder was removed; `cd` to another one\n2\n"
    assert shell.bash(f"{gone} -m ./x.gguf; echo $?") == says


def test_no_process_of_ours_imports_from_the_folder_it_is_started_in(shell: Shell) -> None:
    """`python -m` does: a stranger's random.py would be run."""
    for name in ("contextlib", "random", "socket"):
        (shell.work / f"{name}.py").write_text(f"open({str(shell.folder / 'ran')!r}, 'w')\nraise SystemExit(name)")
    read, write = os.pipe()
    command = [SCRIPT, "daemon", "--ready-fd", str(write)]
    daemon = subprocess.Popen(command, env=shell.env, cwd=shell.work, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"ready\n"
    done = subprocess.run([SCRIPT, "hi"], env=shell.env, cwd=shell.work, stdin=subprocess.DEVNULL, capture_output=True)
    daemon.terminate()
    assert daemon.wait(PATIENCE) == 0
    assert (done.returncode, done.stderr) == (0, b"")
    assert not (shell.folder / "ran").exists()


HOSTILE = """
import os, resource, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGCHLD])
for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
os.umask(0o777)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
os.execv(sys.executable, [sys.executable, "-m", "threadrunner", "hi"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_daemon_keeps_nothing_of_its_shell(shell: Shell) -> None:
    done = subprocess.run([sys.executable, "-c", HOSTILE], env=shell.env, stdin=subprocess.DEVNULL, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    proc = Path(f"/proc/{shell.daemon_pid()}")
    facts = dict(line.split(":\t") for line in (proc / "status").read_text().splitlines())
    assert int(facts["SigBlk"], 16) == 0
    assert not int(facts["SigIgn"], 16) & (1 << 9 | 1 << 16)  # SIGUSR1, SIGCHLD
    assert facts["Umask"] == "0077"
    limits = {line[:26].strip(): line[26:].split()[:2] for line in (proc / "limits").read_text().splitlines()}
    assert int(limits["Max open files"][0]) > 40
    assert limits["Max file size"][0] == limits["Max file size"][1]
    assert b"LISTEN_FDS" not in (proc / "environ").read_bytes()
    assert shell.run("stop").returncode == 0
    assert not Path(shell.socket).exists()


def test_another_units_sockets_are_not_the_daemons(shell: Shell) -> None:
    """Its socket's file would stay, as that of systemd does."""
    shell.env |= {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
    read, write = os.pipe()
    process = subprocess.Popen([*COMMAND, "daemon", "--ready-fd", str(write)], env=shell.env, pass_fds=[write])
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"ready\n"
    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert not Path(shell.socket).exists()


def test_what_is_shared_is_not_to_be_closed(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "daemon.sock.lock").touch()
    folder.chmod(0o755)
    with pytest.raises(paths.PathError, match=f"chmod 700 {folder}"):
        paths.private_dir(str(folder))
    folder.chmod(0o1777)
    with pytest.raises(paths.PathError, match="needs a folder of its own") as sticky:
        paths.private_dir(str(folder))
    folder.chmod(0o755)
    (folder / "a neighbour's").touch()
    with pytest.raises(paths.PathError, match="needs a folder of its own") as used:
        paths.private_dir(str(folder))
    assert "chmod" not in f"{sticky.value} {used.value}"
