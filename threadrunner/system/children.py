"""Processes of ours: workers and the daemon, how they are started, what they are handed, when they have ended.

Imports next to nothing: a daemon that a prompt has started begins a worker before its own imports.
"""

from __future__ import annotations

import _socket  # the C part of `socket`: its Python part would be waited for here
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

Ends = tuple[int, int, int]
"""A worker's pid; our socket to it; where what it writes to standard error can be read."""


def close_socket(fd: int) -> None:
    """Windows numbers sockets and files apart."""
    _socket.close(fd)


if sys.platform == "win32":
    _started: dict[int, subprocess.Popen[bytes]] = {}

    def start_worker(program: Sequence[str], rest: Sequence[str], env: Mapping[str, str], page: int) -> Ends:
        """Run `program SOCKET PAGE rest…`; the page is an open file. Raises OSError."""
        import msvcrt
        import socket
        import subprocess

        mine, its = socket.socketpair()
        read, write = os.pipe()
        handed = [its.fileno(), msvcrt.get_osfhandle(page)]
        try:
            for handle in handed:
                os.set_handle_inheritable(handle, True)
            process = subprocess.Popen(
                [*program, *map(str, handed), *rest],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=write,
                startupinfo=subprocess.STARTUPINFO(lpAttributeList={"handle_list": handed}),
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
        except BaseException:
            mine.close()
            os.close(read)
            raise
        finally:
            os.set_handle_inheritable(handed[1], False)
            its.close()
            os.close(write)
        _started[process.pid] = process
        return process.pid, mine.detach(), read

    def handed_file(number: int) -> int:
        """A worker's: the descriptor of a file that it was handed."""
        import msvcrt

        return msvcrt.open_osfhandle(number, os.O_RDWR | os.O_BINARY)

    def reap(pid: int) -> int:
        """Wait for a child's end; its exit code, below 0 the signal."""
        process = _started.pop(pid, None)
        return 255 if process is None else process.wait()

    def start_apart(argv: Sequence[str], env: Mapping[str, str], ready: int) -> subprocess.Popen[bytes]:
        """Run `argv --ready-fd FD` as if no particular terminal had done it. `ready`, a pipe's end, is its standard
        output there: only that is handed on without more. Raises OSError."""
        import subprocess

        return subprocess.Popen(
            [*argv, "--ready-fd", "1"],
            stdin=subprocess.DEVNULL,
            stdout=ready,
            stderr=subprocess.DEVNULL,
            cwd=os.path.expanduser("~"),
            env=env,
            creationflags=subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP,
        )

    def read_within(fd: int, seconds: float) -> bytes | None:
        """What a pipe has to say; None where it says nothing in that time. Only sockets can be waited for there."""
        import threading

        said: list[bytes] = []
        reading = threading.Thread(target=lambda: said.append(os.read(fd, 4096)), daemon=True)
        reading.start()
        reading.join(seconds)
        return said[0] if said else None

else:

    def start_worker(program: Sequence[str], rest: Sequence[str], env: Mapping[str, str], page: int) -> Ends:
        """Run `program SOCKET PAGE rest…`; the page is an open file. Raises OSError."""
        mine, its = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        fds = [mine.detach(), its.detach(), *os.pipe()]
        try:
            pid = _spawn([*program, str(fds[1]), str(page), *rest], env, (fds[1], page), fds[3])
        except BaseException:
            os.close(fds[0])
            os.close(fds[2])
            raise
        finally:
            os.close(fds[1])
            os.close(fds[3])
        return pid, fds[0], fds[2]

    def _spawn(argv: list[str], env: Mapping[str, str], handed: tuple[int, int], stderr: int) -> int:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, stderr, 2),
        ]
        for fd in handed:
            os.set_inheritable(fd, True)
        try:
            return os.posix_spawn(argv[0], argv, env, file_actions=actions)
        finally:
            os.set_inheritable(handed[1], False)

    def handed_file(number: int) -> int:
        """A worker's: the descriptor of a file that it was handed."""
        return number

    def reap(pid: int) -> int:
        """Wait for a child's end; its exit code, below 0 the signal."""
        try:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except ChildProcessError:  # another part of the process has waited for all children
            return 255

    def start_apart(argv: Sequence[str], env: Mapping[str, str], ready: int) -> subprocess.Popen[bytes]:
        """Run `argv --ready-fd FD` as if no particular shell had done it: in a session of its own, in `/`. `ready` is a
        pipe's end. Raises OSError."""
        import subprocess

        return subprocess.Popen(
            [*argv, "--ready-fd", str(ready)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=env,
            umask=0o077,
            start_new_session=True,
            pass_fds=[ready],
        )

    def read_within(fd: int, seconds: float) -> bytes | None:
        """What a pipe has to say; None where it says nothing in that time."""
        import select

        return os.read(fd, 4096) if select.select([fd], [], [], seconds)[0] else None


def exit_descriptor(pid: int) -> int | None:
    """A descriptor that becomes readable when the process has ended; None where the system has no such descriptors, or
    no such process."""
    if sys.platform == "linux":
        try:
            return os.pidfd_open(pid) if pid > 0 else None
        except (AttributeError, OSError):  # a Python that was built for an old kernel lacks it, as conda's does
            return None
    return None
