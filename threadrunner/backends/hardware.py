"""Where a model is loaded: its options, the devices that there are and the file's header, made into a placement."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from threadrunner import machine
from threadrunner.backends.base import Hardware, ModelSpec
from threadrunner.engine import offload, sizing
from threadrunner.engine.llama import devices, library, tensors
from threadrunner.engine.llama.attention import Attention
from threadrunner.engine.llama.devices import Device
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.model import F16, Model, Where
from threadrunner.engine.offload import LayerBytes, Placement, Room, Wish

log = logging.getLogger("threadrunner.backends.hardware")

MARGIN = 256 << 20
"""Bytes of a device left to all else: the screen, the driver, other programs."""
_CACHES = 2
"""Memory that must be free for a KV cache, in caches: sizing takes no more than half."""
_FLOATS_A_TOKEN = 32
"""Of a compute buffer, in units of the model's width: what a layer holds at once while it is computed."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to load a model."""

    placement: Placement
    where: Where
    attention: Attention
    cache_bytes: int = 0
    """What the placement keeps for the KV cache: _CACHES times its size."""
    last: bool = True
    """Where it fails, the model cannot be loaded."""

    def free_for_cache(self) -> int | None:
        """Bytes that a KV cache may have, by the device with the least for its part of it; None: not known."""
        shares = self.placement.cache_shares
        rest = 1.0 - sum(shares)
        bounds = [
            int(device.free / share)
            for device, share in zip(devices.refreshed(self.where.devices), shares, strict=True)
            if share > 0 and device.total
        ]
        free = machine.available_memory()
        if free is not None and (rest > 0.001 or not bounds):
            bounds.append(int(free / rest) if rest > 0.001 else free)
        return min(bounds, default=None)

    def in_memory(self, model: Model) -> int:
        """Bytes of the weights that are not in a device."""
        held = sum(
            size - int(share * self.cache_bytes)
            for size, share in zip(self.placement.device_bytes, self.placement.cache_shares, strict=True)
        )
        return max(0, model.size_bytes - held)

    def facts(self, model: Model) -> dict[str, Any]:
        """For `status`: what is where, why, and how much of each device that takes. After the load."""
        spare = self.cache_bytes - self.cache_bytes / _CACHES
        taken = [
            {
                **{key: value for key, value in now._asdict().items() if key in ("name", "description", "kind")},
                "total_bytes": now.total,
                "free_bytes": now.free,
                # a driver that does not keep count says the same as before
                "model_bytes": before.free - now.free if before.free > now.free else expected - int(share * spare),
            }
            for before, now, expected, share in zip(
                self.where.devices,
                devices.refreshed(self.where.devices),
                self.placement.device_bytes,
                self.placement.cache_shares,
                strict=True,
            )
        ]
        return {
            "gpu": self.placement.reason,
            "gpu_layers": self.placement.gpu_layers,
            "cpu_moe": self.placement.cpu_moe,
            "devices": taken,
            "flash_attention": self.attention.flash,
            "cache_type_k": self.attention.type_k,
            "cache_type_v": self.attention.type_v,
            "mlock": self.where.mlock,
            "warnings": model.warnings,
        }


def attempts(spec: ModelSpec, n_ubatch: int) -> Iterator[Attempt]:
    """Ways to load the model, the best one first: where it is left to us how much a GPU gets, what we expect of the
    rest of its memory may be too little, and each attempt leaves more of it free. Raises LoadError."""
    wanted = spec.hardware
    attention = Attention(wanted.flash_attention, wanted.cache_type_k, wanted.cache_type_v)
    _ = attention.types  # an error for those that there are not
    library.start(wanted.numa)
    gpus = _gpus(wanted)
    if not gpus:
        reason = offload.place([], 0, [], Wish(wanted.gpu_layers), 0).reason
        yield Attempt(Placement(reason), Where(mlock=wanted.mlock), attention)
        return
    yield from _on_gpus(spec, gpus, attention, n_ubatch)


def _on_gpus(spec: ModelSpec, gpus: list[Device], attention: Attention, n_ubatch: int) -> Iterator[Attempt]:
    wanted, layout = spec.hardware, tensors.read(spec.path)
    layers = _layers(spec, layout, attention)
    wish = Wish(wanted.gpu_layers, wanted.cpu_moe, tuple(wanted.tensor_split))
    reserve = MARGIN + _compute_bytes(layout, n_ubatch) + _draft_bytes(spec, n_ubatch)
    rooms = [Room(gpu.name, gpu.free) for gpu in gpus]
    auto = wanted.gpu_layers == offload.AUTO
    tried: Placement | None = None
    for more in (1, 2, 4) if auto else (1,):
        placement = offload.place(layers, layout.output, rooms, wish, more * reserve)
        if placement.on_cpu:
            yield Attempt(Placement(placement.reason), Where(mlock=wanted.mlock), attention)
            return
        if tried and (placement.by_device, placement.cpu_moe) == (tried.by_device, tried.cpu_moe):
            continue
        tried = placement
        yield _attempt(placement, gpus, attention, wanted.mlock, sum(layer.cache for layer in layers), not auto)
        if not auto:
            return
    yield Attempt(Placement("no GPU is used: loading failed with it"), Where(mlock=wanted.mlock), attention)


def _compute_bytes(layout: tensors.ModelLayout, n_ubatch: int) -> int:
    return 4 * n_ubatch * (layout.n_vocab + _FLOATS_A_TOKEN * layout.n_embd)


def _draft_bytes(spec: ModelSpec, n_ubatch: int) -> int:
    """What a small model that drafts takes of the GPU that has it (backends/drafting.py), its first cells included."""
    if not spec.draft_path or spec.hardware.drafts == "off":
        return 0
    layout = tensors.read(spec.draft_path)
    weights = layout.output + sum(layer.dense + layer.experts for layer in layout.layers)
    return weights + sizing.FIRST_CELLS * layout.cell_bytes(F16, F16) + _compute_bytes(layout, n_ubatch)


def _attempt(
    placement: Placement, gpus: list[Device], attention: Attention, mlock: bool, cache_bytes: int, last: bool
) -> Attempt:
    """With the devices that get a layer: any other would only lose memory to compute buffers."""
    used = [at for at, count in enumerate(placement.by_device) if count]
    placement = replace(
        placement,
        by_device=tuple(placement.by_device[at] for at in used),
        device_bytes=tuple(placement.device_bytes[at] for at in used),
        cache_shares=tuple(placement.cache_shares[at] for at in used),
    )
    devices = tuple(gpus[at] for at in used)
    where = Where(placement.gpu_layers, devices, placement.by_device, placement.cpu_moe, mlock)
    return Attempt(placement, where, attention, cache_bytes, last)


def _layers(spec: ModelSpec, layout: tensors.ModelLayout, attention: Attention) -> list[LayerBytes]:
    """What each would take, with a cache that nothing bounds."""
    types = attention.types
    cells = 0
    if cell_bytes := layout.cell_bytes(*types):
        wishes = sizing.Wishes(
            asked=spec.context, trained=layout.trained, cell_bytes=cell_bytes, model_bytes=0, free=None, limit=0
        )
        cells = sizing.choose(wishes).cells
    return [
        LayerBytes(layer.dense, layer.experts, _CACHES * cells * layer.cell_bytes(*types)) for layer in layout.layers
    ]


def _gpus(wanted: Hardware) -> list[Device]:
    """The devices to use, none for the CPU alone. Raises LoadError for options that this machine cannot have."""
    if wanted.gpu_layers == "0":
        return []
    gpus = devices.gpus(wanted.devices)
    if not gpus and wanted.gpu_layers != offload.AUTO:
        raise LoadError(
            f"gpu_layers is {wanted.gpu_layers}, but this build of llama.cpp sees no GPU; `threadrunner doctor` says "
            'how to build one that does, or set gpu_layers = "auto"'
        )
    if gpus and wanted.main_gpu >= len(gpus):
        names = ", ".join(f"{number} is {gpu.name}" for number, gpu in enumerate(gpus))
        raise LoadError(f"main_gpu is {wanted.main_gpu}, and there is no such GPU: {names}; or -1 for all")
    if gpus and wanted.tensor_split and len(wanted.tensor_split) != len(gpus):
        names = ", ".join(gpu.name for gpu in gpus)
        raise LoadError(f"tensor_split has {len(wanted.tensor_split)} parts, and the GPUs are {names}: a part for each")
    return gpus[wanted.main_gpu : wanted.main_gpu + 1] if wanted.main_gpu >= 0 else gpus
