"""`threadrunner chat` on a terminal: what is typed, what is shown, what stays."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.shell import Shell, Terminal, echoes
from threadrunner.cli.chat import loop

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][AB0]|\x1b[=>]|\r")


class Chat:
    """A chat on a terminal; `see` reads on from what was seen before."""

    def __init__(self, shell: Shell, *args: str) -> None:
        shell.env |= {"PROMPT_TOOLKIT_NO_CPR": "1", "COLUMNS": "100", "LINES": "30"}
        self.shell = shell
        self.terminal: Terminal = shell.terminal("chat", *args)
        self._seen = 0

    def see(self, wanted: str) -> str:
        """What is shown up to `wanted`, without escape sequences."""
        while True:
            shown = ESCAPES.sub("", self.terminal.text)
            at = shown.find(wanted, self._seen)
            if at >= 0:
                part = shown[self._seen : at + len(wanted)]
                self._seen = at + len(wanted)
                return part
            assert self.terminal._read(), f"no {wanted!r} in {shown[self._seen :]!r}"

    def type(self, line: str) -> None:
        """A line and Enter, once it is asked for."""
        self.keys(f"{line}\r")

    def keys(self, keys: str) -> None:
        """Keys for the input line, once it is there: it turns bracketed paste on, and off when it has a line."""
        while self.terminal.text.rfind("\x1b[?2004h") <= self.terminal.text.rfind("\x1b[?2004l"):
            assert self.terminal._read(), "the chat has ended"
        self.terminal.type(keys)
        if "\r" in keys or "\x03" in keys:
            asked = self.terminal.text.count("\x1b[?2004h")
            while self.terminal.text.count("\x1b[?2004l") < asked:
                assert self.terminal._read(), "the chat has ended"

    def quit(self) -> int:
        self.keys("\x04")
        return self.terminal.finish()


@pytest.fixture
def chat(shell: Shell) -> Iterator[Chat]:
    assert shell.run("warm").returncode == 0
    yield Chat(shell)


def kept(shell: Shell, name: str = "@last") -> list[tuple[str, str]]:
    """Once no turn is open: an answer's last word is on the screen before its end is in the file."""
    with shell.wire() as wire:
        while True:
            turns = wire.call("sessions.show", session=name)["turns"]
            if all(turn["state"] != "open" for turn in turns):
                return [(turn["prompt"], turn["state"]) for turn in turns]


def test_a_conversation_from_hello_to_the_next_day(chat: Chat) -> None:
    chat.see("a new conversation")
    chat.type("Hello there")
    chat.see("lorem ipsum dolor sit amet Hello. there.")
    chat.type("and you?")
    chat.see("amet and. you.")
    chat.type("/tokens")
    chat.see("answer 7 tokens")
    chat.type("/session")
    chat.see("hello-there: 2 turns")
    assert chat.quit() == 0
    again = Chat(chat.shell, "-c")
    assert "and. you." in again.see("amet and. you.")
    again.type("third")
    again.see("amet third.")
    assert again.quit() == 0
    assert kept(chat.shell, "hello-there") == [("Hello there", "done"), ("and you?", "done"), ("third", "done")]


def test_ctrl_c_stops_the_answer_and_keeps_the_conversation(shell: Shell, plugin: Path) -> None:
    shell.env["PYTHONPATH"] += os.pathsep + str(plugin)
    chat = Chat(shell, "--backend", "trouble")
    chat.type("/help")
    chat.see("/quit")
    chat.type("drip")
    chat.see("drip drip drip")
    chat.terminal.type("\x03")
    chat.see("stopped")
    chat.type("wide 1")
    chat.see("xxx")
    assert chat.quit() == 0
    with shell.wire() as wire:
        first, second = wire.call("sessions.show", session="drip")["turns"]
    assert (first["state"], second["state"]) == ("stopped", "done")
    assert first["answer"]


def test_ctrl_c_before_the_first_line_ends_it_quietly(shell: Shell) -> None:
    with shell.listening() as server:
        chat = Chat(shell, "kept")
        connection, _ = server.accept()
        with connection:  # that never answers, as a daemon that is being started
            connection.recv(1)
            chat.terminal.type("\x03")
            assert chat.terminal.finish() == 130
    assert chat.terminal.text == "^C"


def test_ctrl_c_while_the_last_one_is_dealt_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who means it presses it more than once."""
    lines = iter(["one", "/quit"])
    chat = SimpleNamespace(over=False, take_draft=str, said=[])
    line = SimpleNamespace(ask=lambda *_: next(lines))

    def say(text: str) -> None:
        chat.said.append(text)
        raise KeyboardInterrupt

    def answer(chat: Any, text: str) -> None:
        if text == "one":
            raise KeyboardInterrupt
        chat.over = True

    chat.say = say
    monkeypatch.setattr(loop, "_answer", answer)
    monkeypatch.setattr(loop.elsewhere, "prompt", lambda _chat: "> ")
    loop.converse(chat, line)  # type: ignore[arg-type]
    assert chat.said == ["stopped"]
    assert chat.over


def test_sigterm_leaves_the_terminal_as_it_was(chat: Chat) -> None:
    chat.keys("half a line")
    assert not echoes(chat.terminal)
    chat.terminal.process.terminate()
    assert chat.terminal.finish() == 143
    assert echoes(chat.terminal)
    assert chat.terminal.text.endswith("\x1b[?2004l\r\n")


def test_retry_edit_undo(chat: Chat) -> None:
    chat.type("one")
    chat.see("amet one.")
    chat.type("two")
    chat.see("amet two.")
    chat.type("/retry")
    chat.see("amet two.")
    chat.type("/edit")
    chat.see("change it")
    chat.type(" changed")
    chat.see("amet two. changed.")
    assert kept(chat.shell) == [("one", "done"), ("two changed", "done")]
    chat.type("/undo")
    chat.see("deleted: two changed")
    chat.type("/undo")
    chat.see("deleted: one")
    chat.type("/undo")
    chat.see("no turn yet")
    assert chat.quit() == 0


def test_an_edit_that_is_left_replaces_no_turn(chat: Chat) -> None:
    """Neither here nor in the conversation that it was left for: the turn would be gone for good."""
    chat.type("one")
    chat.see("amet one.")
    chat.type("/edit")
    chat.see("change it")
    chat.keys(" and more\x03")
    chat.type("two")
    chat.see("amet two.")
    chat.type("/edit")
    chat.see("change it")
    chat.type("\x15/undo")
    chat.see("deleted: two")
    chat.type("three")
    chat.see("amet three.")
    assert kept(chat.shell, "one") == [("one", "done"), ("three", "done")]
    assert chat.shell.run("-S", "other", "hello").returncode == 0
    chat.type("/edit")
    chat.see("change it")
    chat.type("\x15/session other")
    chat.see("amet hello.")
    chat.type("four")
    chat.see("amet four.")
    assert kept(chat.shell, "other") == [("hello", "done"), ("four", "done")]
    assert chat.quit() == 0


def test_a_retry_that_is_refused_leaves_the_turn(chat: Chat) -> None:
    (chat.shell.home / "config.toml").write_text('[modes.bad]\ntemperature = "hot"\n')
    chat.type("one")
    chat.see("amet one.")
    chat.type("/mode bad")
    chat.see("from the next answer on")
    chat.type("/retry")
    chat.see("modes.bad")
    chat.type("/mode chat")
    chat.see("from the next answer on")
    chat.type("two")
    chat.see("amet two.")
    assert kept(chat.shell) == [("one", "done"), ("two", "done")]
    assert chat.quit() == 0


def test_another_model_system_prompt_and_conversation(chat: Chat) -> None:
    chat.type("/system be brief")
    chat.see("from the next answer on")
    chat.type("/mode writing")
    chat.see("from the next answer on")
    chat.type("/memory on")
    chat.see("from the next answer on")
    chat.type("hi")
    chat.see("amet hi.")
    chat.type("/system")
    chat.see("be brief")
    chat.type("/model other")
    chat.see("the next answer is other's")
    chat.type("again")
    chat.see("amet again.")
    with chat.shell.wire() as wire:
        info = wire.call("sessions.show", session="hi")["session"]
    assert (info["model"], info["mode"], info["system"]) == ("other", "writing", "be brief")
    assert info["params"]["memory"] is True
    chat.type("/mode -")
    chat.see("no mode from now on")
    chat.type("plainly")
    chat.see("amet plainly.")
    with chat.shell.wire() as wire:
        info = wire.call("sessions.show", session="hi")["session"]
    assert (info["mode"], info["system"], info["params"]) == (None, "be brief", {"memory": True})
    chat.type("/session elsewhere")
    chat.see("a new conversation")
    chat.type("moved")
    chat.see("amet moved.")
    assert chat.quit() == 0
    assert kept(chat.shell, "elsewhere") == [("moved", "done")]


def test_a_file_and_a_paste_of_many_lines(chat: Chat) -> None:
    (chat.shell.work / "notes.txt").write_text("alpha\nbeta\n")
    chat.keys("\x1b[200~first\nsecond\x1b[201~")
    chat.type(" see @notes.txt")
    chat.see("with notes.txt")
    chat.see("first. second. see. notes.txt. File. notes.txt. alpha. beta.")
    chat.type("what is in @/no/such/file")
    chat.see("there is no file /no/such/file")
    chat.type("ask @ada")
    chat.see("amet ask. ada.")
    assert chat.quit() == 0
    assert kept(chat.shell)[0][0].startswith("first\nsecond see @notes.txt\n\nFile notes.txt:\n```\nalpha\nbeta\n```")


def test_save_writes_no_file_over(chat: Chat) -> None:
    chat.type("/save")
    chat.see("no turn yet")
    chat.type("keep this")
    chat.see("amet keep. this.")
    chat.type("/save")
    chat.see("written to keep-this.md")
    chat.type("/save keep-this.md")
    chat.see("there already")
    chat.type("/save all.json")
    chat.see("written to all.json")
    assert chat.quit() == 0
    assert "## User\n\nkeep this\n" in (chat.shell.work / "keep-this.md").read_text()
    assert json.loads((chat.shell.work / "all.json").read_text())["turns"][0]["prompt"] == "keep this"


def test_mistakes_end_no_chat(chat: Chat) -> None:
    chat.type("/nonsense")
    chat.see("there is no /nonsense")
    chat.type("/mode nope")
    chat.see("there is no mode nope")
    chat.type("/session -x")
    chat.see("cannot name")
    chat.type("/session fine")
    chat.see("a new conversation")
    chat.type("//slash")
    chat.see("amet slash.")
    assert kept(chat.shell, "fine") == [("/slash", "done")]
    chat.keys("half a line\x03")
    chat.type("/quit")
    assert chat.terminal.finish() == 0


def test_a_daemon_that_is_killed_is_followed_by_another(chat: Chat) -> None:
    chat.type("one")
    chat.see("amet one.")
    pid = chat.shell.daemon_pid()
    assert pid
    os.kill(pid, 9)
    chat.type("two")
    chat.see("amet two.")
    assert chat.quit() == 0
    assert kept(chat.shell) == [("one", "done"), ("two", "done")]


def test_without_a_terminal_it_says_what_to_do_instead(shell: Shell) -> None:
    done = shell.run("chat", input="hello")
    assert done.returncode == 64
    assert "-S NAME" in done.stderr


def test_nobody_else_can_read_what_was_typed(chat: Chat) -> None:
    chat.type("secret")
    chat.see("amet secret.")
    assert chat.quit() == 0
    for name in ("chat_history", "sessions.db"):
        assert stat.S_IMODE((chat.shell.home / name).stat().st_mode) == 0o600


def test_typed_bytes_that_are_not_utf8(chat: Chat) -> None:
    """As a paste from a file in Latin-1; the chat goes on, and so does its history."""
    chat.see("/help shows the commands")
    chat.keys("")
    os.write(chat.terminal.master, b"caf\xe9\r")
    chat.see("the text is not UTF-8 text: byte 0xe9 at offset 3")
    chat.type("/save a\0b")
    chat.type("hello")
    chat.see("hello.")
    assert chat.quit() == 0
