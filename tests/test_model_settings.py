"""Options that a model may have of its own: what counts, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from threadrunner.config import Config, ConfigError, load
from threadrunner.model_settings import ModelSettings, faults, settings

TABLES = """
gpu_layers = 20
cache_type_k = "q8_0"
threads = 3
[models."a.gguf"]
gpu_layers = "all"
tensor_split = [3, 1.5]
devices = ["CUDA0", "CUDA1"]
keep_alive = 60
[models.b]
context = 4096
mlock = true
"""


def read(folder: Path, text: str, **environ: str) -> Config:
    file = folder / "config.toml"
    file.write_text(text)
    return load(environ, str(file))


def test_a_models_own_options_replace_those_for_all(tmp_path: Path) -> None:
    options = read(tmp_path, TABLES)
    a, b = settings(options, ["a.gguf"]), settings(options, ["b"])
    assert (a.gpu_layers, b.gpu_layers) == ("all", "20")
    assert (a.cache_type_k, a.threads, a.keep_alive) == ("q8_0", 3, 60.0)
    assert (a.tensor_split, a.devices) == ([3.0, 1.5], ["CUDA0", "CUDA1"])
    assert (b.context, b.mlock, b.keep_alive) == (4096, True, 300.0)


def test_the_first_of_a_models_names_that_has_a_table_counts(tmp_path: Path) -> None:
    options = read(tmp_path, TABLES)
    assert settings(options, ["c", "b", "a.gguf"]).context == 4096
    assert settings(options, ["c"]) == settings(Config()._replace(threads=3, gpu_layers="20", cache_type_k="q8_0"), [])


def test_each_is_an_option_for_all_models_too() -> None:
    assert set(ModelSettings._fields) <= set(Config._fields)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("gpu_layer = 3", r"\[models.\"m\"\]: a model has no option 'gpu_layer'; it may have context, threads"),
        ("model = 'x'", "a model has no option 'model'"),
        ("gpu_layers = 'some'", 'gpu_layers must be "auto", "all" or a number, not \'some\''),
        ("gpu_layers = -1", "gpu_layers must be"),
        ("gpu_layers = 1.5", "gpu_layers must be of type str"),
        ("cpu_moe = true", "cpu_moe must be of type str"),
        ("devices = 'CUDA0'", "devices must be of type list"),
        ("devices = [1]", 'devices must be a list such as \\["CUDA0", "CUDA1"\\]'),
        ("tensor_split = [-1]", "tensor_split must be numbers from 0"),
        ("tensor_split = ['a']", r"tensor_split must be a list such as \[3, 1\]"),
        ("tensor_split = [nan]", "tensor_split must be numbers from 0"),
        ("tensor_split = [0, 0]", "tensor_split gives no GPU a part"),
        ("tensor_split = [1, 1]\nmain_gpu = 0", "main_gpu gives one GPU the whole model"),
        ("main_gpu = -2", "main_gpu must be -1 or more"),
        ("flash_attention = 'yes'", 'flash_attention must be "auto", "on" or "off"'),
        ("cache_type_k = 'q3_0'", "cache_type_k must be .*q8_0.*, not 'q3_0'"),
        ("cache_type_v = 'q8_0'\nflash_attention = 'off'", "q8_0.* needs flash attention; set flash_attention"),
        ("numa = 'mirror'", 'numa must be "off", "distribute"'),
        ("mlock = 'yes'", r"mlock must be of type bool \(true or false"),
        ("threads_batch = 1000", "threads_batch must be at most 512"),
    ],
)
def test_what_cannot_be_meant_is_an_error_with_what_can(tmp_path: Path, line: str, says: str) -> None:
    options = read(tmp_path, f"[models.m]\n{line}\n[models.n]\nthreads = 2\n")
    with pytest.raises(ConfigError, match=says):
        settings(options, ["m"])
    assert settings(options, ["n"]).threads == 2, "a mistake in one table costs no other model"
    assert len(list(faults(options))) == 1


def test_a_table_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be a table, with lines such as"):
        settings(read(tmp_path, "[models]\nm = 3\n"), ["m"])
    with pytest.raises(ConfigError, match="no option is named 'models'"):
        read(tmp_path, "models = 3")


def test_a_fault_in_the_options_for_all_models_is_found(tmp_path: Path) -> None:
    (fault,) = faults(read(tmp_path, "cache_type_v = 'q4_0'\nflash_attention = 'off'\n"))
    assert fault.startswith("config.toml: cache_type_v")


def test_from_the_environment(tmp_path: Path) -> None:
    options = read(
        tmp_path,
        "",
        THREADRUNNER_GPU_LAYERS="12",
        THREADRUNNER_DEVICES="CUDA0, CUDA1",
        THREADRUNNER_TENSOR_SPLIT="2,1",
    )
    assert (options.gpu_layers, options.devices, options.tensor_split) == ("12", ["CUDA0", "CUDA1"], [2.0, 1.0])
    with pytest.raises(ConfigError, match="THREADRUNNER_TENSOR_SPLIT must be of type list"):
        read(tmp_path, "", THREADRUNNER_TENSOR_SPLIT="two")


def test_the_documentation_names_each() -> None:
    docs = Path(__file__).parent.parent / "docs"
    for page in ("configuration.md", "gpu.md"):
        text = (docs / page).read_text()
        assert [name for name in ModelSettings._fields if f"`{name}`" not in text] == []
