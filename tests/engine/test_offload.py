"""Which layers go to which GPU, decided without one."""

from __future__ import annotations

import pytest

from threadrunner.engine.offload import LayerBytes, Placement, Room, Wish, place

MIB = 1 << 20
DENSE = [LayerBytes(dense=100 * MIB, cache=10 * MIB)] * 10
EXPERTS = [LayerBytes(dense=20 * MIB, experts=100 * MIB, cache=10 * MIB)] * 10
OUTPUT = 50 * MIB


def on(model: list[LayerBytes], *free: int, reserve: int = 0, **wish: object) -> Placement:
    """A placement on GPUs with so many MiB."""
    rooms = [Room(f"GPU{number}", size * MIB) for number, size in enumerate(free)]
    return place(model, OUTPUT, rooms, Wish(**wish), reserve * MIB)


def test_all_where_all_fit_to_the_last_byte() -> None:
    got = on(DENSE, 1150)
    assert (got.gpu_layers, got.cpu_moe, got.device_bytes) == (11, 0, (1150 * MIB,))
    assert got.cache_shares == (1.0,)
    assert got.reason == "11 of 11 layers: 11 on GPU0 (1,150 MiB of 1,150 MiB)"


def test_the_last_layers_that_fit_and_the_output_first() -> None:
    got = on(DENSE, 1149)
    assert (got.gpu_layers, got.device_bytes) == (10, (1040 * MIB,))
    assert got.reason.endswith("; 1 on the CPU")
    assert on(DENSE, 50).gpu_layers == 1
    assert on(DENSE, 160).cache_shares == (0.1,)


def test_what_must_stay_free_is_not_given_away() -> None:
    assert on(DENSE, 1150, reserve=200).gpu_layers == 9
    assert on(DENSE, 1150, reserve=2000).on_cpu


def test_no_room_for_one_layer_is_the_cpu_and_says_what_is_free() -> None:
    got = on(DENSE, 49)
    assert got.on_cpu
    assert "49 MiB of GPU0" in got.reason


def test_experts_stay_on_the_cpu_before_layers_do() -> None:
    assert on(EXPERTS, 1350).cpu_moe == 0
    got = on(EXPERTS, 1000)
    assert (got.gpu_layers, got.cpu_moe, got.device_bytes) == (11, 4, (950 * MIB,))
    assert got.reason.endswith("; the experts of the first 4 on the CPU")
    assert (on(EXPERTS, 350).gpu_layers, on(EXPERTS, 350).cpu_moe) == (11, 10)
    assert (on(EXPERTS, 300).gpu_layers, on(EXPERTS, 300).cpu_moe) == (9, 10)


def test_experts_as_asked() -> None:
    assert on(EXPERTS, 9000, cpu_moe="all").cpu_moe == 10
    assert on(EXPERTS, 9000, cpu_moe="3").device_bytes == ((350 + 700) * MIB,)
    assert on(DENSE, 9000, cpu_moe="all").cpu_moe == 0, "there is none to keep"
    assert on(EXPERTS, 9000, cpu_moe="99").cpu_moe == 10


def test_a_number_is_taken_as_it_is_even_where_it_may_not_fit() -> None:
    assert on(DENSE, 9000, layers="4").gpu_layers == 4
    assert on(DENSE, 9000, layers="99").gpu_layers == 11
    assert on(DENSE, 9000, layers="0").on_cpu
    got = on(DENSE, 100, layers="all")
    assert got.gpu_layers == 11
    assert "as asked, though they may not fit" in got.reason


def test_the_first_gpu_is_filled_before_the_second() -> None:
    got = on(DENSE, 500, 9000)
    assert got.by_device == (4, 7)
    assert got.device_bytes == (440 * MIB, 710 * MIB)
    assert got.cache_shares == (0.4, 0.6)
    assert on(DENSE, 9000, 9000).by_device == (11, 0)


@pytest.mark.parametrize(("split", "counts"), [((1.0, 1.0), (6, 5)), ((3.0, 1.0), (8, 3)), ((0.0, 1.0), (0, 11))])
def test_proportions_as_asked(split: tuple[float, ...], counts: tuple[int, ...]) -> None:
    assert on(DENSE, 2000, 2000, split=split).by_device == counts


def test_proportions_that_do_not_fit_leave_layers_on_the_cpu() -> None:
    got = on(DENSE, 300, 2000, split=(1.0, 1.0))
    assert got.by_device == (2, 3)
    assert got.gpu_layers == 5


def test_without_a_gpu_the_reason_says_why() -> None:
    assert on(DENSE).reason == "no GPU is used: this build sees none"
    assert on(DENSE, layers="0").reason == "no GPU is used: as asked"
