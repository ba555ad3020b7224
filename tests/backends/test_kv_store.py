"""KV state that outlives the process."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from tests.backends.harness import Loaded, assert_same_or_close, greedy

PROMPT = "The ship left the harbour at dawn, and the captain wrote in his book what he saw: " * 5


def kept(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kv"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kv"


@pytest.fixture
def spec(folder: Path) -> dict[str, object]:
    return {"context": 1024, "cache_dir": str(folder), "cache_bytes": 64 << 20, "fingerprint": "f1"}


@pytest.fixture
def before(smollm2: Path, spec: dict[str, object]):  # type: ignore[no-untyped-def]
    """The answer of a process that has ended since."""
    with Loaded(smollm2, **spec) as loaded:
        return loaded.ask(greedy(PROMPT, logprobs=2))


def test_a_prompt_is_restored_and_not_evaluated_again(smollm2: Path, spec, folder: Path, before) -> None:  # type: ignore[no-untyped-def]
    (file,) = kept(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with Loaded(smollm2, **spec) as loaded:
        after = loaded.ask(greedy(PROMPT, logprobs=2))
        assert after.usage.cached_tokens == after.usage.prompt_tokens - 1
        assert loaded.cells_in_llama() == loaded.engine.cells.used()
        assert_same_or_close(before, after)
        fork = loaded.ask(greedy(PROMPT[: len(PROMPT) // 2] + "Suddenly"))
        assert fork.usage.cached_tokens > 40


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign"])
def test_a_damaged_or_foreign_file_is_dropped_with_a_log_line(  # type: ignore[no-untyped-def]
    smollm2: Path, spec, folder: Path, before, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    (file,) = kept(folder)
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    file.write_bytes({"flip": bytes(data), "truncate": bytes(data[:-9]), "empty": b""}.get(damage, bytes(data)))
    if damage == "foreign":
        spec["fingerprint"] = "f2"
    with caplog.at_level(logging.WARNING, "threadrunner.engine"), Loaded(smollm2, **spec) as loaded:
        after = loaded.ask(greedy(PROMPT, logprobs=2))
        assert after.usage.cached_tokens == 0
        assert_same_or_close(before, after)
        assert not file.exists()
    assert "dropping the KV file" in caplog.text


def test_the_bytes_are_bounded_and_the_hottest_kept(smollm2: Path, spec, folder: Path) -> None:  # type: ignore[no-untyped-def]
    spec["cache_bytes"] = 4 << 20
    with Loaded(smollm2, **spec) as loaded:
        for word in ("one", "two", "three"):
            loaded.ask(greedy(f"{word} " + PROMPT, max_tokens=1))
    assert sum(file.stat().st_size for file in kept(folder)) <= 4 << 20
    with Loaded(smollm2, **spec) as loaded:
        assert loaded.ask(greedy("three " + PROMPT, max_tokens=1)).usage.cached_tokens > 80


def test_nothing_is_kept_without_a_folder(smollm2: Path, folder: Path) -> None:
    with Loaded(smollm2, context=256) as loaded:
        loaded.ask(greedy("hello"))
    assert not folder.exists()


def test_a_windowed_model_is_restored_too(gemma3: Path, spec) -> None:  # type: ignore[no-untyped-def]
    prompt = PROMPT * 7
    spec["context"] = 2048
    with Loaded(gemma3, **spec) as loaded:
        before = loaded.ask(greedy(prompt, max_tokens=8, logprobs=2))
    with Loaded(gemma3, **spec) as loaded:
        after = loaded.ask(greedy(prompt + before.text, max_tokens=4, logprobs=2))
        assert after.usage.cached_tokens > 600
        loaded.forget()
        assert_same_or_close(loaded.ask(greedy(prompt + before.text, max_tokens=4, logprobs=2)), after)
