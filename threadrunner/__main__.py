"""`python -m threadrunner`: the same program as the `threadrunner` script."""

import sys

from threadrunner.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
