"""The fixtures of tests/shell.py, for all tests of the command line."""

from tests.shell import busy_shell, shell, troubled

__all__ = ["busy_shell", "shell", "troubled"]
