"""What each command loads: the shell waits for every import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.shell import Shell
from tests.support import PATIENCE

CLIENT = {
    "threadrunner",
    "threadrunner.api",
    "threadrunner.api.errors",
    "threadrunner.cli",
    "threadrunner.cli.signals",
    "threadrunner.cli.flags",
    "threadrunner.cli.main",
    "threadrunner.cli.prompt",
    "threadrunner.cli.render",
    "threadrunner.cli.request",
    "threadrunner.cli.stdin",
    "threadrunner.client",
    "threadrunner.client.autostart",
    "threadrunner.client.blocking",
    "threadrunner.exits",
    "threadrunner.paths",
    "threadrunner.system",
    "threadrunner.system.this_process",
    "threadrunner.system.transport",
    "threadrunner.wire",
    "threadrunner.wire.framing",
    "threadrunner.wire.json_text",
    "threadrunner.wire.messages",
}
COMMAND = CLIENT - {"threadrunner.cli.prompt"} | {"threadrunner.cli.arguments", "threadrunner.cli.commands"}
HEAVY = {
    "asyncio",
    "contextlib",
    "dataclasses",
    "importlib.util",
    "inspect",
    "logging",
    "pathlib",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "typing",
}

PROBE = """
import sys
before = set(sys.modules)
from threadrunner.cli import main
code = main.run(sys.argv[1:])
print(code, *sorted(set(sys.modules) - before), file=sys.stderr)
"""


LEARNED = {f"threadrunner.{name}" for name in ("config", "learning", "learning.corrections", "learning.files")}
LEARNED |= {"threadrunner.system.locks"}
"""What knows how often a model's answers were corrected."""


def loaded(shell: Shell, *args: str) -> set[str]:
    """What the command imports, beyond what an interpreter has before."""
    # -I -S: no site, so that nothing of an environment (editable installs, coverage) is taken for ours.
    root = str(__import__("threadrunner").__path__[0]).rpartition("/")[0]
    probe = f"import sys; sys.path.insert(0, {root!r}); {PROBE}"
    command = [sys.executable, "-I", "-S", "-c", probe, *args]
    done = subprocess.run(command, env=shell.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    code, *modules = done.stderr.decode().splitlines()[-1].split()
    assert code == "0", done.stderr.decode()
    return set(modules)


@pytest.fixture(scope="module")
def talked(busy_shell: Shell) -> Shell:
    """One with a daemon, and a conversation that can be continued."""
    assert busy_shell.run("-S", "trip", "warm").returncode == 0
    return busy_shell


@pytest.mark.parametrize(
    ("args", "ours"),
    [
        (["hi", "-n", "1"], CLIENT),
        (["hi", "--json"], CLIENT),
        (["hi", "--thinking", "hide"], CLIENT),
        (["hi", "--set", "min_p=0.1"], {*CLIENT, "threadrunner.cli.tools"}),
        (["hi", "-c"], {*CLIENT, "threadrunner.api.names"}),
        (
            ["status"],
            {*COMMAND, "threadrunner.cli.commands.status", "threadrunner.client.servings", "threadrunner.system.locks"},
        ),
        (["load"], {*COMMAND, "threadrunner.cli.commands.load"}),
        (["models", "list"], {*COMMAND, *LEARNED, "threadrunner.cli.commands.models"}),
        (["unload"], {*COMMAND, "threadrunner.cli.commands.unload"}),
        (["logs"], {*COMMAND, "threadrunner.cli.commands.logs", "threadrunner.system.files"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_only_the_standard_library_and_little_of_it(talked: Shell, args: list[str], ours: set[str]) -> None:
    check(loaded(talked, *args), ours)


def check(modules: set[str], ours: set[str]) -> None:
    assert {name for name in modules if name.split(".")[0] == "threadrunner"} <= ours
    foreign = {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names) - {"threadrunner"}
    assert foreign == set()
    assert modules & HEAVY == set()


def test_to_stop_it_neither(shell: Shell) -> None:
    assert shell.run("warm").returncode == 0
    ours = {*COMMAND, "threadrunner.cli.commands.stop", "threadrunner.processes", "threadrunner.system.children"}
    check(loaded(shell, "stop"), ours)


def test_a_plain_prompt_does_without_argparse(busy_shell: Shell) -> None:
    assert (
        loaded(busy_shell, "hi") & {"argparse", "gettext", "locale", "fcntl", "json", "re", "enum", "signal"} == set()
    )
