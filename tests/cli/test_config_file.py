"""config.toml as `setup` and `learn` change it: all of it but the one option stays, or nothing is changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from threadrunner import config
from threadrunner.cli.config_file import set_option
from threadrunner.cli.flags import UsageError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THREADRUNNER_HOME", str(tmp_path))
    return tmp_path / "config.toml"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_it_stays_in_the_encoding_and_with_the_line_ends_that_it_has(file: Path, encoding: str) -> None:
    text = '# für mich\r\nmodel = "a\u2028b"\r\nlearn = true\r\n'
    file.write_bytes(text.encode(encoding))
    assert set_option("learn", False) == str(file)
    assert file.read_bytes() == text.replace("true", "false").encode(encoding)
    assert config.load(file=str(file)).learn is False


def test_a_file_that_others_may_not_read_stays_so(file: Path) -> None:
    file.write_text("keep_alive = 60\n")
    file.chmod(0o600)
    set_option("learn", False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == ["config.toml"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'"learn" = true\n', "overwrite"),
        (b"keep_alive = \n", "Invalid value"),
        (b"# h\xe9llo\n", "can't decode"),
    ],
)
def test_one_that_would_not_be_read_as_it_is_meant_is_left_alone(file: Path, text: bytes, says: str) -> None:
    file.write_bytes(text)
    with pytest.raises(UsageError, match=f"config.toml cannot be changed here: .*{says}[^`]*`learn = false`"):
        set_option("learn", False)
    assert file.read_bytes() == text


def test_a_disk_that_is_full_leaves_it_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("learn = true\n")
    os.symlink("/dev/full", f"{file}.new")
    monkeypatch.setattr(os, "chmod", lambda *_: None)
    with pytest.raises(OSError, match=f"No space left on device: '{file}'"):
        set_option("learn", False)
    assert file.read_text() == "learn = true\n"
    assert os.listdir(file.parent) == ["config.toml"]
