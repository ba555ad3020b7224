"""The modes of a terminal: a question without echo changes them, and leaves them so where it is killed."""

from __future__ import annotations

import sys
from collections.abc import Callable

if sys.platform == "win32":

    def restorer() -> Callable[[], None]:
        """The console is the shell's again when a program ends."""
        return lambda: None

else:
    import termios

    def restorer() -> Callable[[], None]:
        """Sets the modes of the terminal on standard input as they are now; does nothing where it is none. Raises
        OSError where it has gone."""
        try:
            modes = termios.tcgetattr(0)
        except termios.error:
            return lambda: None

        def restore() -> None:
            try:
                termios.tcsetattr(0, termios.TCSANOW, modes)
            except termios.error as error:
                raise OSError(*error.args) from None

        return restore
