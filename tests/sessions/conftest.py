"""The shell's fixtures serve here too."""

from tests.cli.conftest import busy_shell, shell

__all__ = ["busy_shell", "shell"]
