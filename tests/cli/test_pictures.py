"""Pictures on the command line and in a chat's messages. What a model makes of them: tests/http/test_pictures.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.backends.tiny_sight import png
from tests.shell import Shell
from threadrunner.cli import pictures
from threadrunner.cli.chat.files import attach
from threadrunner.cli.flags import UsageError

LOREM = "lorem ipsum dolor sit amet"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a picture in it, one under another name, and a text."""
    (tmp_path / "photo.png").write_bytes(png())
    (tmp_path / "unnamed").write_bytes(png())
    (tmp_path / "notes.txt").write_text("a letter")
    (tmp_path / "broken.png").write_bytes(b"hello")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_words_that_are_pictures(folder: Path) -> None:
    words = ["see", "@photo.png", "@unnamed", "@notes.txt", "@ada", "a@photo.png", "@gone.jpg"]
    assert pictures.taken(words) == (["see", "@notes.txt", "@ada", "a@photo.png"], ["photo.png", "unnamed", "gone.jpg"])
    (image,) = pictures.images(["photo.png"])
    assert image["media_type"] == "image/png"


@pytest.mark.parametrize(
    ("name", "says"),
    [("gone.jpg", "cannot read the picture gone.jpg: No such file"), ("broken.png", "no picture of a known kind")],
)
def test_what_cannot_be_one_is_named(folder: Path, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        pictures.images([name])


def test_a_message_of_a_chat(folder: Path) -> None:
    assert attach("see @photo.png and @notes.txt, @ada") == (
        "see @photo.png and @notes.txt, @ada\n\nFile notes.txt:\n```\na letter\n```",
        ["photo.png", "notes.txt"],
        ["photo.png"],
    )
    with pytest.raises(UsageError, match=r"there is no file gone\.png"):
        attach("see @gone.png")


def test_from_the_shell_to_the_conversation(busy_shell: Shell) -> None:
    (busy_shell.work / "photo.png").write_bytes(png())
    done = busy_shell.run("-S", "trip", "where", "@photo.png", "was", "-i", "photo.png", input="this?\n")
    assert (done.returncode, done.stdout) == (0, f"{LOREM} picture][picture]where. was. this.\n")  # the dummy's words
    assert busy_shell.run("-S", "trip", "@photo.png").returncode == 0  # the picture alone
    shown = json.loads(busy_shell.run("sessions", "show", "trip", "--json").stdout)
    assert [(turn["prompt"], turn["pictures"]) for turn in shown["turns"]] == [("where was\n\nthis?", 2), ("", 1)]
    assert "> [2 pictures] where was" in busy_shell.run("sessions", "show", "trip").stdout
    done = busy_shell.run("where", "-i", "gone.png")
    assert done.returncode == 64 and "cannot read the picture gone.png" in done.stderr
