"""The process that all servers of one test run are forked from: see forked.py."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def forked(*arguments: str) -> list[str]:
    """What to start in place of `python -m threadrunner ARGUMENT…`."""
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("forked.py")), _socket(), *arguments]


@functools.cache
def _socket() -> str:
    """The socket of that process, which is started by the first call and ends with this one."""
    folder = Path(tempfile.mkdtemp(prefix="tr-"))
    socket = str(folder / "nursery.sock")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lsp.forked", socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin and process.stdout

    def end() -> None:
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    assert process.stdout.readline() == b"ready\n"
    return socket
