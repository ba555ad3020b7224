"""`threadrunner lsp --at`: one suggestion for a text on stdin."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.lsp.nursery import forked
from tests.lsp.standin import Failure, Standin

PROGRAM = [sys.executable, "-m", "threadrunner", "lsp"]


def run(standin: Standin, text: str, *args: str, program: Sequence[str] = ()) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*(program or forked("lsp")), *args], input=text.encode(), env=standin.env, capture_output=True, check=False,
        timeout=60,
    )  # fmt: skip


def test_a_suggestion_is_printed(standin: Standin) -> None:
    standin.says = lambda params: "1\ny = 2"
    done = run(standin, "é = \r\nz\r\n", "--at", "1:6", "--path", "a.py", "--language", "python", "-m", "coder",
               program=PROGRAM)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"1\r\ny = 2")
    (seen,) = standin.of("infill")
    assert seen.params["prefix"] == "é = " and seen.params["model"] == "coder" and "n" not in seen.params


def test_nothing_prints_nothing(standin: Standin) -> None:
    assert run(standin, "x", "--at", "9:9").stdout == b""
    assert run(standin, "SECRET=", "--at", "1:8", "--path", ".env").stdout == b""


@pytest.mark.parametrize(
    ("redirected", "code", "says"),
    [("> /dev/full", 1, b"cannot write: No space left on device"), ("| true", 0, b""), (">&-", 0, b"")],
)
def test_output_that_cannot_be_written(standin: Standin, redirected: str, code: int, says: bytes) -> None:
    standin.says = lambda params: "1"
    command = f"set -o pipefail; {shlex.join([*PROGRAM, '--at', '1:5', '--path', 'a.py'])} {redirected}"
    done = run(standin, "x = ", program=["bash", "-c", command])
    assert done.returncode == code
    assert done.stderr == (b"threadrunner: " + says + b"\n" if says else b"")


def test_failures_have_exit_codes(standin: Standin) -> None:
    standin.says = lambda params: Failure(-32009, "NotSupported", "no FIM tokens")
    done = run(standin, "x", "--at", "1:2")
    assert done.returncode == 3 and b"FIM" in done.stderr


@pytest.mark.parametrize("at", ["1", "a:b", "1:", ""])
def test_a_wrong_place_is_a_usage_error(standin: Standin, at: str) -> None:
    assert run(standin, "x", f"--at={at}").returncode == 64
