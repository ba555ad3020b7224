"""Which files a process may still read, by Linux' Landlock (docs.kernel.org/userspace-api/landlock.html): those beneath
some folders, and none for writing. For the calling thread and those that it starts from then on.

Where the kernel has no Landlock nothing happens: it guards against faults that no one knows of yet.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Callable, Iterable

log = logging.getLogger("threadrunner.worker.landlock")

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on all machines
_VERSION, _PATH_BENEATH = 1, 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_ALL_OF_VERSION_1 = (1 << 13) - 1
_TRUNCATE = 1 << 14  # from version 3 on


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def read_only(folders: Iterable[str]) -> bool:
    """From now on only what is beneath these folders can be opened, to be read. Whether that holds."""
    if sys.platform != "linux":
        return False
    call = ctypes.CDLL(None, use_errno=True).syscall
    version = call(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 1:
        log.info("no Landlock: errno %d", ctypes.get_errno())
        return False
    handled = _Ruleset(_ALL_OF_VERSION_1 | (_TRUNCATE if version >= 3 else 0))
    ruleset = call(_CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(ctypes.sizeof(handled)), 0)
    if ruleset < 0:
        return False
    try:
        for folder in folders:
            _allow(call, ruleset, folder)
        return bool(call(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(call: Callable[..., int], ruleset: int, folder: str) -> None:
    if sys.platform != "linux":
        return
    try:
        fd = os.open(folder, os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
    except OSError:  # it is not on this system
        return
    try:
        call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(_Beneath(_READ_FILE | _READ_DIR, fd)), 0)
    finally:
        os.close(fd)
