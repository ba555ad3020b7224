"""What a user types and sees of other machines."""

from __future__ import annotations

import fcntl
import json
import subprocess
import termios
from array import array
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.backends.remote.scripted import Recorded, Reply, ScriptedServer, as_json, models, says
from tests.daemon.test_remotes import own_address
from tests.shell import COMMAND, Shell, echoes
from tests.support import PATIENCE
from threadrunner import exits
from threadrunner.cli.chat import elsewhere


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(host=own_address() or "127.0.0.1") as server:
        yield server


@pytest.fixture(scope="module")
def _away(server: ScriptedServer) -> Iterator[Shell]:
    shell = Shell()
    shell.env |= {"THREADRUNNER_OFFLINE": "", "NO_PROXY": "*"}
    shell.home.mkdir()
    (shell.home / "config.toml").write_text(
        f'[remotes.box]\nurl = "{server.url}"\nkey = "file"\nmodels = ["m"]\ndialect = "compatible"\n'
        '[remotes.gone]\nurl = "http://127.0.0.1:9"\nmodels = ["m"]\n[remotes.wrong]\nurl = "x"\n'
    )
    try:
        yield shell
    finally:
        shell.close()


@pytest.fixture
def away(_away: Shell, server: ScriptedServer) -> Shell:
    """A shell that knows three remotes, of which one answers."""
    server.answers = lambda _: says("from ", "afar")
    assert _away.run("remotes", "login", "box", input="sk-typed\n").returncode == 0
    server.requests.clear()
    return _away


def test_login_keeps_the_key_where_the_table_says(away: Shell, server: ScriptedServer) -> None:
    done = away.run("remotes", "login", "box", input="sk-other\n")
    assert (done.returncode, done.stdout) == (0, "")
    assert "sk-other" not in done.stderr
    assert (away.home / "keys" / "box").read_text() == "sk-other\n"
    away.run("-m", "remote:box/m", "hi")
    assert server.requests[0].headers["authorization"] == "Bearer sk-other"
    away.run("remotes", "login", "box", input="sk-newer\n")  # the worker that runs has the old one
    away.run("-m", "remote:box/m", "hi")
    assert server.requests[1].headers["authorization"] == "Bearer sk-newer"


def test_a_key_that_comes_in_parts_is_stored_whole(away: Shell) -> None:
    """As a slow password manager may write it; only its first part was stored, and called a key."""
    (away.home / "keys" / "box").unlink()
    login = subprocess.Popen([*COMMAND, "remotes", "login", "box"], env=away.env, stdin=subprocess.PIPE, bufsize=0)
    assert login.stdin
    login.stdin.write(b"sk-first")
    while pending(login.stdin.fileno()):  # until it has read that
        pass
    login.stdin.write(b"-last\n")
    login.stdin.close()
    assert login.wait(PATIENCE) == 0
    assert (away.home / "keys" / "box").read_text() == "sk-first-last\n"


def pending(descriptor: int) -> int:
    """Bytes in a pipe."""
    count = array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


def test_login_without_echo_on_a_terminal(away: Shell) -> None:
    terminal = away.terminal("remotes", "login", "box")
    terminal.read_until("key of box")
    terminal.type("sk-unseen\r")
    assert terminal.finish() == 0
    assert "sk-unseen" not in terminal.text
    assert (away.home / "keys" / "box").read_text() == "sk-unseen\n"


def test_ctrl_c_at_the_question_for_a_key_brings_the_echo_back(away: Shell) -> None:
    terminal = away.terminal("remotes", "login", "box")
    terminal.read_until("key of box")
    assert not echoes(terminal)
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert echoes(terminal)


@pytest.mark.parametrize(
    ("arguments", "given", "says_"),
    [
        (["login", "gone"], "sk-1", 'Set key = "file"'),
        (["login", "nope"], "sk-1", "no table [remotes.nope]"),
        (["login", "wrong"], "sk-1", "it needs a url"),
        (["login", "box"], "two words", "cannot be a key"),
        (["login", "box"], "", "cannot be a key"),
        (["login", "box"], "s" * 16385, "the maximum of a key"),
    ],
)
def test_login_that_cannot_be(away: Shell, arguments: list[str], given: str, says_: str) -> None:
    done = away.run("remotes", *arguments, input=given)
    assert done.returncode == exits.USAGE
    assert says_ in done.stderr


def test_list_test_and_doctor(away: Shell, server: ScriptedServer) -> None:
    listed = away.run("remotes", "list").stdout
    assert server.url in listed
    assert "! [remotes.wrong]: it needs a url" in listed
    assert json.loads(away.run("remotes", "list", "--json").stdout)["remotes"][0]["key"] == "file"
    findings = away.run("doctor").stdout
    assert f"ok   remote: box: {server.url}, its key by file; may be sent: prompt" in findings
    assert "FAIL remote: [remotes.wrong]" in findings
    assert server.requests == []
    server.answers = lambda _: models("a", "b", max_model_len=7)
    done = away.run("remotes", "test", "box")
    assert (done.returncode, done.stdout) == (0, "remote:box/a  7 tokens\nremote:box/b  7 tokens\n")
    assert "it speaks compatible" in done.stderr
    assert [request.path for request in server.requests] == ["/v1/models"]
    assert "sk-" not in listed + findings + done.stderr


@pytest.mark.parametrize(
    ("reply", "code", "says_"),
    [
        (as_json({"error": {"message": "bad key"}}, 401), exits.MODEL, "remotes login box"),
        (as_json({}, 429, **{"retry-after": "900"}), exits.CONNECTION, "429"),
        (as_json({"error": {"message": "no model x"}}, 404), exits.MODEL, "remotes test box"),
        (as_json({}, 500), exits.MODEL, "500"),
        (as_json({}, 504), exits.TIMEOUT, "504"),
        (as_json({"error": {"message": "temperature is too hot"}}, 400), exits.USAGE, "too hot"),
        (Reply(status=302, headers={"location": "https://elsewhere.example"}), exits.MODEL, "not followed"),
    ],
)
def test_exit_codes(away: Shell, server: ScriptedServer, reply: Reply, code: int, says_: str) -> None:
    reply.parts = list(reply.parts)
    server.answers = lambda _: reply
    done = away.run("-m", "remote:box/m", "hi")
    assert (done.returncode, done.stdout) == (code, "")
    assert says_ in done.stderr


def test_a_server_that_is_away(away: Shell) -> None:
    done = away.run("-m", "remote:gone/m", "hi")
    assert done.returncode == exits.CONNECTION
    assert "127.0.0.1 cannot be reached" in done.stderr


def test_on_a_terminal_one_line_says_who_was_asked(away: Shell, server: ScriptedServer) -> None:
    if not (address := own_address()):
        pytest.skip("this machine has no address beside the loopback's")
    terminal = away.terminal("-m", "remote:box/m", "hi")
    assert terminal.finish() == 0
    assert terminal.text.replace("\r", "") == f"from afar\n\x1b[2masked {address}\x1b[22m\n"
    done = away.run("-m", "remote:box/m", "hi")
    assert (done.stdout, done.stderr) == ("from afar\n", "")
    local = away.terminal("hi")
    assert local.finish() == 0
    assert "asked" not in local.text


def test_status_says_where_and_how_much(away: Shell, server: ScriptedServer) -> None:
    away.run("-m", "remote:box/m", "hi")
    shown = away.run("status").stdout
    assert f"remote:box: at {own_address() or '127.0.0.1'}, 5 tokens sent, 2 received" in shown


def test_a_name_with_an_ending_is_no_file(away: Shell, server: ScriptedServer) -> None:
    """llama-server calls its models by their files."""

    def answer(request: Recorded) -> Reply:
        return says(request.body["model"])

    server.answers = answer
    assert away.run("-m", "remote:box//models/x.gguf", "hi").stdout == "/models/x.gguf\n"


@pytest.mark.parametrize(
    ("model", "prompt"),
    [
        ("remote:box/m", "remote:box/m> "),
        ("big", "remote:box/m> "),
        ("smollm2:135m", "> "),
        ("", "remote:gone/m> "),
    ],
)
def test_a_chats_line_has_the_name(monkeypatch: pytest.MonkeyPatch, model: str, prompt: str) -> None:
    from threadrunner.config import Config

    known = Config(model="far", aliases={"big": "remote:box/m", "far": "remote:gone/m"})
    monkeypatch.setattr(elsewhere.config, "load", lambda: known)
    chat: Any = SimpleNamespace(model=model)
    assert elsewhere.prompt(chat) == prompt
