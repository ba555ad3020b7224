"""What the system lets a process have: descriptors, sizes of files, core files. Windows sets no such limits."""

from __future__ import annotations

import contextlib
import sys

DESCRIPTORS = 1 << 16
"""File descriptors that are enough: a client takes one, a model three. macOS gives a process 256 unless it asks."""

_WINDOWS_CLIENTS = 512 + 64
"""select() has 512 sockets there, and Python's event loop for sockets has no other way to wait for them."""

if sys.platform == "win32":

    def descriptors() -> int:
        """How many this process may have open; below 0, as many as it likes."""
        return _WINDOWS_CLIENTS

    def raise_descriptors() -> None:
        """As far as they are useful."""

    def lift_those_of_a_shell() -> None:
        """As far as the hard ones allow: those that `ulimit` sets for what runs in a terminal."""

    def no_core_file() -> None:
        """Leave no file with prompts in it after a crash."""

    def file_size(limit: int) -> None:
        """Let no file grow beyond so many bytes, unless less is allowed already."""

else:
    import resource

    _OF_A_SHELL = (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_DATA)

    def descriptors() -> int:
        """How many this process may have open; below 0, as many as it likes."""
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def raise_descriptors() -> None:
        """As far as they are useful."""
        _raise(resource.RLIMIT_NOFILE, DESCRIPTORS)

    def lift_those_of_a_shell() -> None:
        """As far as the hard ones allow: those that `ulimit` sets for what runs in a terminal."""
        for limit in _OF_A_SHELL:
            _raise(limit, resource.RLIM_INFINITY)

    def no_core_file() -> None:
        """Leave no file with prompts in it after a crash."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def file_size(limit: int) -> None:
        """Let no file grow beyond so many bytes, unless less is allowed already."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    def _raise(limit: int, wanted: int) -> None:
        """Raise the soft limit to `wanted`, or as far as the hard one allows."""
        soft, hard = resource.getrlimit(limit)
        unlimited = resource.RLIM_INFINITY
        if soft == unlimited:
            return
        new = wanted if hard == unlimited else hard if wanted == unlimited else min(wanted, hard)
        if new == unlimited or new > soft:
            with contextlib.suppress(OSError, ValueError):  # macOS has a limit of its own below RLIM_INFINITY
                resource.setrlimit(limit, (new, hard))
