"""A replica's daemon: ends with the process that started it, however that one ends.

python -P -m threadrunner.cluster.leashed PARENT READY_FD
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from threadrunner.daemon import begin

_PR_SET_PDEATHSIG = 1


def main(parent: int, ready_fd: int) -> int:
    if sys.platform != "linux":
        return 1
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has ended already, and no signal will come
        return 1
    return begin.run(ready_fd)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
