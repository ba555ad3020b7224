"""Which `serve` processes run: a locked file says it, also against a `status` that looks at the wrong moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from threadrunner.client import servings
from threadrunner.system import locks


def test_a_file_that_was_taken_for_one_left_behind_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREADRUNNER_SOCKET", str(tmp_path / "run" / "daemon.sock"))
    hold, looked = locks.hold, []

    def looked_at_before(file: locks.OpenFile) -> None:
        if not looked:
            looked.append(servings.running())
        hold(file)

    monkeypatch.setattr(locks, "hold", looked_at_before)
    with servings.known_as("http://127.0.0.1:8765"):
        assert looked == [[]]
        assert [(one.pid, one.url) for one in servings.running()] == [(os.getpid(), "http://127.0.0.1:8765")]
    assert servings.running() == []
    assert not [name for name in os.listdir(tmp_path / "run") if name.startswith("serve.")]
