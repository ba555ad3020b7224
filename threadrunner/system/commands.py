"""A command of the user's, run by the shell in a process group of its own, so that all it has started ends with it."""

from __future__ import annotations

import contextlib
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from typing import IO


def start(command: str, stdin: IO[bytes], output: int, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """By the shell that people write commands for here. Raises OSError."""
    import subprocess

    if sys.platform == "win32":
        return subprocess.Popen(
            command,
            shell=True,
            stdin=stdin,
            stdout=output,
            stderr=output,
            env=env,
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
        )
    argv = ["/bin/sh", "-c", command]
    return subprocess.Popen(argv, stdin=stdin, stdout=output, stderr=output, env=env, process_group=0)


def end(child: subprocess.Popen[bytes]) -> None:
    """Kill it, and what it has started and left behind, and wait for it."""
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            child.kill()  # what it has started is in no group that could be ended
        else:
            import signal

            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def ended(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it ends within the time; where that can be seen without it, before it is waited for, so that the number
    of its group is still its own. Raises BrokenPipeError once the reader of standard output has gone."""
    if sys.platform != "linux":
        return _waited(child, seconds)
    import select

    try:
        ending = os.pidfd_open(child.pid)
    except (AttributeError, OSError):  # a kernel or a Python that lacks it
        return _waited(child, seconds)
    try:
        poll = select.poll()
        poll.register(ending, select.POLLIN)
        poll.register(1, 0)  # POLLERR and POLLHUP are reported without being asked for
        ready = {fd for fd, _ in poll.poll(seconds * 1e3)}
    finally:
        os.close(ending)
    if ready and ending not in ready:
        raise BrokenPipeError("the reader of the answer has gone")
    return bool(ready)


def _waited(child: subprocess.Popen[bytes], seconds: float) -> bool:
    import subprocess

    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(seconds)
    return child.returncode is not None
