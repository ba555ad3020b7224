"""Which file is a model's encoder of pictures, and what of it native code may see."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.backends import tiny_sight
from threadrunner.api.errors import ModelLoadFailed, ModelNotFound
from threadrunner.daemon.gguf.mmproj import check_mmproj
from threadrunner.daemon.models import mmproj


def folder(path: Path, *names: str) -> Path:
    """Models are empty files: only encoders are read."""
    for name in names:
        if "mmproj" in name:
            tiny_sight.mmproj(path / name)
        else:
            (path / name).touch()
    return path


@pytest.mark.parametrize(
    ("files", "model", "found"),
    [
        (["gemma-3-4b-it-Q4_K_M.gguf", "mmproj-model-f16.gguf"], "gemma-3-4b-it-Q4_K_M.gguf", "mmproj-model-f16.gguf"),
        (["a-Q4_0.gguf", "a-Q8_0.gguf", "mmproj-F32.gguf", "mmproj-F16.gguf"], "a-Q8_0.gguf", "mmproj-F16.gguf"),
        (["a-Q4_0.gguf", "b-Q4_0.gguf", "mmproj-b-f16.gguf"], "b-Q4_0.gguf", "mmproj-b-f16.gguf"),
        (["a-Q4_0.gguf", "b-Q4_0.gguf", "mmproj-b-f16.gguf"], "a-Q4_0.gguf", ""),
        (["a-Q4_0.gguf", "b-Q4_0.gguf", "mmproj-model-f16.gguf"], "a-Q4_0.gguf", ""),
        (["a.gguf", "a.mmproj-Q8_0.gguf", "a.mmproj-f16.gguf"], "a.gguf", "a.mmproj-f16.gguf"),
        (["a.gguf"], "a.gguf", ""),
    ],
)
def test_beside_a_model(tmp_path: Path, files: list[str], model: str, found: str) -> None:
    at = folder(tmp_path, *files)
    assert mmproj.beside(str(at / model)) == (str(at / found) if found else "")


def test_a_damaged_one_is_passed_over_and_a_named_one_is_said(tmp_path: Path) -> None:
    at = folder(tmp_path, "a.gguf", "mmproj-a-f16.gguf", "mmproj-a-q8_0.gguf", "other-mmproj.gguf")
    good = (at / "mmproj-a-f16.gguf").read_bytes()
    (at / "mmproj-a-f16.gguf").write_bytes(good[:-100])
    model = str(at / "a.gguf")
    assert mmproj.find(model, "", "") == str(at / "mmproj-a-q8_0.gguf")
    assert mmproj.find(model, "off", "") == ""
    assert mmproj.find(model, "other-mmproj.gguf", "") == str(at / "other-mmproj.gguf")
    assert mmproj.find("/elsewhere/b.gguf", "other-mmproj.gguf", str(at)) == str(at / "other-mmproj.gguf")
    with pytest.raises(ModelNotFound, match="give its full path"):
        mmproj.find(model, "nothing.gguf", str(at))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clip.vision.patch_size": 0}, "patch_size is 0"),
        ({"clip.vision.attention.head_count": 0}, "head_count is 0"),
        ({"clip.vision.image_size": 1 << 20}, "image_size is 1048576"),
        ({"clip.vision.block_count": 1.5}, "not a whole number"),
        ({"clip.vision.image_std": [float("nan")] * 3}, "not a finite number"),
        ({"general.architecture": "llama"}, "no encoder of pictures"),
        ({"clip.projector_type": "hunyuanvl"}, "are not supported"),
    ],
)
def test_what_native_code_cannot_use(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    with pytest.raises(ModelLoadFailed, match=says):
        check_mmproj(str(tiny_sight.mmproj(tmp_path / "mmproj.gguf", **changes)))


@pytest.mark.parametrize("name", ["attn_k.weight", "attn_v.weight"])
def test_a_layer_that_lacks_a_projection(tmp_path: Path, name: str) -> None:
    """llama.cpp's encoder takes what is missing to be fused, and reads at address 0."""
    path = tiny_sight.mmproj(tmp_path / "mmproj.gguf")
    path.write_bytes(path.read_bytes().replace(name.encode(), name.replace("attn", "XXXX").encode(), 1))
    with pytest.raises(ModelLoadFailed, match=f"lacks {name}"):
        check_mmproj(str(path))


def test_whatever_the_header_it_is_refused_in_words_or_read(tmp_path: Path) -> None:
    path = tiny_sight.mmproj(tmp_path / "mmproj.gguf")
    whole, dice = path.read_bytes(), random.Random(3)
    assert check_mmproj(str(path)).vision
    for _ in range(300):
        changed = bytearray(whole[: dice.choice((len(whole), dice.randrange(len(whole))))])
        for _ in range(dice.randrange(4)):
            if changed:
                changed[dice.randrange(min(len(changed), 3000))] = dice.randrange(256)
        path.write_bytes(changed)
        try:
            check_mmproj(str(path))
        except ModelLoadFailed as error:
            assert str(path) in error.message
