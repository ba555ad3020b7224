"""The end of the daemon's process."""

from __future__ import annotations

import subprocess
import sys

from tests.support import PATIENCE

STUCK = """
import asyncio, time
from threadrunner.daemon import app

async def serve():
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)

app.THREADS_WITHIN = 0.1
asyncio.run(app._to_the_end(serve()))
"""


def test_a_thread_that_never_returns_does_not_keep_the_daemon() -> None:
    """As one in stat() on a network file system that does not answer; asyncio.run and Python would both join it."""
    assert subprocess.run([sys.executable, "-c", STUCK], timeout=PATIENCE, check=False).returncode == 0
