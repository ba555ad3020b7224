"""What a worker gives up, since it runs native code on files that others have made (docs/models.md has the reasons).

Nothing here is needed for a good model, so nothing fails where a system cannot do it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import signal
import sys

from threadrunner.system import limits, signals
from threadrunner.worker import landlock

log = logging.getLogger("threadrunner.worker.confine")

_SYSTEM = ("/etc", "/usr", "/lib", "/lib64", "/run/systemd/resolve", "/run/resolvconf", "/nix/store")
"""Where names, certificates and libraries are."""

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC = 1, 1
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 1  # with EPERM, so that a refused caller can go on
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # classic BPF
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # in struct seccomp_data
_X32 = 0x40000000  # the same system calls again, under other numbers

# By machine: its number in the kernel's audit interface, seccomp's own, and what is refused: making sockets, running
# programs, looking into other processes, and the ways around a filter.
_MACHINES = {
    "x86_64": (
        0xC000003E,
        317,
        {"socket": 41, "execve": 59, "execveat": 322, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
         "io_uring_setup": 425, "bpf": 321, "unshare": 272},
    ),
    "aarch64": (
        0xC00000B7,
        277,
        {"socket": 198, "execve": 221, "execveat": 281, "ptrace": 117, "process_vm_readv": 270,
         "process_vm_writev": 271, "io_uring_setup": 425, "bpf": 280, "unshare": 97},
    ),
}  # fmt: skip


class _Instruction(ctypes.Structure):
    """struct sock_filter: what to do, how many instructions to skip if it holds and if not, an operand."""

    _fields_ = (
        ("code", ctypes.c_ushort),
        ("then", ctypes.c_ubyte),
        ("otherwise", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


def at_start() -> None:
    """Die with the daemon, leave no core file with prompts in it, gain no privileges, ignore the terminal's Ctrl-C and
    its end: the daemon decides what ends us."""
    signals.leave_to_the_daemon()
    limits.no_core_file()
    if sys.platform != "linux":
        return
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def before_load(cache_bytes: int) -> None:
    """Our own backends are imported by now: from here on no network, no other programs, no file beyond the cache's.

    Python ignores SIGXFSZ, so a write past the limit is an error like a full disk's.
    """
    limit = 2 * cache_bytes + (64 << 20)
    limits.file_size(limit)
    if sys.platform == "linux" and platform.machine() in _MACHINES:
        _filter_calls(*_MACHINES[platform.machine()])


def before_asking() -> None:
    """For the backend that asks other machines: the network stays, no program, no byte in any file, and of files only
    those of the system and of Python can be read, which names and certificates need."""
    limits.file_size(0)
    if sys.platform != "linux":
        return
    # In a container or under WSL it leads to a place that no list would have.
    resolver = os.path.dirname(os.path.realpath("/etc/resolv.conf"))
    landlock.read_only(
        [*_SYSTEM, resolver, sys.prefix, sys.base_prefix, *(path for path in sys.path if os.path.isabs(path))]
    )
    if platform.machine() in _MACHINES:
        architecture, seccomp, refused = _MACHINES[platform.machine()]
        _filter_calls(architecture, seccomp, {name: n for name, n in refused.items() if name != "socket"})


def _filter_calls(architecture: int, seccomp: int, refused: dict[str, int]) -> None:
    """For all threads that there are and will be."""
    numbers = sorted(refused.values())
    checks = [
        _Instruction(_LOAD, 0, 0, _ARCHITECTURE_AT),
        _Instruction(_IF_EQUAL, 0, len(numbers) + 3, architecture),  # else refuse
        _Instruction(_LOAD, 0, 0, _NUMBER_AT),
        _Instruction(_IF_AT_LEAST, len(numbers) + 1, 0, _X32),
        *(_Instruction(_IF_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)),
        _Instruction(_RETURN, 0, 0, _ALLOW),
        _Instruction(_RETURN, 0, 0, _REFUSE),
    ]
    instructions = (_Instruction * len(checks))(*checks)
    program = _Program(len(checks), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(
        ctypes.c_long(seccomp),
        ctypes.c_ulong(_SECCOMP_SET_MODE_FILTER),
        ctypes.c_ulong(_SECCOMP_FILTER_FLAG_TSYNC),
        ctypes.byref(program),
    ):
        log.info("no seccomp filter: errno %d", ctypes.get_errno())
