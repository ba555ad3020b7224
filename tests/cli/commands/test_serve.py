"""`serve` and what belongs to it, before anything is served."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from tests.shell import Shell
from threadrunner import exits
from threadrunner.cli import arguments, commands, main
from threadrunner.cli.flags import UsageError


def keys(shell: Shell) -> list[str]:
    return [line.split()[0] for line in shell.run("serve", "keys", "list").stdout.splitlines()[1:]]


def test_a_key_that_nobody_was_shown_is_none(shell: Shell) -> None:
    assert shell.run("serve", "keys", "add", "one").returncode == exits.OK
    with open("/dev/full", "wb") as full:
        adding = shell.start("serve", "keys", "add", "two", stdout=full, stderr=subprocess.PIPE)
        assert adding.stderr
        assert adding.stderr.read() == b"threadrunner: cannot write: No space left on device\n"
        assert adding.wait() == exits.UNKNOWN
    assert keys(shell) == ["one"]


@pytest.mark.parametrize("args", [("serve", "keys", "list"), ("serve", "--help"), ("lsp", "-h")])
def test_a_reader_that_has_read_enough(shell: Shell, args: tuple[str, ...]) -> None:
    assert shell.run("serve", "keys", "add", "one").returncode == exits.OK
    read, write = os.pipe()
    os.close(read)
    process = shell.start(*args, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert process.stderr
    assert process.stderr.read() == b""
    assert process.wait() == exits.OK


def test_ctrl_c_while_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str, argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "_command", interrupted)
    assert main._process("serve", []) == exits.INTERRUPTED


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["serve", "--port", "99999"], "expected a port, 0 to 65535, got '99999'"),
        (["service", "install", "--http", "--port", "65536", "--print"], "expected a port"),
        (["serve", "--allow-origin", "chat.example"], "such as https://chat.example, got 'chat.example'"),
        (["serve", "--allow-origin", "*"], "such as https://chat.example, got '*'"),
        (["serve", "--allow-origin", "https://chat.example/app"], "no path: https://chat.example, not"),
    ],
)
def test_what_would_not_do_what_it_says_is_refused(args: list[str], says: str) -> None:
    command = commands.import_command(args[0])
    with pytest.raises(UsageError, match=re.escape(says)):
        arguments.read(args[0], command, args[1:])


def test_an_origin_is_taken_as_a_browser_sends_it() -> None:
    given = ["--allow-origin", "HTTPS://Chat.Example/", "--allow-origin", "http://[::1]:3000"]
    options = arguments.read("serve", commands.import_command("serve"), given)
    assert options.allow_origin == ["https://chat.example", "http://[::1]:3000"]
