"""What the end of a worker is called, and what to do next: pure."""

from __future__ import annotations

import errno
import signal
from collections.abc import Sequence

from threadrunner.api.errors import ModelLoadFailed, WorkerCrashed
from threadrunner.daemon.workers.hang import HANG
from threadrunner.worker.vitals import Doing, Vitals

HINTS = {
    "SIGKILL": "; the system may have been out of memory",
    "SIGBUS": "; its model file was probably truncated or overwritten while in use",
}


def crash_error(name: str, code: int, last_words: Sequence[str]) -> WorkerCrashed:
    """The error for a process that ended by itself: by a signal (`code` below 0), or with an exit code.

    `last_words` are the last lines of its standard error.
    """
    if code < 0:
        sign = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = HINTS.get(sign, "")
        text = f"the worker of {name} was ended by {sign}{hint}. The next prompt loads the model again."
        return WorkerCrashed(text, signal=sign, exit_code=None)
    last = next((line for line in reversed(last_words) if line.strip()), "nothing on standard error")
    return WorkerCrashed(f"the worker of {name} ended with exit code {code}: {last}", signal=None, exit_code=code)


def no_process_error(name: str, error: OSError) -> ModelLoadFailed:
    """The error for a process that the system would not start. Nothing is wrong with the model: the next request tries
    again at once (`reason` is `resources`)."""
    why = error.strerror or str(error)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        why = "no file descriptor is left; end some clients or raise the limit (`ulimit -n`)"
    elif error.errno in (errno.EAGAIN, errno.ENOMEM):
        why = f"the system has no room for another process ({why}); end something that is not needed"
    return ModelLoadFailed(f"the worker of {name} could not be started: {why}, then ask again", reason="resources")


def hang_error(name: str, seconds: float, vitals: Vitals, *, suspended: bool) -> WorkerCrashed:
    """The error for a worker that we ended because it did not let go of what it did for that many seconds, though it
    was told to. Its neighbours get it; the request that hung has its own end by then (Timeout, RequestCancelled)."""
    where = "its process was suspended (SIGSTOP)" if suspended else _WHERE[vitals.doing]
    text = (
        f"the worker of {name} did not respond for {seconds:.0f} s when it was told to stop a request, so it was ended "
        f"with all that it was doing: {where}. Ask again: the next prompt loads the model. If it happens with one "
        "prompt only, leave out its grammar, schema or template."
    )
    return WorkerCrashed(text, signal=None, exit_code=None, cause=HANG, doing=vitals.doing.name.lower())


_WHERE = {
    Doing.STARTING: "it was not ready for requests",
    Doing.WAITING: "it did not take the messages that had arrived",
    Doing.SUBMIT: "taking in a request did not end",
    Doing.STEP: "a step of its computation did not end",
    Doing.CANCEL: "forgetting a cancelled request did not end",
    Doing.CLOSE: "closing the model did not end",
}


def quarantined_error(name: str, times: int, seconds: float) -> WorkerCrashed:
    """The error for a request that is not tried again yet, see quarantine.py."""
    return WorkerCrashed(
        f"{times} times the worker of {name} hung while this same request was under way, and had to be ended; it is "
        f"taken again in {seconds:.0f} s. Change it: another grammar, schema or prompt is taken at once",
        signal=None,
        exit_code=None,
        cause=HANG,
        retry_in_s=round(seconds, 1),
    )


def unkillable_error(name: str, pid: int | None) -> WorkerCrashed:
    """The error for a process that SIGKILL does not end."""
    return WorkerCrashed(
        f"the worker of {name} (pid {pid}) does not end although it was killed: the kernel waits for a disk, a network "
        "file system or a driver. Its memory stays taken until that is over; the next prompt starts another worker.",
        signal=None,
        exit_code=None,
        cause=HANG,
    )
