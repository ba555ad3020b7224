"""How a worker's end is told."""

import pytest

from threadrunner.daemon.workers.process import crash_error


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
