"""Models that people add to the catalog: what a table may have, and what it says where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from threadrunner import catalog_settings
from threadrunner.catalog_settings import CatalogRow
from threadrunner.config import ConfigError, load
from threadrunner.daemon.models import catalog
from threadrunner.daemon.models.known import known, short_names

ROW: dict[str, Any] = {"repo": "us/Ours-GGUF", "file": "Ours-Q4_K_M.gguf", "bytes": 700_000_000}


def test_a_row_needs_a_repository_a_file_and_its_size() -> None:
    assert catalog_settings.row("ours", ROW) == CatalogRow("us/Ours-GGUF", "Ours-Q4_K_M.gguf", 700_000_000)
    whole = {**ROW, "parameters": 1.2, "does": ["code", "tools"], "rank": 90, "licence": "MIT", "kv": 1024}
    assert catalog_settings.row("ours:1b", whole).does == ("code", "tools")


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("a/b", {}, "choose another name"),
        ("hf:ours", {}, "choose another name"),
        ("smollm2:135m", {}, "choose another name"),
        ("ours", {"repo": "ours"}, "repo must be a repository of the hub, owner/name"),
        ("ours", {"repo": "us/../x"}, "repo must be"),
        ("ours", {"repo": 3}, "repo must be"),
        ("ours", {"file": "model.bin"}, "file must be the name of a .gguf file"),
        ("ours", {"bytes": "1 GB"}, "bytes must be the file's size, a whole number"),
        ("ours", {"bytes": 0}, "bytes must be"),
        ("ours", {"bytes": True}, "bytes must be"),
        ("ours", {"parameters": float("nan")}, "parameters must be thousand millions"),
        ("ours", {"does": ["poetry"]}, "does must be a list of chat, code"),
        ("ours", {"does": []}, "does must be"),
        ("ours", {"does": 3}, "does must be"),
        ("ours", {"size": 3}, "has no 'size'; it may have repo, file, bytes"),
    ],
)
def test_a_mistake_is_an_error_that_names_the_table_and_what_it_may_have(
    name: str, change: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError) as failed:
        catalog_settings.row(name, {**ROW, **change})
    assert f'[catalog."{name}"]' in str(failed.value) and text in str(failed.value)


def test_a_row_that_is_wrong_takes_no_other_with_it(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[catalog]\nbad = 3\n[catalog.good]\nrepo = "us/x"\nfile = "x.gguf"\nbytes = 5\n')
    options = load({}, str(file))
    assert list(catalog_settings.rows(options.catalog)) == ["good"]
    (fault,) = catalog_settings.faults(options)
    assert fault.startswith('[catalog."bad"] must be a table')


def test_a_row_of_ones_own_comes_before_ours_and_names_its_file(tmp_path: Path) -> None:
    own = {"qwen3:4b": ROW}
    names = short_names(own)
    assert names.rows["qwen3:4b"].repo == "us/Ours-GGUF" and len(names.rows) == len(known())
    place = tmp_path / "us" / "Ours-GGUF"
    place.mkdir(parents=True)
    (place / ROW["file"]).write_bytes(b"GGUF")
    model = catalog.resolve("qwen3:4b", str(tmp_path), {}, own)
    assert (model.path, model.row) == (str(place / ROW["file"]), names.rows["qwen3:4b"])
    assert catalog.resolve("hf:us/Ours-GGUF", str(tmp_path), {}, own).row == model.row
    assert "qwen3:4b" in [listed.name for listed in catalog.every(str(tmp_path), own)]
