"""Which layers of a model the GPUs get, and which of their experts stay on the CPU. Pure: it is told sizes in bytes.

llama.cpp gives GPUs the last layers, in order, the output after them counted as one more. Of a model with experts most
of the bytes are experts, few of which each token uses: on the CPU they cost the least, so they are the first to stay
there (llama.cpp's --n-cpu-moe); only then do whole layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

AUTO, ALL = "auto", "all"


@dataclass(frozen=True, slots=True)
class LayerBytes:
    dense: int
    experts: int = 0
    cache: int = 0
    """Its part of the KV cache."""

    def on_device(self, with_experts: bool) -> int:
        return self.dense + self.cache + (self.experts if with_experts else 0)


@dataclass(frozen=True, slots=True)
class Room:
    """A device that may be used."""

    name: str
    free: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the options say."""

    layers: str = AUTO
    """AUTO, ALL, or a number."""
    cpu_moe: str = AUTO
    """Layers, from the first, whose experts stay on the CPU: AUTO, ALL, or a number."""
    split: tuple[float, ...] = ()
    """Proportions of the layers, a device each; empty: the first device is filled first."""


@dataclass(frozen=True, slots=True)
class Placement:
    """`reason` is for people."""

    reason: str
    gpu_layers: int = 0
    """As llama.cpp counts: from the last, the output included."""
    cpu_moe: int = 0
    """Layers, from the first, whose experts stay on the CPU."""
    by_device: tuple[int, ...] = ()
    """Of these layers, how many each device has."""
    device_bytes: tuple[int, ...] = ()
    """Expected in each, without compute buffers."""
    cache_shares: tuple[float, ...] = ()
    """Of the KV cache, the part that is in each device; the rest is in the machine's memory."""

    @property
    def on_cpu(self) -> bool:
        return self.gpu_layers == 0


def place(layers: Sequence[LayerBytes], output: int, rooms: Sequence[Room], wish: Wish, reserve: int) -> Placement:
    """`output` is the bytes after the last layer, `reserve` those that each device keeps free for all else.

    AUTO gives the GPUs as many layers as fit; a number is taken as it is, and may fail when it is loaded.
    """
    if not rooms:
        return Placement("no GPU is used: " + ("as asked" if wish.layers == "0" else "this build sees none"))
    rooms = [Room(room.name, max(0, room.free - reserve)) for room in rooms]
    units = [*layers, LayerBytes(output)]
    most = len(units) if wish.layers in (AUTO, ALL) else min(int(wish.layers), len(units))
    for moe in _experts_to_try(layers, wish.cpu_moe):
        if (counts := _pack(units, most, moe, rooms, wish.split)) is not None:
            return _placed(units, moe, counts, rooms)
    moe = [*_experts_to_try(layers, wish.cpu_moe)][-1]
    if wish.layers == AUTO:
        for number in range(most - 1, 0, -1):
            if (counts := _pack(units, number, moe, rooms, wish.split)) is not None:
                return _placed(units, moe, counts, rooms)
        return Placement(f"no GPU is used: not one layer fits into {_free(rooms)} beside what must stay free")
    counts = _divided(most, wish.split or [room.free or 1 for room in rooms])
    return _placed(units, moe, counts, rooms, " as asked, though they may not fit")


def _experts_to_try(layers: Sequence[LayerBytes], asked: str) -> list[int]:
    """Numbers of layers whose experts stay on the CPU, the best one first."""
    if asked == ALL:
        return [len(layers)]
    if asked != AUTO:
        return [min(int(asked), len(layers))]
    return list(range(len(layers) + 1)) if any(layer.experts for layer in layers) else [0]


def _pack(
    units: Sequence[LayerBytes], number: int, moe: int, rooms: Sequence[Room], split: Sequence[float]
) -> tuple[int, ...] | None:
    """How many of the last `number` units each device takes; None where they do not fit."""
    first = len(units) - number
    costs = [unit.on_device(at >= moe) for at, unit in enumerate(units)][first:]
    if split:
        counts = _divided(number, split)
        ends = list(itertools.accumulate(counts, initial=0))
        loads = [sum(costs[begin:end]) for begin, end in itertools.pairwise(ends)]
        return counts if all(load <= room.free for load, room in zip(loads, rooms, strict=True)) else None
    found, at = [], 0
    for room in rooms:
        left, begin = room.free, at
        while at < number and costs[at] <= left:
            left -= costs[at]
            at += 1
        found.append(at - begin)
    return tuple(found) if at == number else None


def _divided(number: int, split: Sequence[float]) -> tuple[int, ...]:
    """By proportions, as llama.cpp divides layers."""
    total = sum(split)
    ends = [round(number * part / total) for part in itertools.accumulate(split)]
    return tuple(end - begin for begin, end in itertools.pairwise([0, *ends]))


def _placed(
    units: Sequence[LayerBytes], moe: int, counts: Sequence[int], rooms: Sequence[Room], why: str = ""
) -> Placement:
    number = sum(counts)
    ends = list(itertools.accumulate(counts, initial=len(units) - number))
    parts = [[*enumerate(units)][begin:end] for begin, end in itertools.pairwise(ends)]
    taken = tuple(sum(unit.on_device(at >= moe) for at, unit in part) for part in parts)
    cache = sum(unit.cache for unit in units) or 1
    moe = moe if any(unit.experts for unit in units[:moe]) else 0
    where = ", ".join(
        f"{count} on {room.name} ({_mib(size)} of {_mib(room.free)})"
        for count, size, room in zip(counts, taken, rooms, strict=True)
        if count
    )
    rest = f"; {len(units) - number} on the CPU" if number < len(units) else ""
    experts = f"; the experts of the first {moe} on the CPU" if moe else ""
    return Placement(
        reason=f"{number} of {len(units)} layers{why}: {where}{rest}{experts}"
        if number
        else "no GPU is used: as asked",
        gpu_layers=number,
        cpu_moe=moe,
        by_device=tuple(counts),
        device_bytes=taken,
        cache_shares=tuple(sum(unit.cache for _, unit in part) / cache for part in parts),
    )


def _free(rooms: Sequence[Room]) -> str:
    return " and ".join(f"{_mib(room.free)} of {room.name}" for room in rooms)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
