"""A command of the user's that judges answers: run here, by the shell's client, never by the daemon."""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import IO, NamedTuple

from threadrunner.cli import signals
from threadrunner.cli.flags import UsageError
from threadrunner.system import commands

SECONDS = 60.0
"""That a check may take, where the user does not say."""
_CANNOT_RUN = (126, 127)
"""What a shell exits with where there is no such command, or it is no program."""


class Judgement(NamedTuple):
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

    def run(self, text: str, number: int) -> Judgement:
        """How the command likes the answer, which is a file on its standard input: it need not read all of it, or any.
        Raises UsageError where the shell cannot run it, BrokenPipeError where the answer's reader has gone."""
        child = self._begun(text, number)
        try:
            ended = commands.ended(child, self._seconds)
        finally:
            self.kill()
        if not ended:
            return Judgement(None, f"not done within {self._seconds:g} s (--check-timeout)")
        if child.returncode in _CANNOT_RUN:
            raise UsageError(
                f"--check: the shell cannot run {self._command!r} (exit code {child.returncode}); -v shows what it says"
            )
        if child.returncode < 0:
            return Judgement(None, f"killed by signal {-child.returncode}")
        return Judgement(child.returncode, f"exit code {child.returncode}")

    def _begun(self, text: str, number: int) -> subprocess.Popen[bytes]:
        with tempfile.TemporaryFile() as file:
            file.write(text.encode("utf-8", "backslashreplace"))
            if not text.endswith("\n"):
                file.write(b"\n")
            file.seek(0)
            signals.whole(lambda: self._start(file, number))  # a Ctrl-C just now must find what it has to kill
        assert self._child
        return self._child

    def _start(self, file: IO[bytes], number: int) -> None:
        output = 2 if self._aloud else subprocess.DEVNULL
        env = {**os.environ, "THREADRUNNER_ANSWER": str(number)}
        self._child = commands.start(self._command, file, output, env)

    def kill(self) -> None:
        """End a run, and what it has started and left behind: the next one must not meet it."""
        child, self._child = self._child, None
        if child is not None:
            commands.end(child)
