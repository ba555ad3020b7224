"""docs/examples: each runs as its first lines say, against a real daemon."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import python_path
from tests.shell import Shell
from tests.support import PATIENCE, Daemon, Wire, pip_install, running

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"


def run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)


def with_the_command(shell: Shell) -> dict[str, str]:
    """The shell's environment with `threadrunner` in its PATH."""
    shell.bash("true")  # makes the command
    return {**shell.env, "PATH": f"{shell.folder / 'bin'}{os.pathsep}{shell.env['PATH']}"}


def test_the_list_has_every_example() -> None:
    listed = set(re.findall(r"^\| \[[^]]*\]\(([^)]*)\)", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    assert listed == {path.name for path in EXAMPLES.iterdir()} - {"README.md", "__pycache__"}


def test_ask(shell: Shell) -> None:
    done = run([sys.executable, str(EXAMPLES / "ask.py"), "hello", "you"], shell.env)
    assert (done.returncode, done.stdout) == (0, "lorem ipsum dolor sit amet hello. you.\n")
    assert done.stderr.endswith("[dummy: 7 tokens]\n")


def test_ask_says_what_is_wrong(shell: Shell) -> None:
    done = run([sys.executable, str(EXAMPLES / "ask.py")], {**shell.env, "THREADRUNNER_BACKEND": "nowhere"})
    assert done.returncode == 1
    assert done.stderr.startswith("ModelLoadFailed: ")


def test_call_tools(shell: Shell) -> None:
    command = [sys.executable, str(EXAMPLES / "call_tools.py"), '!call temperature {"city": "Bonn"}']
    done = run(command, shell.env)
    assert (done.returncode, done.stdout) == (0, "lorem ipsum dolor sit amet 12. degrees. in. Bonn.\n"), done.stderr
    assert done.stderr == "[temperature {'city': 'Bonn'}]\n"


def test_ask_many(shell: Shell) -> None:
    done = run([sys.executable, str(EXAMPLES / "ask_many.py"), "30", "a", "b"], shell.env)
    assert done.stdout == "a: lorem ipsum dolor sit amet a.\nb: lorem ipsum dolor sit amet b.\n", done.stderr


def test_ask_many_gives_up(troubled: Daemon) -> None:
    """`drip` never ends: its request is cancelled, so the next one runs alone."""
    done = run([sys.executable, str(EXAMPLES / "ask_many.py"), "0.5", "drip"], troubled.env)
    assert done.stdout == "drip: (nothing within 0.5 s)\n", done.stderr
    # Not how many were cancelled: on a busy machine the time is up before the request has reached the worker.
    assert troubled.wire().call("generate", prompt="count")["text"].endswith(" cancelled, 0 others")


def test_tool_loop(shell: Shell, plugin: Path) -> None:
    """The backend makes the calls that its prompt names; one of them cannot be made, which is its result."""
    shell.use(plugin, "thinker")
    (shell.work / "file.txt").write_text("a\nb\n")
    calls = [f'call count_lines {{"path": "{shell.work / name}"}}' for name in ("file.txt", "nothing.txt")]
    command = [sys.executable, str(EXAMPLES / "tool_loop.py")]
    done = run([*command, f"think which?; {calls[0]}"], with_the_command(shell))
    assert (done.returncode, done.stdout) == (0, "so: 2\n"), done.stderr
    done = run([*command, "; ".join(calls)], with_the_command(shell))
    assert done.stdout.startswith("so: error: FileNotFoundError"), done.stderr
    with shell.wire() as wire:
        first, second = wire.call("sessions.show")["turns"]
    assert len(first["tool_calls"]) == len(second["tool_results"]) == 2


def test_plain_socket(shell: Shell) -> None:
    done = run([sys.executable, str(EXAMPLES / "plain_socket.py"), "hello"], with_the_command(shell))
    assert (done.returncode, done.stdout) == (0, "lorem ipsum dolor sit amet hello.\n"), done.stderr


def test_plain_socket_says_what_is_wrong(troubled: Daemon, shell: Shell) -> None:
    env = {**with_the_command(shell), **troubled.env, "PATH": with_the_command(shell)["PATH"]}
    done = run([sys.executable, str(EXAMPLES / "plain_socket.py"), "raise"], env)
    assert (done.returncode, done.stdout) == (1, "\n")
    assert "crashed" in done.stderr or "ended" in done.stderr


@pytest.mark.clients
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
class TestNode:
    def test_ask(self, daemon: Daemon) -> None:
        done = run(["node", str(EXAMPLES / "ask.mjs"), "Grüße,", "🌍!"], daemon.env)
        assert (done.returncode, done.stdout) == (0, "lorem ipsum dolor sit amet Grüße. 🌍.\n")
        assert done.stderr == "[dummy: 7 tokens]\n"

    def test_it_starts_the_daemon(self, shell: Shell) -> None:
        done = run(["node", str(EXAMPLES / "ask.mjs"), "hello"], with_the_command(shell))
        assert (done.returncode, done.stdout) == (0, "lorem ipsum dolor sit amet hello.\n"), done.stderr
        assert shell.starts == 1

    def test_ctrl_c_cancels(self, troubled: Daemon) -> None:
        command = ["node", str(EXAMPLES / "ask.mjs"), "drip"]
        with subprocess.Popen(
            command, env=troubled.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as node:
            assert node.stdout and node.stdout.read(5) == "drip "
            node.send_signal(signal.SIGINT)
            _, said = node.communicate(timeout=PATIENCE)
        assert (node.returncode, said.count("\n")) == (130, 2), said

    def test_an_error_is_told(self, troubled: Daemon) -> None:
        done = run(["node", str(EXAMPLES / "ask.mjs"), "crash", "SIGSEGV"], troubled.env)
        assert done.returncode == 1
        assert "SIGSEGV" in done.stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
class TestCommitMessage:
    @pytest.fixture
    def commit(self, shell: Shell) -> str:
        """The script that makes a repository with the hook in it; its editor leaves the draft as it is."""
        shell.env |= {"GIT_EDITOR": "true", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        for person in ("AUTHOR", "COMMITTER"):
            shell.env |= {f"GIT_{person}_NAME": "A", f"GIT_{person}_EMAIL": "a@example.org"}
        hook = EXAMPLES / "commit-message.sh"
        return f"git init -q . && cp {hook} .git/hooks/prepare-commit-msg && echo hello > greeting && git add greeting"

    def test_the_draft_is_the_models(self, shell: Shell, commit: str) -> None:
        said = shell.bash(f"{commit}; git commit -q; git log --format=%s")
        assert said.startswith("lorem ipsum dolor sit amet Write. the. commit. message.")
        assert "hello" in said

    def test_a_message_that_is_given_is_left_alone(self, shell: Shell, commit: str) -> None:
        assert shell.bash(f"{commit}; git commit -q -m mine; git log --format=%s") == "mine\n"
        assert shell.starts == 0

    def test_a_draft_that_the_token_limit_cut_is_not_used(self, shell: Shell, commit: str) -> None:
        shell.env["GIT_EDITOR"] = "sed -i '1s/^$/by hand/'"
        (shell.work / "long").write_text("word " * 100)
        assert shell.bash(f"{commit} long; git commit -q; git log --format=%s") == "by hand\n"
        assert shell.starts == 1

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ("THREADRUNNER_BACKEND=nowhere", "the model cannot answer"),
            ("DIE=7", "no daemon; run: threadrunner doctor"),
        ],
    )
    def test_without_an_answer_the_commit_goes_on(self, shell: Shell, commit: str, settings: str, says: str) -> None:
        shell.env["GIT_EDITOR"] = "sed -i '1s/^$/by hand/'"
        said = shell.bash(f"{commit}; {settings} git commit -q; git log --format=%s")
        assert f"commit message: {says}" in said
        assert said.endswith("\nby hand\n")


@pytest.fixture(scope="module")
def reverse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = pip_install(EXAMPLES / "backend", tmp_path_factory.mktemp("backend"))
    yield from running(THREADRUNNER_BACKEND="reverse", PYTHONPATH=python_path(folder))


def test_the_backend_answers(reverse: Daemon) -> None:
    with Wire(reverse.socket) as wire:
        response, before = wire.until(wire.begin("generate", prompt="stressed desserts"))
        tokens = [message["params"]["text"] for message in before if message["method"] == "token"]
        assert tokens == ["desserts", " stressed"]
        result = response["result"]
        assert (result["text"], result["finish_reason"]) == ("desserts stressed", "stop")
        assert wire.call("status")["models"][0]["facts"] == {"direction": "backwards"}


def test_the_backends_limits(reverse: Daemon) -> None:
    with Wire(reverse.socket) as wire:
        result = wire.call("generate", messages=[{"role": "user", "content": "ab cd ef"}], max_tokens=2)
        assert (result["text"], result["finish_reason"]) == ("ba dc", "length")
        assert wire.fail("generate", prompt="x", n=2)["data"]["kind"] == "NotSupported"
        assert wire.fail("tokenize", text="x")["data"]["kind"] == "NotSupported"
