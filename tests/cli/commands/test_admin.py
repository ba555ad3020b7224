"""status, stop, load, unload, models, logs, doctor, daemon, completions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import threadrunner
from tests.shell import COMMAND, Shell
from tests.support import PATIENCE, wait_for_exit


@pytest.mark.parametrize("args", [["status"], ["status", "--json"], ["stop"], ["unload"], ["unload", "dummy"]])
def test_without_a_daemon_none_is_started(shell: Shell, args: list[str]) -> None:
    done = shell.run(*args)
    assert (done.returncode, done.stdout) == (2 if args[0] == "status" else 0, "")
    assert done.stderr.startswith("threadrunner: no daemon is running")
    assert shell.starts == 0


def test_status(shell: Shell) -> None:
    loaded = shell.run("load").stdout
    assert loaded.startswith("dummy: ready in ") and loaded.endswith(" s, 4096 tokens of context\n")
    head, columns, row = shell.run("status").stdout.splitlines()
    pid = shell.daemon_pid()
    assert head.startswith(f"daemon {threadrunner.__version__}, pid {pid}, up ")
    assert columns.split()[:3] == ["MODEL", "BACKEND", "STATE"]
    assert row.split()[:3] == ["dummy", "dummy", "ready"]
    facts = json.loads(shell.run("status", "--json").stdout)
    assert (facts["pid"], facts["models"][0]["name"]) == (pid, "dummy")
    assert shell.run("unload").stdout == "dummy: unloaded\n"
    wait_for_exit(facts["models"][0]["pid"])
    done = shell.run("unload")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "threadrunner: nothing is loaded\n")
    assert "no model is loaded" in shell.run("status").stdout


def test_stop_comes_back_when_the_daemon_has_gone(shell: Shell) -> None:
    assert shell.run("hi").returncode == 0
    status = shell.status()
    done = shell.run("stop")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert shell.daemon_pid() is None
    with pytest.raises(ProcessLookupError):
        os.kill(status["models"][0]["pid"], 0)


def test_several_stops_at_once(shell: Shell) -> None:
    assert shell.run("hi").returncode == 0
    for process in [shell.start("stop") for _ in range(6)]:
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    assert shell.daemon_pid() is None


def test_the_daemon_in_the_foreground(shell: Shell) -> None:
    read, write = os.pipe()
    process = shell.start("daemon", "--ready-fd", str(write), pass_fds=[write])
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"ready\n"
    second = shell.run("daemon")
    assert second.returncode == 2
    assert f"pid {process.pid}" in second.stderr
    assert shell.run("hi").returncode == 0
    process.terminate()
    assert process.wait(PATIENCE) == 0


def test_logs(shell: Shell) -> None:
    done = shell.run("logs")
    assert (done.returncode, done.stdout) == (64, "")
    assert "nothing was logged" in done.stderr and "THREADRUNNER_LOG=info" in done.stderr
    cache = shell.home / "cache"
    cache.mkdir(parents=True)
    (cache / "threadrunner-daemon-2001-01-01.log").write_text("old\n")
    newest = cache / "threadrunner-daemon-2001-01-02.log"
    newest.write_text("".join(f"line {n}\n" for n in range(100)))
    assert shell.run("logs").stdout == newest.read_text()
    assert shell.run("logs", "-n", "2").stdout == "line 98\nline 99\n"
    assert shell.run("logs", "-n", "0").stdout == ""
    assert shell.run("logs", "-n", "1000").stdout == newest.read_text()
    newest.write_text("one\ntwo\nno end")
    assert shell.run("logs", "-n", "2").stdout == "two\nno end"
    newest.write_text("x" * 70000 + "\n" + "y" * 70000 + "\n")
    assert shell.run("logs", "-n", "1").stdout == "y" * 70000 + "\n"


def test_logs_follow_past_midnight_and_rotation(shell: Shell) -> None:
    cache = shell.home / "cache"
    cache.mkdir(parents=True)
    first = cache / "threadrunner-daemon-2001-01-01.log"
    first.write_text("".join(f"line {n}\n" for n in range(12)))
    process = shell.start("logs", "-f")
    assert process.stdout
    lines = process.stdout
    assert [lines.readline() for _ in range(10)] == [b"line %d\n" % n for n in range(2, 12)]
    with first.open("a") as file:
        file.write("more\n")
    assert lines.readline() == b"more\n"
    (cache / "threadrunner-daemon-2001-01-02.log").write_text("next day\n")
    assert lines.readline() == b"next day\n"
    replacement = cache / "new"
    replacement.write_text("another file\n")
    replacement.rename(cache / "threadrunner-daemon-2001-01-02.log")
    assert lines.readline() == b"another file\n"
    with (cache / "threadrunner-daemon-2001-01-02.log").open("r+") as file:
        file.truncate()
        file.write("cut\n")
    assert lines.readline() == b"cut\n"
    lines.close()
    process.stdout = None
    assert process.wait(PATIENCE) == 0


def test_logs_follow_waits_for_a_first_file(shell: Shell) -> None:
    process = shell.start("logs", "-f")
    assert process.stdout
    assert shell.run("hi").returncode == 0
    assert process.stdout.readline()
    process.terminate()
    assert process.wait(PATIENCE) == 143


def test_doctor_when_all_is_well(shell: Shell) -> None:
    assert shell.run("hi").returncode == 0
    done = shell.run("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    for what in ("python", "cores", "home", "config", "disk", "socket", "daemon", "model"):
        assert f" {what}: " in done.stdout
    assert f"version {threadrunner.__version__}, pid {shell.daemon_pid()}" in done.stdout
    assert done.stdout.endswith("All is well.\n")


def test_doctor_looks_at_the_engine(shell: Shell) -> None:
    done = shell.run("doctor", THREADRUNNER_BACKEND="llama")
    assert "engine: llama-cpp-python 0." in done.stdout
    assert shell.starts == 0


@pytest.mark.parametrize(
    ("name", "value", "code", "says"),
    [
        ("THREADRUNNER_MODEL_PATH", "/nowhere.gguf", 3, "FAIL model: /nowhere.gguf: No such file"),
        ("THREADRUNNER_MODEL_PATH", "/etc/passwd", 3, "FAIL model: /etc/passwd is not a GGUF file"),
        ("THREADRUNNER_LOG", "loudly", 1, "FAIL config: THREADRUNNER_LOG: log: 'loudly' is not a level"),
        ("THREADRUNNER_SOCKET", f"/tmp/{'x' * 120}/d.sock", 1, "FAIL socket: the socket's path has"),
    ],
)
def test_doctor_when_it_is_not(shell: Shell, name: str, value: str, code: int, says: str) -> None:
    done = shell.run("doctor", **{name: value})
    assert done.returncode == code
    assert says in done.stdout
    assert "checks failed: " in done.stdout


def test_doctor_on_an_engine_for_another_cpu(shell: Shell) -> None:
    (shell.folder / "site" / "llama_cpp.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    done = shell.run("doctor", THREADRUNNER_BACKEND="llama")
    assert done.returncode == 3
    assert "FAIL engine: importing llama_cpp ended with signal 4: it was built for another CPU" in done.stdout


def test_doctor_without_a_compiler(shell: Shell) -> None:
    (shell.folder / "site" / "llama_cpp.py").write_text("raise ImportError('libllama.so is not there')")
    done = shell.run("doctor", THREADRUNNER_BACKEND="llama", PATH=str(shell.folder))
    assert "FAIL engine: cannot import llama_cpp (ImportError: libllama.so is not there)" in done.stdout
    assert "FAIL compiler: no C++ compiler found; llama.cpp is built from source" in done.stdout


def test_doctor_on_too_many_threads_and_too_large_a_model(shell: Shell) -> None:
    huge = shell.work / "huge.gguf"
    with huge.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(1 << 40)  # a hole: nothing on the disk
    done = shell.run("doctor", THREADRUNNER_THREADS="512", THREADRUNNER_MODEL_PATH=str(huge))
    assert done.returncode == 0
    assert "note threads: 512 are configured for" in done.stdout
    assert "note memory: huge.gguf takes about 1374 GB; use a smaller quantization" in done.stdout
    assert " reading: " in done.stdout


def test_doctor_finds_what_a_killed_daemon_left(shell: Shell) -> None:
    assert shell.run("hi").returncode == 0
    pid = shell.daemon_pid()
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_for_exit(pid)
    assert f"note lock: {shell.socket} was left by a daemon that was killed" in shell.run("doctor").stdout


def test_doctor_on_folders_that_others_write_to(shell: Shell) -> None:
    assert shell.run("hi").returncode == 0
    (shell.home / "models").chmod(0o777)
    assert f"run: chmod go-w {shell.home / 'models'}" in shell.run("doctor").stdout


CHECKS = {
    "bash": ["bash", "-n"],
    "zsh": ["zsh", "-n"],
    "fish": ["fish", "--no-execute"],
}


@pytest.mark.parametrize("name", list(CHECKS))
def test_completions(shell: Shell, name: str) -> None:
    done = shell.run("completions", name)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("models", "status", "max-tokens", "completions"):
        assert word in done.stdout
    assert "ready-fd" not in done.stdout
    if shutil.which(name):
        subprocess.run(CHECKS[name], input=done.stdout.encode(), check=True, timeout=PATIENCE)


def test_completions_complete_in_bash(shell: Shell) -> None:
    (shell.folder / "completions").write_text(shell.run("completions", "bash").stdout)

    def complete(*words: str) -> list[str]:
        line = " ".join(words)
        listed = " ".join(f"'{word}'" for word in words)
        script = (
            f"source {shell.folder}/completions; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; "
            f"COMP_LINE='{line}'; COMP_POINT={len(line)}; "
            '$(complete -p threadrunner | sed "s/.*-F \\([^ ]*\\).*/\\1/"); printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout.split()

    assert "status" in complete("threadrunner", "st")
    assert "--max-tokens" in complete("threadrunner", "--max")
    assert complete("threadrunner", "models", "p") == ["pull"]


def test_a_daemon_of_a_vanished_terminal_lives_on(shell: Shell) -> None:
    """The shell that started it ends by SIGHUP with its terminal; the daemon is in a session of its own."""
    terminal = shell.terminal("hi")
    assert terminal.finish() == 0
    pid = shell.daemon_pid()
    assert pid is not None
    terminal.close()
    shell._opened.remove(terminal)
    assert shell.run("hi").returncode == 0
    assert shell.daemon_pid() == pid
    assert shell.run("stop").returncode == 0
    wait_for_exit(pid)


def test_the_installed_script_is_the_same_program(shell: Shell) -> None:
    script = Path(sys.executable).parent / "threadrunner"
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == shell.run("--version").stdout
    assert COMMAND[1:] == ["-m", "threadrunner"]


def test_doctor_on_a_damaged_file_of_conversations(shell: Shell) -> None:
    shell.home.mkdir()
    (shell.home / "sessions.db").write_bytes(os.urandom(9000))
    done = shell.run("doctor")
    assert done.returncode == 1
    assert f"FAIL sessions: {shell.home}/sessions.db cannot be used: file is not a database; if" in done.stdout
    (shell.home / "sessions.db").unlink()
    assert shell.run("-S", "trip", "hi").returncode == 0
    assert f"ok   sessions: {shell.home}/sessions.db\n" in shell.run("doctor").stdout


def test_doctor_tries_what_it_says(shell: Shell) -> None:
    """Root's permissions say yes to everything."""
    done = shell.run("doctor", THREADRUNNER_HOME="/proc/x")
    assert done.returncode == 1
    assert "FAIL home: /proc/x cannot be made or written: No such file or directory (/proc)" in done.stdout
    done = shell.run("doctor", THREADRUNNER_SOCKET="/proc/x/d.sock")
    assert "FAIL socket: /proc/x cannot be made or written" in done.stdout
    shell.home.mkdir()
    shown = shell.bash("ulimit -f 0; threadrunner doctor")  # as on a full disk
    assert f"FAIL home: {shell.home} cannot be made or written: File too large" in shown
    assert "checks failed: home" in shown
    assert list(shell.home.iterdir()) == []


def test_doctor_on_a_default_model_that_is_not_there(shell: Shell) -> None:
    shell.home.mkdir()
    (shell.home / "config.toml").write_text('model = "gone.gguf"')
    done = shell.run("doctor")
    assert done.returncode == 3
    assert f"FAIL model: the default one, gone.gguf, is not in {shell.home}/models: there is none" in done.stdout


def test_doctor_on_a_socket_in_a_folder_of_others(shell: Shell) -> None:
    folder = Path(shell.socket).parent
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "a neighbour's").touch()
    done = shell.run("doctor")
    assert done.returncode == 1
    assert "the socket needs a folder of its own" in done.stdout and "chmod" not in done.stdout
