"""What is refused of a LoRA file before native code sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends import tiny, tiny_lora
from threadrunner.api.errors import ModelLoadFailed
from threadrunner.daemon.gguf.adapter import check_adapter

QUERY = "blk.0.attn_q.weight"
W, R = tiny.WIDTH, tiny_lora.RANK


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama(tmp_path_factory.mktemp("base") / "model.gguf")


def shaped(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> Callable[[Path], Path]:
    keys = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 8.0}
    return lambda path: tiny.write_gguf(path, "llama", keys, {f"{name}.lora_a": a, f"{name}.lora_b": b})


def test_one_for_the_model_passes(model: Path, tmp_path: Path) -> None:
    check_adapter(str(tiny_lora.adapter(tmp_path / "a.gguf")), str(model))
    words = 259
    check_adapter(str(shaped("token_embd.weight", (R, words), (R, W))(tmp_path / "e.gguf")), str(model))


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path: tiny.llama(path), "it is no adapter"),
        (lambda path: tiny_lora.adapter(path, adapter__type="ia3"), "only lora is supported"),
        (lambda path: tiny_lora.adapter(path, adapter__alora__invocation_tokens=[1, 2]), "activated LoRA"),
        (lambda path: tiny_lora.adapter(path, adapter__lora__alpha=float("nan")), "not a finite number"),
        (lambda path: tiny_lora.adapter(path, adapter__lora__alpha="much"), "not a finite number"),
        (lambda path: tiny_lora.adapter(path, general__architecture="qwen2"), "architecture qwen2"),
        (lambda path: tiny_lora.adapter(path, names=["blk.7.attn_q.weight"]), "does not have"),
        (shaped(QUERY, (W, R), (R, 2 * W)), "the shapes"),
        (shaped(QUERY, (W, R), (R + 1, W)), "the shapes"),
        (shaped(QUERY, (W, R, 2), (R, W, 2)), "the shapes"),
        (shaped("token_embd.weight", (W, R), (R, 259)), "the shapes"),
        (
            lambda path: tiny.write_gguf(path, "llama", {"general.type": "adapter", "adapter.type": "lora"}, {}),
            "no weights",
        ),
    ],
)
def test_what_is_none_or_for_another_model_is_refused(
    model: Path, tmp_path: Path, write: Callable[[Path], Path], says: str
) -> None:
    path = write(tmp_path / "a.gguf")
    with pytest.raises(ModelLoadFailed, match=says) as caught:
        check_adapter(str(path), str(model))
    assert str(path) in caught.value.message


def test_half_a_pair_and_half_a_file(model: Path, tmp_path: Path) -> None:
    keys = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 8.0}
    half = tiny.write_gguf(tmp_path / "half.gguf", "llama", keys, {f"{QUERY}.lora_a": (W, R)})
    with pytest.raises(ModelLoadFailed, match="one half is missing"):
        check_adapter(str(half), str(model))
    whole = tiny_lora.adapter(tmp_path / "whole.gguf")
    whole.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(ModelLoadFailed, match="is not complete"):
        check_adapter(str(whole), str(model))
