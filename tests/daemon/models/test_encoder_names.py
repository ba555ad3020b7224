"""Which encoder of pictures a name means, in a repository and in a folder. Names are as in public repositories."""

from __future__ import annotations

import pytest

from threadrunner.daemon.models import encoder_names

GEMMA = ["gemma-3-4b-it-Q4_K_M.gguf", "gemma-3-4b-it-Q8_0.gguf"]
UNSLOTH = [*GEMMA, "gemma-3-4b-it-BF16.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"]


@pytest.mark.parametrize(
    ("model", "files", "chosen"),
    [
        (GEMMA[0], UNSLOTH, "mmproj-F16.gguf"),
        (GEMMA[1], [*GEMMA, "mmproj-gemma-3-4b-it-Q8_0.gguf", "mmproj-gemma-3-4b-it-f16.gguf"],
         "mmproj-gemma-3-4b-it-f16.gguf"),
        (GEMMA[0], [*GEMMA, "mmproj-model-q8_0.gguf", "mmproj-model-bf16.gguf", "mmproj-model-f32.gguf"],
         "mmproj-model-q8_0.gguf"),
        (GEMMA[0], [*GEMMA, "mmproj-model-bf16.gguf", "mmproj-model-f32.gguf"], "mmproj-model-bf16.gguf"),
        (GEMMA[0], [*GEMMA, "mmproj-model.gguf"], "mmproj-model.gguf"),
        (GEMMA[0], [*GEMMA, "mmproj-model-f16.bin", "README.md", "imatrix.gguf"], ""),
        # a word of its own, or one too few, in a repository of one model
        (GEMMA[0], [*GEMMA, "mmproj-model-f16-4B.gguf"], "mmproj-model-f16-4B.gguf"),
        (GEMMA[0], [*GEMMA, "mmproj-google_gemma-3-f16.gguf"], "mmproj-google_gemma-3-f16.gguf"),
        ("moondream2-text-model-f16.gguf", ["moondream2-text-model-f16.gguf", "moondream2-mmproj-f16.gguf"],
         "moondream2-mmproj-f16.gguf"),
        # several models: each its own, one of no name for all, none of another's
        ("a-2B-Q4_0.gguf", ["a-2B-Q4_0.gguf", "a-7B-Q4_0.gguf", "a-7B-mmproj-f16.gguf", "a-2B-mmproj-bf16.gguf"],
         "a-2B-mmproj-bf16.gguf"),
        ("a-2B-Q4_0.gguf", ["a-2B-Q4_0.gguf", "a-7B-Q4_0.gguf", "a-7B-mmproj-f16.gguf"], ""),
        ("a-2B-Q4_0.gguf", ["a-2B-Q4_0.gguf", "a-7B-Q4_0.gguf", "mmproj-f16.gguf"], "mmproj-f16.gguf"),
        # folders: above the model's or its own, the nearest first, no other's
        ("Q4/big-Q4_0-00001-of-00002.gguf", ["Q4/big-Q4_0-00001-of-00002.gguf", "Q8/mmproj-f16.gguf"], ""),
        ("Q4/big-Q4_0-00001-of-00002.gguf",
         ["Q4/big-Q4_0-00001-of-00002.gguf", "Q4/big-Q4_0-00002-of-00002.gguf", "mmproj-f16.gguf"], "mmproj-f16.gguf"),
        ("Q4/big-Q4_0.gguf", ["Q4/big-Q4_0.gguf", "mmproj-f16.gguf", "Q4/mmproj-f32.gguf", "Q4_1/mmproj-f16.gguf"],
         "Q4/mmproj-f32.gguf"),
    ],
)  # fmt: skip
def test_the_one_that_is_fetched_along(model: str, files: list[str], chosen: str) -> None:
    assert encoder_names.along(model, files) == chosen
    assert encoder_names.along(model, files[::-1]) == chosen


@pytest.mark.parametrize(
    ("encoder", "model", "name"),
    [
        ("mmproj-F16.gguf", GEMMA[0], "mmproj-gemma-3-4b-it-F16.gguf"),
        ("mmproj-model-f16-4B.gguf", GEMMA[0], "mmproj-gemma-3-4b-it-f16.gguf"),
        ("mmproj-gemma-3-4b-it-f16.gguf", GEMMA[1], "mmproj-gemma-3-4b-it-f16.gguf"),
        ("Qwen2.5-VL-3B-mmproj-f16.gguf", "Qwen2.5-VL-3B-Q4_K_M.gguf", "Qwen2.5-VL-3B-mmproj-f16.gguf"),
        ("mmproj-f16.gguf", "Q4/big_1.5-Q4_0-00001-of-00002.gguf", "mmproj-big_1.5-f16.gguf"),
        ("mmproj-model.gguf", GEMMA[0], "mmproj-gemma-3-4b-it.gguf"),
        ("mmproj-q8_0.gguf", "model-Q4_0.gguf", "mmproj-q8_0.gguf"),
        ("mmproj-b-bf16.gguf", "ggml-model-Q4_0.gguf", "mmproj-ggml-bf16.gguf"),
    ],
)
def test_its_name_here_is_the_models(encoder: str, model: str, name: str) -> None:
    assert encoder_names.local_name(encoder, model) == name
    file = model.rpartition("/")[2]
    other_sizes = [file.replace("Q4_0", "Q6_K"), file]
    assert encoder_names.beside(file, [*other_sizes, name]) == [name]
    assert encoder_names.beside("another-7B-Q4_0.gguf", [*other_sizes, "another-7B-Q4_0.gguf", name]) == []
