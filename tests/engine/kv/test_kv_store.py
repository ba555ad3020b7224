"""The folder of saved KV state while others work on it too: another process, or somebody who tidies up."""

from __future__ import annotations

from pathlib import Path

import pytest

from threadrunner.engine.kv.kv_store import MIN_TOKENS, KvStore


def test_a_file_that_vanishes_while_others_are_written_is_no_error(tmp_path: Path) -> None:
    store = KvStore(tmp_path, "test", 1 << 20)
    (tmp_path / "gone.kv").symlink_to("nowhere")  # is listed, and then is not there
    assert store.write([]) == 0


@pytest.mark.parametrize("name", ["damaged.kv", "cut-short.tmp"])
def test_what_cannot_be_deleted_is_no_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    store = KvStore(tmp_path, "test", 1 << 20)
    assert store.match([1] * MIN_TOKENS) == (0, None)
    assert store.write([]) == 0
