"""`python -m threadrunner.worker FD VITALS_FD [BACKEND]`: how the daemon starts a worker, past the shell's parser."""

import sys

from threadrunner.worker.loop import run

if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:4]))
