"""A command of the user's that judges answers: run here, by the shell's client, never by the daemon."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
from typing import NamedTuple

from threadrunner.cli.flags import UsageError

SECONDS = 60.0
"""That a check may take, where the user does not say."""
_CANNOT_RUN = (126, 127)
"""What a shell exits with where there is no such command, or it is no program."""


class Outcome(NamedTuple):
    """How a check has ended."""

    code: int | None
    """Its exit code; None where it was killed."""
    said: str
    """The same in words."""


class Check:
    """Runs the command on one answer after another: two runs at once might write the same files."""

    def __init__(self, command: str, seconds: float, *, aloud: bool) -> None:
        """`aloud`: what it writes goes to our standard error; else nowhere. Never to standard output, which has the
        answer alone."""
        self._command = command
        self._seconds = seconds
        self._aloud = aloud
        self._child: subprocess.Popen[bytes] | None = None

    def run(self, text: str, number: int) -> Outcome:
        """How the command likes the answer, which is a file on its standard input: it need not read all of it, or any.
        Raises UsageError where the shell cannot run it, BrokenPipeError where the answer's reader has gone."""
        with tempfile.TemporaryFile() as file:
            file.write(text.encode("utf-8", "backslashreplace"))
            if not text.endswith("\n"):
                file.write(b"\n")
            file.seek(0)
            output = 2 if self._aloud else subprocess.DEVNULL
            self._child = child = subprocess.Popen(
                ["/bin/sh", "-c", self._command],
                stdin=file,
                stdout=output,
                stderr=output,
                env={**os.environ, "THREADRUNNER_ANSWER": str(number)},
                process_group=0,
            )
        try:
            ended = _ended(child, self._seconds)
        finally:
            self.kill()
        if not ended:
            return Outcome(None, f"not done within {self._seconds:g} s (--check-timeout)")
        if child.returncode in _CANNOT_RUN:
            raise UsageError(
                f"--check: the shell cannot run {self._command!r} (exit code {child.returncode}); -v shows what it says"
            )
        if child.returncode < 0:
            return Outcome(None, f"killed by {signal.Signals(-child.returncode).name}")
        return Outcome(child.returncode, f"exit code {child.returncode}")

    def kill(self) -> None:
        """End a run under way, and what it has started."""
        child, self._child = self._child, None
        if child is not None and child.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _ended(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it ends within the time. Raises BrokenPipeError once the reader of standard output has gone."""
    try:
        ending = os.pidfd_open(child.pid)
    except (AttributeError, OSError):  # not Linux
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
        return child.returncode is not None
    try:
        poll = select.poll()
        poll.register(ending, select.POLLIN)
        poll.register(1, 0)  # POLLERR and POLLHUP are reported without being asked for
        ready = {fd for fd, _ in poll.poll(seconds * 1e3)}
    finally:
        os.close(ending)
    if ending in ready:
        child.wait()
        return True
    if ready:
        raise BrokenPipeError("the reader of the answer has gone")
    return False
