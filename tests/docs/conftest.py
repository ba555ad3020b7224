"""A shell for the examples, as the tests of the command line have it."""

from tests.shell import shell

__all__ = ["shell"]
