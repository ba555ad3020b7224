"""What the scripts of this folder share: checks that are run one after the other, each with a line of its own."""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.http.served import Served, serving
from tests.http.test_with_a_model import serving_model

ALIASES = '[aliases]\n"claude-*" = "default"\n'


def on_dummy() -> Iterator[Served]:
    yield from serving(config=ALIASES)


def on_tiny() -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as folder:
        yield from serving_model(Path(folder), context=8192)


def run(servers: Iterator[Served], checks: Sequence[Callable[[Any], None]], client: Callable[[Served], Any]) -> int:
    """How many failed; each is given a client of its own."""
    served = next(servers)
    failed = 0
    try:
        for check in checks:
            try:
                check(client(served))
                print(f"passed  {check.__name__}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED  {check.__name__}\n{traceback.format_exc(limit=-3)}", flush=True)
    finally:
        servers.close()  # type: ignore[attr-defined]
    return failed
