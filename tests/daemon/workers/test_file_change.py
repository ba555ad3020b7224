"""What has become of a file."""

import os
from pathlib import Path

import pytest

from threadrunner.daemon.models.reference import ModelRef
from threadrunner.daemon.workers.file_change import QUIET, Change, Reaction, judge, react, settles_in


def test_every_way_to_change_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"one")
    model = ModelRef("m", str(path))
    loaded = model.fingerprint
    assert judge(loaded, model.fingerprint) is Change.NONE
    with path.open("r+b") as file:
        file.truncate(1)
    assert judge(loaded, model.fingerprint) is Change.REWRITTEN
    other = tmp_path / "other"
    other.write_bytes(b"one")
    os.replace(other, path)
    assert judge(loaded, model.fingerprint) is Change.REPLACED
    path.unlink()
    assert judge(loaded, model.fingerprint) is Change.GONE


@pytest.mark.parametrize(
    ("now", "change"),
    [
        ("1-1-3-0+1-2-3-0", Change.NONE),
        ("1-1-3-0+1-2-3-9", Change.REWRITTEN),
        ("1-9-3-0+1-2-3-9", Change.REWRITTEN),
        ("+1-2-3-9", Change.REWRITTEN),
        ("1-1-3-0+1-9-3-0", Change.REPLACED),
        ("1-1-3-0+", Change.GONE),
        ("+", Change.GONE),
        ("", Change.GONE),
        ("1-9-3-0", Change.REPLACED),
    ],
)
def test_every_part_of_a_split_model_counts(now: str, change: Change) -> None:
    assert judge("1-1-3-0+1-2-3-0", now) is change


@pytest.mark.parametrize(
    ("now", "reloading", "rejected", "reaction"),
    [
        ("1-1-3-0", False, None, Reaction.KEEP),
        ("", False, None, Reaction.KEEP),
        ("1-1-1-9", False, None, Reaction.DISCARD),
        ("1-1-1-9", True, None, Reaction.DISCARD),
        ("1-2-3-9", False, None, Reaction.SUCCEED),
        ("1-2-3-9", True, None, Reaction.KEEP),
        ("1-2-3-9", False, "1-2-3-9", Reaction.KEEP),
        ("1-2-3-9", False, "1-5-3-9", Reaction.SUCCEED),
    ],
)
def test_what_is_done_about_it(now: str, reloading: bool, rejected: str | None, reaction: Reaction) -> None:
    assert react("1-1-3-0", now, reloading=reloading, rejected=rejected) is reaction


@pytest.mark.parametrize(("age", "left"), [(0, QUIET), (QUIET, 0), (60, 0), (-5, 0)])
def test_a_file_is_whole_after_a_while_without_a_write(age: float, left: float) -> None:
    assert settles_in(mtime=1000, now=1000 + age) == pytest.approx(left)
