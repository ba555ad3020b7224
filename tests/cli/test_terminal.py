"""What a person at a terminal sees: progress, Ctrl-C, control characters, help."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from tests.cli.conftest import Shell
from tests.support import PATIENCE


def test_an_answer_on_a_terminal(shell: Shell) -> None:
    terminal = shell.terminal("hi")
    assert terminal.finish() == 0
    assert terminal.text == "lorem ipsum dolor sit amet hi.\n"


def test_no_prompt_is_a_short_help(shell: Shell) -> None:
    terminal = shell.terminal()
    assert terminal.finish() == 64
    assert "there is no prompt" in terminal.text
    assert "--help" in terminal.text
    assert shell.starts == 0


def test_control_characters_cannot_reach_a_terminal(shell: Shell) -> None:
    terminal = shell.terminal("a\x1b]0;title\x07b\x9b31mc\x7f\ttab")
    assert terminal.finish() == 0
    assert terminal.text.endswith("a␛]0;title␇b\ufffd31mc␡. tab.\n")


def test_an_error_cannot_either(shell: Shell) -> None:
    terminal = shell.terminal("hi", "-m", "no\x1b[31mbody", "--backend", "llama")
    assert terminal.finish() == 3
    assert "\x1b" not in terminal.text


@pytest.mark.parametrize("keys", ["\x03", "\x03\x03\x03"])
def test_ctrl_c_ends_quietly_and_cancels(troubled: Shell, keys: str) -> None:
    terminal = troubled.terminal("drip")
    terminal.read_until("drip drip")
    terminal.type(keys)
    assert terminal.finish() == 130
    assert terminal.text.replace("drip ", "").replace("^C", "").strip() == ""
    assert terminal.text.endswith("\n")
    assert troubled.run("how many").stdout == "1 cancelled, 0 others\n"


def test_ctrl_c_while_nothing_comes(shell: Shell) -> None:
    """It is the wait for the daemon that ends."""
    with shell.listening() as listener:
        terminal = shell.terminal("hi")
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as lines:
            assert json.loads(lines.readline())["params"]["priority"] == "interactive"
            terminal.type("\x03")
            assert terminal.finish() == 130
            assert lines.readline() == b""
    assert terminal.text == "^C"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals(troubled: Shell, number: signal.Signals, code: int) -> None:
    process = troubled.start("drip")
    assert process.stdout and process.stderr
    assert process.stdout.read(4) == b"drip"
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (code, b"")
    assert troubled.run("how many").stdout == "1 cancelled, 0 others\n"


def test_a_signal_while_the_answer_is_not_read(troubled: Shell) -> None:
    """The pipe is full, so the process hangs in a write."""
    process = troubled.start("wide", "1000")
    assert process.stdout
    assert process.stdout.read(1024)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130


def test_a_silent_pipe_is_spoken_of_once(shell: Shell) -> None:
    """Somebody inherited a pipe that nobody writes to."""
    read, write = os.pipe()
    terminal = shell.terminal("hi", stdin=read)
    os.close(read)
    terminal.read_until("reading standard input; end it, or add </dev/null")
    os.close(write)
    assert terminal.finish() == 0
    assert terminal.text.count("reading standard input") == 1
    assert terminal.text.endswith("lorem ipsum dolor sit amet hi.\n")


def test_a_pipe_that_speaks_is_not(shell: Shell) -> None:
    terminal = shell.terminal("hi", stdin=subprocess.PIPE)
    assert terminal.process.stdin
    terminal.process.stdin.write(b"there\n")
    terminal.process.stdin.close()
    assert terminal.finish() == 0
    assert terminal.text == "lorem ipsum dolor sit amet hi. there.\n"


def test_typed_text_is_a_prompt_after_a_dash(shell: Shell) -> None:
    terminal = shell.terminal("-")
    terminal.type("typed by hand\n\x04")
    assert terminal.finish() == 0
    assert terminal.text.endswith("lorem ipsum dolor sit amet typed. by. hand.\n")
