"""A larger model that says the same: for a measurement of `draft_model` where no pair of one family is at hand.

    python tests/bench/deeper.py SMALL.gguf LARGE.gguf TIMES
    python tests/bench/engine_speculation.py LARGE.gguf --draft SMALL.gguf

The layers are there TIMES over. What the further ones add to the sum that runs through them is multiplied by zero,
so that the text is the small model's and each of its guesses comes true: what a draft model gains at most.
"""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path
from typing import NamedTuple

WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
TEXT, LIST, ALIGNMENT = 8, 9, 32
LAYER = re.compile(r"blk\.(\d+)\.(.*)")
ENDS_A_LAYER = ("attn_output.weight", "ffn_down.weight")


class Weights(NamedTuple):
    name: str
    form: bytes
    """Dimensions and type, as the file has them."""
    data: bytes


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return int(value)

    def text(self) -> str:
        size = self.number("<Q")
        self.at += size
        return self.data[self.at - size : self.at].decode("utf-8", "replace")

    def skip(self, kind: int) -> None:
        if kind == TEXT:
            self.text()
        elif kind == LIST:
            inner, count = self.number("<I"), self.number("<Q")
            for _ in range(count):
                self.skip(inner)
        else:
            self.at += WIDTHS[kind]


def read(data: bytes) -> tuple[bytearray, int, list[Weights]]:
    """The keys as they are, the place of block_count's value among them, and the weights."""
    file = Reader(data)
    file.at = 8
    tensors, keys = file.number("<Q"), file.number("<Q")
    begin, place = file.at, 0
    for _ in range(keys):
        name, kind = file.text(), file.number("<I")
        if name.endswith(".block_count"):
            place = file.at - begin
        assert name != "general.alignment", "another alignment than 32"
        file.skip(kind)
    values = bytearray(data[begin : file.at])
    found = []
    for _ in range(tensors):
        name, start = file.text(), file.at
        file.at += 8 * struct.unpack_from("<I", data, file.at)[0] + 8
        form = data[start : file.at]
        found.append((name, form, file.number("<Q")))
    first = -(-file.at // ALIGNMENT) * ALIGNMENT
    ends = [offset for _, _, offset in found[1:]] + [len(data) - first]
    return (
        values,
        place,
        [
            Weights(name, form, data[first + offset : first + end])
            for (name, form, offset), end in zip(found, ends, strict=True)
        ],
    )


def deeper(weights: list[Weights], layers: int, times: int) -> list[Weights]:
    more = []
    for name, form, data in weights:
        if layer := LAYER.match(name):
            for again in range(1, times):
                zero = layer[2] in ENDS_A_LAYER
                more.append(
                    Weights(
                        f"blk.{int(layer[1]) + again * layers}.{layer[2]}", form, bytes(len(data)) if zero else data
                    )
                )
    return [*weights, *more]


def main(source: str, target: str, times: str) -> None:
    data = Path(source).read_bytes()
    values, place, weights = read(data)
    (layers,) = struct.unpack_from("<I", values, place)
    struct.pack_into("<I", values, place, layers * int(times))
    weights = deeper(weights, layers, int(times))
    keys = data[16:24]
    head = data[:8] + struct.pack("<Q", len(weights)) + keys + values
    offset = 0
    for name, form, content in weights:
        head += struct.pack("<Q", len(name)) + name.encode() + form + struct.pack("<Q", offset)
        offset += -(-len(content) // ALIGNMENT) * ALIGNMENT
    with open(target, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT))
        for _, _, content in weights:
            file.write(content + bytes(-len(content) % ALIGNMENT))


if __name__ == "__main__":
    main(*sys.argv[1:4])
