"""Start a daemon, as if no particular shell had done it: the folder, the limits and the signals that a shell happens to
have must not reach a process that outlives it. Imported by the first prompt only.

What only the process itself can change (signals, limits) is in daemon/inherited.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from threadrunner import paths
from threadrunner.api import errors
from threadrunner.system import children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_READY_SECONDS = 30

_PATHS = (
    "THREADRUNNER_HOME", "THREADRUNNER_SOCKET", "THREADRUNNER_MODEL_PATH", "XDG_RUNTIME_DIR", "OLLAMA_MODELS",
    "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "PIP_CERT", "PIP_CONFIG_FILE",
)  # fmt: skip
_OF_OTHERS = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd told the service that this shell is part of."""


def start() -> None:
    """Start a daemon and wait until it reports on its pipe that it is ready. Raises Unreachable."""
    read, write = os.pipe()
    try:
        # -P: a random.py in the folder of whoever is first to type a prompt is not the standard library's.
        argv = [sys.executable, "-P", "-m", "threadrunner", "daemon"]
        process = children.start_apart(argv, environment(os.environ), write)
    except OSError as error:
        os.close(read)
        raise errors.Unreachable(f"cannot run {sys.executable} to start the daemon: {error.strerror}") from None
    finally:
        os.close(write)
    try:
        _await_ready(read, process)
    finally:
        os.close(read)
        process.returncode = 0  # it outlives us on purpose; without this, Popen warns about it when it is deleted


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The daemon's: paths mean what they mean here, though it runs in `/`, and text is UTF-8 in any locale."""
    env = {name: value for name, value in ours.items() if name not in _OF_OTHERS}
    for name in _PATHS:
        if env.get(name):
            env[name] = paths.absolute(env[name])
    if env.get("PYTHONPATH"):
        env["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, filter(None, env["PYTHONPATH"].split(os.pathsep))))
    env["PYTHONUTF8"] = "1"
    return env


def _await_ready(read: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the daemon has written `ready` to the pipe. Raises Unreachable with what it wrote instead."""
    output = b""
    until = time.monotonic() + _READY_SECONDS
    while output != b"ready\n":
        data = children.read_within(read, max(0.0, until - time.monotonic()))
        if data is None:
            raise errors.Unreachable(
                f"the daemon (pid {process.pid}) did not become ready in {_READY_SECONDS} s; see {log_hint()}"
            )
        if not data:
            break
        output += data
    else:
        return
    text = output.decode("utf-8", "replace").strip()
    if not text:
        code = process.wait()
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        text = f"it ended {how} and said nothing; run `threadrunner daemon` to see why"
    raise errors.Unreachable(f"the daemon could not start: {text}")


def log_hint() -> str:
    return f"`threadrunner logs` ({paths.cache_dir()})"
