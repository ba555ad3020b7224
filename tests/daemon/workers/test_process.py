"""How a worker's process ends, and how that is told."""

import asyncio
from collections.abc import Hashable

import pytest

from tests.support import PATIENCE, wait_for_exit
from threadrunner.api.errors import ApiError, ModelLoadFailed
from threadrunner.backends.base import ModelFacts, ModelSpec
from threadrunner.daemon.workers import process
from threadrunner.daemon.workers.child import ChildProcess
from threadrunner.daemon.workers.crash import crash_error


@pytest.mark.parametrize(
    ("code", "facts", "says"),
    [
        (-9, {"signal": "SIGKILL", "exit_code": None}, "was ended by SIGKILL; the system may have been out of memory"),
        (-7, {"signal": "SIGBUS", "exit_code": None}, "its model file was probably truncated or overwritten"),
        (-11, {"signal": "SIGSEGV", "exit_code": None}, "was ended by SIGSEGV. The next prompt loads the model again"),
        (-99, {"signal": "signal 99", "exit_code": None}, "was ended by signal 99."),
        (3, {"signal": None, "exit_code": 3}, "exit code 3: ValueError: no"),
        (0, {"signal": None, "exit_code": 0}, "exit code 0: ValueError: no"),
    ],
)
def test_a_code_is_explained(code: int, facts: dict[str, object], says: str) -> None:
    error = crash_error("m", code, ["Traceback:", "ValueError: no", " ", ""])
    assert error.facts == facts
    assert says in error.message
    assert error.message.startswith("the worker of m ")


def test_a_worker_without_last_words() -> None:
    assert crash_error("m", 1, []).message == "the worker of m ended with exit code 1: nothing on standard error"


class Owner:
    """In the place of a Resident."""

    def __init__(self) -> None:
        self.crash: asyncio.Future[ApiError | None] = asyncio.get_running_loop().create_future()

    def loading(self, done: int, total: int) -> None: ...

    def loaded(self, facts: ModelFacts) -> None: ...

    def load_failed(self, error: ApiError) -> None: ...

    def doomed(self, suspects: list[Hashable]) -> None: ...

    def ended(self, crash: ApiError | None) -> None:
        self.crash.set_result(crash)


def test_a_process_that_cannot_be_killed_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits in the kernel for a disk or a driver; here its SIGKILL is lost."""
    monkeypatch.setattr(process, "KILL_WITHIN", 0.01)
    monkeypatch.setattr(ChildProcess, "kill", lambda self: None)

    async def run() -> None:
        owner = Owner()
        worker = process.WorkerProcess("m", owner)
        worker.start("dummy", ModelSpec(name="m"), asyncio.get_running_loop().create_future())
        while worker.pid is None:
            await asyncio.sleep(0)
        pid = worker.pid
        worker.stop()
        crash = await asyncio.wait_for(owner.crash, PATIENCE)
        assert crash is not None and f"pid {pid}" in crash.message
        wait_for_exit(pid)  # its socket was closed, which ends one that can be ended

    asyncio.run(run())


def test_a_model_that_does_not_pass_its_check_ends_the_process_that_was_started_for_it() -> None:
    async def run() -> None:
        owner, refused = Owner(), asyncio.get_running_loop().create_future()
        worker = process.WorkerProcess("m", owner)
        refused.set_exception(ModelLoadFailed("no"))
        worker.start("dummy", ModelSpec(name="m"), refused)
        assert await asyncio.wait_for(owner.crash, PATIENCE) is None
        assert worker.pid
        wait_for_exit(worker.pid)

    asyncio.run(run())
