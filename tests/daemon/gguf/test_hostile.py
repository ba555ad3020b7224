"""A corpus of damaged copies of a real model: each is refused by the check, or ends in a real worker with a clear error
or a working model. The daemon lives through all of it.

Every number in the header gets a wrong value; the file is cut at random places; random bits of the header are turned.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import pytest

from tests.daemon.gguf.ggufs import Field, fields
from tests.support import Daemon, Wire, running, wait_for_exit
from threadrunner.api.errors import ModelLoadFailed
from threadrunner.daemon.gguf.check import check_gguf

SEED = 20_240_229
CUTS = 40
FLIPS = 12
LANES = 2
CLEAR = {"works", "ModelLoadFailed", "WorkerCrashed"}


class Case(NamedTuple):
    name: str
    at: int
    data: bytes
    cut: int | None = None
    """The file ends there."""


def cases(model: Path, chance: random.Random) -> Iterator[Case]:
    numbers, end = fields(model)
    size = model.stat().st_size
    with model.open("rb") as file:
        header = file.read(end)
    for field in numbers:
        before = header[field.at : field.at + field.width]
        for value in chance.sample(sorted(wrong(field, before, chance)), tries(field, chance)):
            yield Case(f"{field.name} {before.hex()} -> {value.hex()}", field.at, value)
    for _ in range(CUTS):
        cut = chance.choice([chance.randrange(end), chance.randrange(size)])
        yield Case(f"cut at {cut}", 0, b"", cut)
    for _ in range(FLIPS):
        at, bit = chance.randrange(end), chance.randrange(8)
        yield Case(f"bit {bit} of byte {at} turned", at, bytes([header[at] ^ 1 << bit]))


def tries(field: Field, chance: random.Random) -> int:
    """How many wrong values a field gets. What the format leaves free goes to a worker, which takes a second each."""
    if field.name.endswith("first letter"):
        return chance.random() < 0.015
    return 1 if field.name.startswith("tensor ") or field.name.endswith("value") else 3


def wrong(field: Field, before: bytes, chance: random.Random) -> set[bytes]:
    """Values that a fuzzer or an attacker would try."""
    bits, now = 8 * field.width, int.from_bytes(before, "little")
    values = {0, 1, now - 1, now + 1, now * 2, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1, 2 ** (bits // 2)}
    values |= {now ^ 1 << chance.randrange(bits), chance.randrange(2**bits)}
    return {(value % 2**bits).to_bytes(field.width, "little") for value in values} - {before}


class Scratch:
    """A copy of the model in which one case after the other is tried and undone. `whole` has the tensors' data too."""

    def __init__(self, model: Path, place: Path, whole: bool) -> None:
        self.path = place
        self._size = model.stat().st_size
        with model.open("rb") as source, place.open("wb") as copy:
            self._head = source.read(fields(model)[1])
            copy.write(self._head)
            while whole and (block := source.read(1 << 22)):
                copy.write(block)
            copy.truncate(self._size)  # without the data, a hole: the check never looks there
        self._fd = os.open(place, os.O_WRONLY)

    def damage(self, case: Case) -> None:
        os.pwrite(self._fd, case.data, case.at)
        if case.cut is not None:
            os.truncate(self.path, case.cut)

    def mend(self, case: Case) -> None:
        if case.cut is None:
            os.pwrite(self._fd, self._head[case.at : case.at + len(case.data)], case.at)
        else:
            os.pwrite(self._fd, self._head, 0)
            os.truncate(self.path, self._size)

    def close(self) -> None:
        os.close(self._fd)
        self.path.unlink()


@pytest.fixture(scope="module")
def corpus(smollm2: Path) -> list[Case]:
    return list(cases(smollm2, random.Random(SEED)))


@pytest.fixture(scope="module")
def passed(corpus: list[Case], smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Those that the check lets through."""
    scratch = Scratch(smollm2, tmp_path_factory.mktemp("damaged") / "model.gguf", whole=False)
    through = []
    for case in corpus:
        scratch.damage(case)
        try:
            check_gguf(str(scratch.path))
            through.append(case)
        except ModelLoadFailed as error:
            assert str(scratch.path) in error.message, case
            assert "fetch it again" in error.message, case
        scratch.mend(case)
    check_gguf(str(scratch.path))  # it was undone each time
    scratch.close()
    return through


def test_the_check_refuses_most(corpus: list[Case], passed: list[Case]) -> None:
    assert len(corpus) >= 1000
    assert len(passed) < len(corpus) // 20


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    yield from running(
        THREADRUNNER_BACKEND="llama", THREADRUNNER_CONTEXT="256", THREADRUNNER_THREADS="1", THREADRUNNER_LOG="warning"
    )


def test_the_others_end_in_a_worker(
    passed: list[Case], daemon: Daemon, smollm2: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each by itself in a real worker: the answer is a text, or an error that says what it was."""
    left: SimpleQueue[Case | None] = SimpleQueue()
    for case in passed:
        left.put(case)
    ends: dict[Case, str] = {}
    folder = tmp_path_factory.mktemp("through")

    def lane(number: int) -> None:
        scratch = Scratch(smollm2, folder / f"model-{number}.gguf", whole=True)
        with Wire(daemon.socket) as wire:
            while not left.empty():
                case = left.get()
                scratch.damage(case)
                ends[case] = end(wire, scratch.path)
                scratch.mend(case)
            assert end(wire, scratch.path) == "works", "a healthy file heals it"
        scratch.close()

    with ThreadPoolExecutor(LANES) as pool:
        for done in [pool.submit(lane, number) for number in range(LANES)]:
            done.result()
    assert len(ends) == len(passed)
    assert set(ends.values()) <= CLEAR, {case.name: how for case, how in ends.items() if how not in CLEAR}
    assert daemon.wire().call("status")["pid"] == daemon.pid


def end(wire: Wire, path: Path) -> str:
    """How a prompt to that file ends; its worker has gone afterwards."""
    response, _ = wire.until(
        wire.begin("generate", model=str(path), prompt="Hi", raw=True, max_tokens=1, keep_alive=0, stream=False)
    )
    for model in wire.call("status")["models"]:
        if model["path"] == str(path) and model["pid"]:
            wait_for_exit(model["pid"])
    if "result" in response:
        return "works"
    assert response["error"]["message"]
    return str(response["error"]["data"]["kind"])
