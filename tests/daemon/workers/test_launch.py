"""Worker processes as the system sees them: begun ahead, given away once, waited for."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.support import PATIENCE, running, wait_for_exit
from threadrunner.daemon.workers import spare
from threadrunner.daemon.workers.child import ChildProcess
from threadrunner.daemon.workers.launch import launch


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs Linux's /proc")
@pytest.mark.parametrize(("backend", "used"), [("", True), ("dummy", False)])
def test_a_daemon_that_a_prompt_starts_begins_a_worker_ahead_and_uses_it(
    backend: str, used: bool, smollm2: Path
) -> None:
    for daemon in running(THREADRUNNER_BACKEND=backend, THREADRUNNER_CONTEXT="256"):
        ahead = children(daemon.pid)
        assert len(ahead) == int(used)
        daemon.wire().call("models.load", backend="llama", model=str(smollm2))
        assert (daemon.workers() == ahead) is used
        assert len(children(daemon.pid)) == 1


def test_a_spare_worker_is_for_one_backend_and_given_away_once() -> None:
    async def run() -> None:
        launched = launch("llama")
        kept = spare.Spare(launched, "llama")
        assert kept.take("dummy") is None
        assert kept.take("llama") is launched
        assert kept.take("llama") is None
        kept.close()
        child = ChildProcess(launched.pid)
        launched.close()
        assert await asyncio.wait_for(child.exited, PATIENCE) == 1, "its socket ended before it was told to load"

    asyncio.run(run())


@pytest.mark.parametrize("close", [False, True])
def test_one_that_is_not_needed_is_ended(close: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare, "UNUSED_AFTER", 3600 if close else 0.01)

    async def run() -> None:
        launched = launch("llama")
        kept = spare.Spare(launched, "llama")
        if close:
            kept.close()
        await asyncio.to_thread(wait_for_exit, launched.pid)
        assert kept.take("llama") is None

    asyncio.run(run())


@pytest.mark.parametrize("pidfd", [True, False])
@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("kill -SEGV $$", -signal.SIGSEGV)])
def test_a_childs_end_is_known_with_its_code(
    pidfd: bool, command: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not pidfd:  # as on macOS
        monkeypatch.delattr(os, "pidfd_open")

    async def run() -> None:
        pid = os.posix_spawn("/bin/sh", ["sh", "-c", command], os.environ)
        child = ChildProcess(pid)
        assert await asyncio.wait_for(child.exited, PATIENCE) == code
        child.kill()  # which must not reach another process of that number

    asyncio.run(run())


def test_a_worker_has_no_descriptor_of_ours_but_its_own() -> None:
    read, write = os.pipe()
    os.set_inheritable(write, False)
    launched = launch()
    try:
        os.close(write)
        assert os.read(read, 1) == b"", "the pipe has ended though the process runs"
        os.kill(launched.pid, 0)
    finally:
        os.close(read)
        launched.close()
        os.waitpid(launched.pid, 0)
