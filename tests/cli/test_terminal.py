"""What a person at a terminal sees: progress, Ctrl-C, control characters, help."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess

import pytest

from tests.shell import Shell
from tests.support import PATIENCE
from threadrunner.cli import render


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


def test_control_characters_cannot_reach_a_terminal(busy_shell: Shell) -> None:
    terminal = busy_shell.terminal("a\x1b]0;title\x07b\x9b31mc\x7f\ttab")
    assert terminal.finish() == 0
    assert terminal.text.endswith("a␛]0;title␇b\ufffd31mc␡. tab.\n")


def test_an_error_cannot_either(busy_shell: Shell) -> None:
    terminal = busy_shell.terminal("hi", "-m", "no\x1b[31mbody", "--backend", "llama")
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


def test_ctrl_c_at_any_moment_of_an_answer_ends_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before the writer has noted what it wrote; here the signal comes in the write itself."""
    shown: list[str] = []

    def interrupted(fd: int, text: str) -> None:
        shown.append(text)
        monkeypatch.setattr(render, "put", lambda fd, text: shown.append(text))
        writer.break_off()

    monkeypatch.setattr(render, "put", interrupted)
    writer = render.AnswerWriter()
    writer.terminal = True
    writer.write("word")
    assert shown == ["word", "\n"]


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


def test_a_silent_pipe_is_spoken_of_once(busy_shell: Shell) -> None:
    """Standard input is an inherited pipe that no process writes to."""
    read, write = os.pipe()
    terminal = busy_shell.terminal("hi", stdin=read)
    os.close(read)
    terminal.read_until("reading standard input; end it, or add </dev/null")
    os.close(write)
    assert terminal.finish() == 0
    assert terminal.text.count("reading standard input") == 1
    assert terminal.text.endswith("lorem ipsum dolor sit amet hi.\n")


def test_a_pipe_that_speaks_is_not(busy_shell: Shell) -> None:
    terminal = busy_shell.terminal("hi", stdin=subprocess.PIPE)
    assert terminal.process.stdin
    terminal.process.stdin.write(b"there\n")
    terminal.process.stdin.close()
    assert terminal.finish() == 0
    assert terminal.text == "lorem ipsum dolor sit amet hi. there.\n"


def test_typed_text_is_a_prompt_after_a_dash(busy_shell: Shell) -> None:
    terminal = busy_shell.terminal("-")
    terminal.type("typed by hand\n\x04")
    assert terminal.finish() == 0
    assert terminal.text.endswith("lorem ipsum dolor sit amet typed. by. hand.\n")


def answer_with(listener: socket.socket, *progress: tuple[str, int, int]) -> None:
    """Play the daemon: progress, then one token and the result."""
    peer, _ = listener.accept()
    with peer, peer.makefile("rwb", buffering=0) as wire:
        id = json.loads(wire.readline())["id"]

        def notify(method: str, **params: object) -> None:
            wire.write(json.dumps({"jsonrpc": "2.0", "method": method, "params": {"request": id, **params}}).encode())
            wire.write(b"\n")

        for stage, done, total in progress:
            notify("progress", stage=stage, done=done, total=total)
        notify("token", index=0, text="said")
        wire.write(json.dumps({"jsonrpc": "2.0", "id": id, "result": {"text": "said"}}).encode() + b"\n")


# Every state is drawn, however fast they follow each other.
AT_ONCE = """
import sys
from threadrunner.cli import main, render
render._REDRAW_SECONDS = render._QUIET_SECONDS = 0
sys.exit(main.main())
"""


@pytest.mark.parametrize(
    ("progress", "lines"),
    [
        (
            [("download", 0, 93_000_000), ("download", 46_500_000, 93_000_000)],
            [
                "fetching [                        ]   0%  0 B of 93 MB",
                "fetching [############            ]  50%  46 MB of 93 MB",
            ],
        ),
        ([("load", 1, 4)], ["loading the model [######                  ]  25%"]),
        ([("prefill", 512, 2048)], ["reading the prompt: 512 of 2048 tokens"]),
        ([("download", 5_000_000, 0), ("load", 0, 0)], ["fetching … 5.0 MB", "loading the model …"]),
    ],
)
def test_progress_is_drawn_and_erased(shell: Shell, progress: list[tuple[str, int, int]], lines: list[str]) -> None:
    with shell.listening() as listener:
        terminal = shell.terminal("hi", code=AT_ONCE)
        answer_with(listener, *progress)
        assert terminal.finish() == 0
    shown = [part for part in terminal.text.split("\r\x1b[K") if part]
    assert shown == [*lines, "said\n"]


def test_progress_is_not_drawn_where_there_is_no_terminal(shell: Shell) -> None:
    with shell.listening() as listener:
        process = shell.start("hi")
        answer_with(listener, ("download", 0, 93_000_000), ("download", 93_000_000, 93_000_000), ("load", 1, 2))
        out, err = process.communicate(timeout=PATIENCE)
    assert out == b"said\n"
    assert err.decode().splitlines() == [
        "threadrunner: fetching the model, 93 MB; this is done once",
        "threadrunner: the model is fetched",
    ]


def test_ctrl_c_leaves_a_clean_line(shell: Shell) -> None:
    with shell.listening() as listener:
        terminal = shell.terminal("hi", code=AT_ONCE)
        peer, _ = listener.accept()
        with peer, peer.makefile("rwb", buffering=0) as wire:
            id = json.loads(wire.readline())["id"]
            params = {"request": id, "stage": "load", "done": 1, "total": 2}
            wire.write(json.dumps({"jsonrpc": "2.0", "method": "progress", "params": params}).encode() + b"\n")
            terminal.read_until("50%")
            terminal.type("\x03")
            assert terminal.finish() == 130
    assert terminal.text.endswith("\r\x1b[K")


def test_what_is_piped_is_not_escaped_even_when_stderr_is_a_terminal(busy_shell: Shell) -> None:
    terminal = busy_shell.terminal("a\x1bb", stdout=subprocess.PIPE)
    assert terminal.process.stdout
    assert terminal.process.stdout.read() == b"lorem ipsum dolor sit amet a\x1bb.\n"
    assert terminal.finish() == 0
