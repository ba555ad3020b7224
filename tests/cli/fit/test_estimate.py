"""What fits, how fast it is expected to be, and which three are proposed: pure."""

from __future__ import annotations

from typing import Any

import pytest

from threadrunner import catalog_settings
from threadrunner.cli.commands.models import PURPOSES
from threadrunner.cli.config_file import with_option
from threadrunner.cli.fit import estimate, gpus, proposals
from threadrunner.cli.fit.estimate import Gpu, Machine
from threadrunner.daemon.models.known import known

GB = 1 << 30
CPU = Machine(32 * GB, 25e9)


def model(name: str, size: float, rank: int, does: tuple[str, ...] = ("chat",), **more: Any) -> dict[str, Any]:
    return {
        "name": name, "size_bytes": int(size * GB), "rank": rank, "does": list(does), "parameters": int(size * 2e9),
        "layers": 32, "kv_bytes": 1 << 16, "context": 32768, **more,
    }  # fmt: skip


SMALL, MIDDLE, LARGE = model("small", 0.5, 20), model("middle", 2, 50), model("large", 8, 70)
ALL = [SMALL, MIDDLE, LARGE]


def names(models: list[dict[str, Any]]) -> list[str]:
    return [model["name"] for model in models]


def test_the_best_that_is_quick_enough_is_first() -> None:
    assert names(estimate.recommended(ALL, "chat", Machine(32 * GB, 200e9))) == ["large", "middle", "small"]
    assert names(estimate.recommended(ALL, "chat", Machine(32 * GB, 30e9))) == ["middle", "small"]


def test_what_does_not_fit_is_not_proposed() -> None:
    assert names(estimate.recommended(ALL, "chat", Machine(4 * GB, 200e9))) == ["middle", "small"]
    assert names(estimate.recommended(ALL, "chat", Machine(None, 200e9))) == ["large", "middle", "small"]
    assert estimate.recommended(ALL, "chat", Machine(GB // 4, 200e9)) == []


def test_where_none_is_quick_enough_the_quickest_come_first() -> None:
    assert names(estimate.recommended(ALL, "chat", Machine(32 * GB, 1e9))) == ["small", "middle", "large"]


def test_a_model_for_code_is_not_the_one_to_chat_with() -> None:
    coder = model("coder", 2, 99, ("code", "chat"))
    assert names(estimate.recommended([*ALL, coder], "chat", Machine(32 * GB, 200e9)))[0] == "large"
    assert names(estimate.recommended([*ALL, coder], "code", Machine(32 * GB, 200e9))) == ["coder"]


def test_of_a_mixture_of_experts_all_is_held_and_a_part_is_read() -> None:
    dense = model("dense", 8, 1, active_parameters=16 * 10**9)
    mixture = model("mixture", 8, 1, active_parameters=10**9)
    assert estimate.memory(dense) == estimate.memory(mixture)
    assert estimate.speed(mixture, CPU) > 5 * estimate.speed(dense, CPU)


def test_a_large_vocabulary_costs_time_and_memory_where_it_is_told() -> None:
    wide, usual = model("wide", 0.3, 1, vocabulary=262_144), model("usual", 0.3, 1)
    assert estimate.memory(wide) > estimate.memory(usual)
    assert estimate.speed(wide, CPU) < estimate.speed(usual, CPU) < 1.3 * estimate.speed(wide, CPU)


def test_memory_counts_the_context_but_no_more_than_the_model_has() -> None:
    assert estimate.memory(SMALL, 8192) - estimate.memory(SMALL, 4096) == 4096 << 16
    short = model("short", 0.5, 1, context=512)
    assert estimate.memory(short, 8192) == estimate.memory(short, 512)


CARD = Gpu("NVIDIA GeForce RTX 3090", 20 * GB, 936e9)


def test_a_gpu_makes_what_fits_it_fast_and_its_memory_is_no_longer_the_machines() -> None:
    with_card = Machine(3 * GB, 25e9, (CARD,))
    assert not estimate.fits(LARGE, Machine(3 * GB, 25e9)) and estimate.fits(LARGE, with_card)
    assert estimate.speed(LARGE, with_card) > 10 * estimate.speed(LARGE, CPU)
    assert names(estimate.recommended(ALL, "chat", with_card))[0] == "large"


def test_of_a_model_that_is_too_large_for_it_a_gpu_takes_a_part() -> None:
    small_card = Machine(32 * GB, 25e9, (CARD._replace(free=5 * GB),))
    assert 0.3 < estimate.share(LARGE, small_card) < 0.6
    assert estimate.speed(LARGE, CPU) < estimate.speed(LARGE, small_card) < 2.5 * estimate.speed(LARGE, CPU)
    assert not estimate.fits(model("huge", 60, 99), small_card)


def test_a_gpu_in_the_machines_own_memory_brings_no_more_of_it() -> None:
    mac = Machine(6 * GB, 60e9, (Gpu("Apple M2 Max", 20 * GB, 400e9, shared=True),))
    assert not estimate.fits(LARGE, mac) and estimate.fits(MIDDLE, mac)
    assert estimate.speed(MIDDLE, mac) > estimate.speed(MIDDLE, mac._replace(gpus=()))


def test_gpus_are_what_the_engine_lists_at_the_speed_that_their_makers_publish() -> None:
    def device(kind: str, description: str, free: int = GB) -> dict[str, Any]:
        return {"name": "x", "kind": kind, "description": description, "free": free, "total": 2 * GB}

    listed = [device("cpu", "a CPU"), device("igpu", "Intel UHD"), device("gpu", "NVIDIA GeForce RTX 4070 Ti SUPER"),
              device("gpu", "NVIDIA GeForce RTX 4090 Laptop GPU"), device("gpu", "new"), device("gpu", "full", 0),
              device("igpu", "Apple M3 Pro")]  # fmt: skip
    assert [(gpu.bandwidth, gpu.shared) for gpu in gpus.usable(listed)] == [
        (672e9, False), (1008e9 * 0.6, False), (200e9, False), (150e9, True)
    ]  # fmt: skip


def test_three_are_each_at_most_half_of_the_one_before() -> None:
    assert names(proposals.three(ALL, "chat", Machine(32 * GB, 200e9))) == ["large", "middle", "small"]
    near = [model("a", 8, 70), model("b", 7.9, 69), model("c", 3.9, 40), model("d", 3.8, 39), model("e", 1, 10)]
    assert names(proposals.three(near, "chat", Machine(32 * GB, 200e9))) == ["a", "c", "e"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", 'model = "x"\n'),
        ("threads = 4\n", 'threads = 4\nmodel = "x"\n'),
        ('# mine\nmodel = "old"  # why\nthreads = 4\n', '# mine\nmodel = "x"\nthreads = 4\n'),
        ('[aliases]\nmodel = "y"\n', 'model = "x"\n\n[aliases]\nmodel = "y"\n'),
        ('threads = 4\n\n[modes.a]\nmodel = "y"\n', 'threads = 4\n\nmodel = "x"\n\n[modes.a]\nmodel = "y"\n'),
        ('model_path = ""\n', 'model_path = ""\nmodel = "x"\n'),
    ],
)
def test_the_option_is_set_where_it_belongs_and_nothing_else_is_touched(before: str, after: str) -> None:
    assert with_option(before, "model", "x") == after


def test_the_catalog_is_whole() -> None:
    assert catalog_settings.PURPOSES == PURPOSES
    for name, entry in known().items():
        assert entry.repo.count("/") == 1 and entry.file.endswith(".gguf"), name
        assert entry.does and set(entry.does) <= set(PURPOSES), name
        assert 0 < entry.active <= entry.parameters or entry.active == 0, name
        # 2 to 16 bits a weight, and a tenth more for what is not quantized
        assert 0.25 <= entry.bytes / (entry.parameters * 1e9) <= 2.2, name
    assert {purpose for entry in known().values() for purpose in entry.does} == set(PURPOSES)
    assert len({(entry.repo, entry.file) for entry in known().values()}) == len(known())
