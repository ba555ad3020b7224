"""What is decided for systems that the tests do not run on, where that is pure."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from threadrunner.system import files, locks, memory, streams, this_process

VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            200000.
Pages inactive:                           30000.
Pages speculative:                          500.
Pages throttled:                              0.
Pages wired down:                        100000.
Pages purgeable:                            250.
"Translation faults":                 123456789.
"""


def test_free_memory_on_macos_is_what_can_be_taken_from_caches() -> None:
    assert memory.of_vm_stat(VM_STAT) == 40_750 * 16384
    assert memory.of_vm_stat("vm_stat: not found") is None


def test_the_home_on_windows_is_of_this_user_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALAPPDATA", "C:\\Users\\ann\\AppData\\Local")
    assert this_process.default_home("win32") == "C:\\Users\\ann\\AppData\\Local\\threadrunner"
    monkeypatch.delenv("LOCALAPPDATA")
    assert this_process.default_home("win32") == "~\\AppData\\Local\\threadrunner"
    assert this_process.default_home("linux") == this_process.default_home("darwin") == "~/.threadrunner"


def test_a_pipe_is_read_by_a_thread_where_a_loop_waits_for_sockets_only() -> None:
    """The way of Windows' loop, which runs on any."""
    read, write = os.pipe()

    class Listener(asyncio.Protocol):
        def __init__(self) -> None:
            self.heard, self.ended = b"", asyncio.get_running_loop().create_future()

        def data_received(self, data: bytes) -> None:
            self.heard += data

        def connection_lost(self, error: Exception | None) -> None:
            self.ended.set_result(error)

    async def run() -> bytes:
        listener = Listener()
        with os.fdopen(read, "rb", buffering=0) as pipe:
            streams._ThreadedPipe(asyncio.get_running_loop(), listener, pipe)
            os.write(write, b"last words")
            os.close(write)
            assert await listener.ended is None
        return listener.heard

    assert asyncio.run(run()) == b"last words"


def test_a_lock_is_one_process_own_until_its_file_is_closed(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    assert not locks.is_held(path), "there is no file yet"
    with open(path, "w+b") as file:
        locks.hold(file)
        assert locks.is_held(path)
    assert not locks.is_held(path)


def test_memory_that_two_processes_share_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a Python that lacks memfd_create."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    descriptor = files.unnamed("page")
    os.ftruncate(descriptor, 8)
    os.close(descriptor)
    assert not list(tmp_path.iterdir())
