"""The cluster's token and its clients' keys."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from threadrunner.cluster import keys, settings
from threadrunner.cluster.keys import BadKeyFile

FIRST, SECOND = "tr-aaaaaaaaaaaaaaaa", "tr-bbbbbbbbbbbbbbbb"


def key_file(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "keys"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_secret_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "keys")
    keys.made(path, "tr-")
    first = keys.private(path)
    keys.made(path, "tr-")
    assert keys.private(path) == first
    assert first.startswith("tr-") and len(first) > 40
    assert os.stat(path).st_mode & 0o077 == 0


def test_only_digests_are_told(tmp_path: Path) -> None:
    path = key_file(tmp_path, f"# ann's\n{FIRST}\n\n{SECOND}  # bob's, until May\n")
    found = keys.digests(path)
    assert found == [hashlib.sha256(key.encode()).hexdigest() for key in (FIRST, SECOND)]
    who = keys.known_by(found)
    assert [who(given) is not None for given in (FIRST, SECOND, FIRST[:-1], "", "\udc80")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (FIRST, 0o644, "run `chmod 600 "),
        ("# none yet\n", 0o600, "has no key; write one on each line"),
        ("short\n", 0o600, "at least 16 letters"),
        (f"{FIRST} {SECOND}\n", 0o600, "one on each line"),
    ],
)
def test_a_file_that_will_not_do(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(BadKeyFile) as caught:
        keys.digests(key_file(tmp_path, text, mode))
    assert said in str(caught.value)
    assert FIRST not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadKeyFile, match="No such file"):
        keys.digests(str(tmp_path / "keys"))


def test_where_they_are() -> None:
    def at(text: str) -> str:
        return keys.key_file(settings.checked({"keys": text, "models": {"x": {"model": "x"}}}, "team"), "/home/team")

    assert (at("auto"), at("file:/etc/keys"), at("")) == ("/home/team/keys", "/etc/keys", "")
