"""A worker's backend with the options of config.toml, on the CPU that every machine has."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.backends import tiny
from tests.backends.harness import Loaded, greedy
from threadrunner import machine
from threadrunner.api.errors import ModelLoadFailed
from threadrunner.backends import drafting, hardware
from threadrunner.backends.base import Hardware, ModelSpec
from threadrunner.engine.llama import devices, model, tensors
from threadrunner.engine.llama.attention import Attention
from threadrunner.engine.llama.devices import Device
from threadrunner.engine.llama.errors import LoadError
from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.model import Where
from threadrunner.engine.offload import Placement

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose head is a whole block of every cache type."""
    heads = {"attention.head_count": 1, "attention.head_count_kv": 1, "rope.dimension_count": 32}
    return tiny.llama(tmp_path_factory.mktemp("hardware") / "whole.gguf", **heads)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Device]]:
    """Two GPUs that only the placement sees."""
    there = [Device(f"GPU{n}", "a card", devices.GPU, 600 * MIB, 700 * MIB, 0) for n in range(2)]
    monkeypatch.setattr(devices, "devices", lambda: there)
    yield there


def spec(path: Path, **options: Any) -> ModelSpec:
    return ModelSpec(name="test", path=str(path), hardware=Hardware(**options))


class TestCacheTypes:
    def test_q8_0_takes_half_of_f16_in_status_and_in_llama(self, whole: Path) -> None:
        sizes = {}
        for kind in ("f16", "q8_0"):
            with Loaded(whole, hardware=Hardware(cache_type_k=kind, cache_type_v=kind)) as loaded:
                assert loaded.ask(greedy("abc", max_tokens=100)).text
                facts = loaded.facts.facts
                assert facts["cache_type_k"] == kind
                sizes[kind] = (facts["cache_bytes"] / facts["max_cells"], state_bytes(loaded))
        assert sizes["f16"][0] == 2 * 32 * 2
        assert sizes["q8_0"][0] == 2 * 34
        assert sizes["q8_0"][1] < 0.6 * sizes["f16"][1]

    def test_one_that_does_not_divide_the_model_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(ModelLoadFailed, match="q8_0 with block size 32 does not divide"):
            Loaded(tiny.llama(tmp_path / "m.gguf"), hardware=Hardware(cache_type_k="q8_0"))

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"cache_type_k": "q9"}, "'q9': use one of f32, f16"),
            ({"cache_type_v": "q8_0", "flash_attention": "off"}, "needs flash attention; turn it on, or use f16"),
            ({"flash_attention": "maybe"}, "'maybe': use one of auto, off, on"),
            ({"numa": "both"}, "'both': use one of off, distribute"),
            ({"gpu_layers": "all"}, "gpu_layers is all, but this build of llama.cpp sees no GPU"),
            ({"devices": ["CUDA7"]}, "no GPU is named 'CUDA7'; there is none: this build"),
        ],
    )
    def test_what_cannot_be_had_is_an_error_that_says_what_can(
        self, whole: Path, options: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(ModelLoadFailed, match=says):
            Loaded(whole, hardware=Hardware(**options))


def state_bytes(loaded: Loaded) -> int:
    """What llama.cpp itself needs for the cells of the one sequence that there is."""
    return int(llama_cpp.llama_state_seq_get_size(loaded.engine.context.handle, 0))


def test_prompts_have_threads_of_their_own(whole: Path) -> None:
    with Loaded(whole, threads=1, hardware=Hardware(threads_batch=2)) as loaded:
        assert (loaded.facts.facts["threads"], loaded.facts.facts["threads_batch"]) == (1, 2)
        handle = loaded.engine.context.handle
        assert (llama_cpp.llama_n_threads(handle), llama_cpp.llama_n_threads_batch(handle)) == (1, 2)


def test_on_the_cpu_a_batch_can_be_stopped(whole: Path) -> None:
    with Loaded(whole) as loaded:
        assert loaded.engine.context.abortable
        assert loaded.engine.scheduler.abortable
        assert loaded.facts.facts["gpu"] == "no GPU is used: this build sees none"


_WITHOUT_THE_RIGHT = """
import ctypes, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
libc = ctypes.CDLL(None)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
assert libc.capset(header, (ctypes.c_uint32 * 6)()) == 0  # root may lock without a limit
from tests.backends.harness import Loaded, greedy
from threadrunner.backends.base import Hardware
with Loaded(Path(sys.argv[1]), hardware=Hardware(mlock=True)) as loaded:
    assert loaded.ask(greedy("abc")).text
    print(loaded.facts.facts["warnings"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="capset is Linux'")
def test_memory_that_may_not_be_locked_is_a_warning(whole: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_THE_RIGHT, str(whole)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "failed to mlock" in done.stdout


class TestLayout:
    def test_the_bytes_of_the_parts_are_the_model(self, whole: Path) -> None:
        layout = tensors.read(str(whole))
        assert (len(layout.layers), layout.trained, layout.n_embd) == (1, tiny.CONTEXT, tiny.WIDTH)
        assert layout.cell_bytes(1, 1) == 2 * 32 * 2
        with Loaded(whole) as loaded:
            weights = loaded.backend.loaded.model.size_bytes
            assert loaded.backend.loaded.model.cell_bytes() == layout.cell_bytes(1, 1)
        tied = layout.input  # no output of its own: the embeddings are counted where logits are made, too
        assert layout.layers[0].dense + layout.output + layout.input - tied == weights

    def test_what_is_no_model_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "x.gguf").write_bytes(b"GGUF")
        with pytest.raises(LoadError, match="the header of"):
            tensors.read(str(tmp_path / "x.gguf"))


class TestAttempts:
    def test_the_last_one_is_the_cpu(self, whole: Path, gpu: list[Device]) -> None:
        tries = list(hardware.attempts(spec(whole), 256))
        assert [attempt.where.gpu_layers for attempt in tries] == [2, 0]
        assert [attempt.last for attempt in tries] == [False, True]
        assert [device.name for device in tries[0].where.devices] == ["GPU0"], "the other would lose memory for nothing"

    def test_a_number_has_one_attempt(self, whole: Path, gpu: list[Device]) -> None:
        (only,) = hardware.attempts(spec(whole, gpu_layers="1", devices=["gpu1"]), 256)
        assert only.last
        assert [device.name for device in only.where.devices] == ["GPU1"]

    def test_no_layers_asks_no_driver(self, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "devices", lambda: pytest.fail("asked"))
        (only,) = hardware.attempts(spec(whole, gpu_layers="0"), 256)
        assert not only.where.devices

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"main_gpu": 2}, "main_gpu is 2, and there is no such GPU: 0 is GPU0, 1 is GPU1; or -1"),
            ({"tensor_split": [1.0]}, "tensor_split has 1 parts, and the GPUs are GPU0, GPU1: a part for each"),
            ({"devices": ["GPU1", "GPU9"]}, "no GPU is named 'GPU9'; there is GPU0, GPU1"),
        ],
    )
    def test_what_this_machine_does_not_have(
        self, whole: Path, gpu: list[Device], options: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(LoadError, match=says):
            next(hardware.attempts(spec(whole, **options), 256))

    def test_a_draft_model_is_on_the_first_gpu_as_a_whole_and_its_room_is_kept(
        self, whole: Path, tmp_path: Path, gpu: list[Device]
    ) -> None:
        draft = tiny.untied(tmp_path / "draft.gguf")
        both = msgspec.structs.replace(spec(whole), draft_path=str(draft))
        tries = list(hardware.attempts(both, 256))
        assert [drafting._where(both, attempt) for attempt in (tries[0], tries[-1])] == [
            Where(2, (gpu[0],), (2,)),
            Where(),
        ]
        assert hardware._draft_bytes(both, 256) > draft.stat().st_size / 2
        off = msgspec.structs.replace(both, hardware=Hardware(drafts="off"))
        assert hardware._draft_bytes(off, 256) == hardware._draft_bytes(spec(whole), 256) == 0
        full = [gpu[0]._replace(free=hardware.MARGIN + hardware._draft_bytes(both, 256))]
        gpu[:] = full
        assert next(hardware.attempts(spec(whole), 256)).where.devices
        assert not next(hardware.attempts(both, 256)).where.devices

    def test_the_main_gpu_alone(self, whole: Path, gpu: list[Device]) -> None:
        first = next(hardware.attempts(spec(whole, main_gpu=1), 256))
        assert [device.name for device in first.where.devices] == ["GPU1"]


class TestMemory:
    """Half the cache on one GPU, a quarter on another, the rest with the CPU."""

    ATTEMPT = hardware.Attempt(
        Placement("", 8, by_device=(5, 3), device_bytes=(60 * MIB, 40 * MIB), cache_shares=(0.5, 0.25)),
        Where(8, (Device("A", "", devices.GPU, 900, 999, 0), Device("B", "", devices.GPU, 900, 999, 0)), (5, 3)),
        Attention(),
        cache_bytes=40 * MIB,
    )

    @pytest.mark.parametrize(
        ("free", "available", "bound"), [((100, 300), 900, 200), ((900, 100), 900, 400), ((900, 900), 90, 360)]
    )
    def test_a_cache_is_bounded_by_the_device_with_the_least_for_its_part(
        self, monkeypatch: pytest.MonkeyPatch, free: tuple[int, int], available: int, bound: int
    ) -> None:
        now = [device._replace(free=size) for device, size in zip(self.ATTEMPT.where.devices, free, strict=True)]
        monkeypatch.setattr(devices, "refreshed", lambda _: now)
        monkeypatch.setattr(machine, "available_memory", lambda: available)
        assert self.ATTEMPT.free_for_cache() == bound

    def test_weights_on_gpus_are_not_in_memory(self, whole: Path) -> None:
        with Loaded(whole) as loaded:
            held = loaded.backend.loaded.model
            held.size_bytes = 100 * MIB  # of which 70 are on the GPUs: 100 there, 30 of them the cache
            assert self.ATTEMPT.in_memory(held) == 30 * MIB

    def test_what_each_gpu_lost_is_the_models_and_where_the_driver_keeps_no_count_what_was_planned(
        self, whole: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = self.ATTEMPT.where.devices
        with Loaded(whole) as loaded:
            monkeypatch.setattr(devices, "refreshed", lambda _: [first._replace(free=650), second])
            taken = self.ATTEMPT.facts(loaded.backend.loaded.model)["devices"]
        assert [device["model_bytes"] for device in taken] == [250, 35 * MIB]


def test_experts_are_sent_to_the_cpu_by_the_names_of_their_tensors() -> None:
    params = llama_cpp.llama_model_default_params()
    kept = model._send_to(params, model.Where(cpu_moe=2))
    overrides = ctypes.cast(params.tensor_buft_overrides, ctypes.POINTER(model._Override))
    assert [overrides[i].pattern for i in range(3)] == [
        rb"blk\.0\.ffn_(up|down|gate|gate_up)_(ch|)exps", rb"blk\.1\.ffn_(up|down|gate|gate_up)_(ch|)exps", None,
    ]  # fmt: skip
    assert overrides[0].buffer_type
    assert kept
