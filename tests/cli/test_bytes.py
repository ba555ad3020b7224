"""Whatever the bytes are and wherever they come from: one line that says what is wrong, never a traceback. Files from
Windows are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.shell import Shell
from threadrunner.api.errors import InvalidParams
from threadrunner.cli import stdin, transcript
from threadrunner.cli.flags import UsageError
from threadrunner.client import aio, blocking
from threadrunner.config import load

LATIN1 = b"caf\xe9"
NOT_UTF8 = "is not UTF-8 text: byte 0xe9 at offset 3"

MARKDOWN = "## User\n\nwhy\nnot?\n\n## Assistant\n\nbecause\n"
TURNS = [{"prompt": "why\nnot?", "answer": "because"}]


@pytest.mark.parametrize(
    "args",
    [
        ["hi", "-m", LATIN1], ["hi", "--stop", LATIN1], ["hi", "--backend", LATIN1], ["hi", "-S", LATIN1],
        ["hi", "--mode", LATIN1], ["load", LATIN1], ["load", "--backend", LATIN1], ["unload", LATIN1],
        ["sessions", "show", LATIN1], ["sessions", "rm", LATIN1], ["sessions", "rename", "a", LATIN1],
        ["sessions", "fork", LATIN1], ["sessions", "search", LATIN1], ["sessions", "search", "-S", LATIN1, "x"],
        ["sessions", "export", LATIN1], ["models", "show", LATIN1], ["models", "rm", LATIN1],
        ["models", "pull", LATIN1],
        ["memory", "search", LATIN1], ["remember", LATIN1],
    ],
)  # fmt: skip
def test_arguments_that_are_not_utf8(busy_shell: Shell, args: list[Any]) -> None:
    done = busy_shell.run(*args)
    assert (done.returncode, done.stdout) == (64, "")
    assert NOT_UTF8 in done.stderr and done.stderr.count("\n") == 1


def test_names_of_files_that_are_not_utf8(busy_shell: Shell) -> None:
    name = b"caf\xe9.md"
    for args in (["--schema", name], ["--grammar", name], [name], ["sessions", "import", name], ["status", name]):
        done = busy_shell.run(*args)  # type: ignore[arg-type]
        assert (done.returncode, done.stderr.count("\n")) == (64, 1)
        assert "Traceback" not in done.stderr
    folder = bytes(busy_shell.work) + b"/" + LATIN1
    (busy_shell.work / "link").symlink_to(LATIN1.decode("utf-8", "surrogateescape"))
    Path(folder.decode("utf-8", "surrogateescape")).mkdir()
    done = busy_shell.run("hi", "-m", folder + b"/m.gguf")  # type: ignore[arg-type]
    assert done.returncode == 64
    assert "the model's name is not UTF-8 text" in done.stderr and "a link" in done.stderr
    assert "models list` shows how" in busy_shell.run("hi", "-m", LATIN1).stderr  # type: ignore[arg-type]
    path = Path((folder + b"/caf\xe9.md").decode("utf-8", "surrogateescape"))
    path.write_text(MARKDOWN)
    assert busy_shell.run("sessions", "import", str(path)).stdout == "caf\ufffd: 1 turn\n"


@pytest.mark.parametrize("name", ["MODEL", "MODEL_PATH", "BACKEND", "KEEP_ALIVE", "OFFLINE"])
def test_variables_that_are_not_utf8(busy_shell: Shell, name: str) -> None:
    done = busy_shell.run("hi", **{f"THREADRUNNER_{name}": LATIN1})  # type: ignore[arg-type]
    assert (done.returncode, done.stderr.count("\n")) == (64, 1)


def test_variables_that_only_the_daemon_reads(shell: Shell) -> None:
    done = shell.run("hi", THREADRUNNER_LOG=LATIN1)  # type: ignore[arg-type]
    assert done.returncode == 2
    assert "THREADRUNNER_LOG is not UTF-8 text" in done.stderr
    odd = (bytes(shell.folder) + b"/" + LATIN1).decode("utf-8", "surrogateescape")
    assert "Traceback" not in shell.run("hi", THREADRUNNER_HOME=odd).stderr


def test_utf8_in_a_locale_without_it(busy_shell: Shell) -> None:
    old = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert busy_shell.run("Größe", **old).stdout.endswith(" Größe.\n")
    done = busy_shell.run("-S", "Größe", "--stop", "ß", "hi", **old)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Größe" in busy_shell.run("sessions", "list").stdout


def test_half_of_a_surrogate_pair(busy_shell: Shell) -> None:
    """JSON can say what UTF-8 cannot."""
    (busy_shell.work / "half.json").write_text('[{"role": "user", "content": "\\ud800"}]')
    done = busy_shell.run("sessions", "import", "half.json")
    assert done.returncode == 64
    assert "it has half of a surrogate pair" in done.stderr
    with pytest.raises(InvalidParams, match="`template` is not UTF-8"):
        blocking.EncodedRequest("x", {"deep": [{"template": "a\udce9"}]})
    with pytest.raises(InvalidParams, match="the text is not UTF-8"):
        aio._encoded({"params": {"prompt": "a\udce9"}})


def as_windows(text: str) -> list[bytes]:
    crlf = text.replace("\n", "\r\n")
    return [crlf.encode(), *(bom + crlf.encode(codec) for bom, codec in MARKS)]


MARKS = [(b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")]
OWN = '---\nthreadrunner: 1\nsystem: "be brief"\n---\n\n' + MARKDOWN
MESSAGES = json.dumps([{"role": "user", "content": "why\nnot?"}, {"role": "assistant", "content": "because"}], indent=1)


@pytest.mark.parametrize("text", [MARKDOWN, OWN, MESSAGES])
def test_conversations_from_windows(text: str) -> None:
    plain = transcript.read(text, "x")
    assert plain["turns"] == TURNS
    for data in as_windows(text):
        assert transcript.read(stdin.decode(data, "it"), "x") == plain


def test_our_own_export_keeps_what_it_says_about_line_ends() -> None:
    turn = {"prompt": "a\r\nb", "answer": "c\r"}
    exported = transcript.to_markdown({"name": "x"}, [turn])
    assert transcript.read(exported, "y")["turns"] == [turn]


def test_other_files_from_windows(busy_shell: Shell, tmp_path: Path) -> None:
    for data in as_windows('{"type": "object"}\n'):
        (busy_shell.work / "s.json").write_bytes(data)
        assert "gives one unconstrained answer" in busy_shell.run("--schema", "s.json", "hi").stderr
    for data in as_windows("ask me\n"):
        assert busy_shell.run(input=data).stdout.endswith(" ask. me.\n")
    for data in as_windows('model = "ü"\n'):
        (tmp_path / "config.toml").write_bytes(data)
        assert load({}, str(tmp_path / "config.toml")).model == "ü"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"threadrunner": 1, "session": {}, "turns": [{"prompt": 5}]}',
        '{"threadrunner": 1, "session": {}, "turns": [{"answer": "x"}]}',
        '{"threadrunner": 1, "session": [], "turns": 3}',
        '[{"role": "user", "content": 5}]',
        '[{"role": "user"}]',
        "---\nparams: " + "[" * 100_000 + "\n---\n## User\n\nx\n",
        "---\nname\n---\n## User\n\nx\n",
        "{" + "9" * 5000 + "}",
    ],
    ids=range(9),
)
def test_what_is_no_conversation(text: str) -> None:
    with pytest.raises(UsageError):
        transcript.read(text, "x")
