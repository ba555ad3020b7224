"""Room for native code that recurses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

STACK = 256 << 20
"""Bytes, of which only those that are used are ever memory. 4,000 parts that lead to one another took up to 36 MB; on 8
MB, a thread's usual size, 800 were the end of the process."""
_SIZE = threading.Lock()
T = TypeVar("T")


def deeply(work: Callable[[], T]) -> T:
    """What `work` returns or raises, on a thread with a large stack."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    with _SIZE:
        usual = threading.stack_size(STACK)
        try:
            thread = threading.Thread(target=run, name="deep", daemon=True)
            thread.start()
        finally:
            threading.stack_size(usual)
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
