"""Settings: what docs/editors.md says of them, and what clients send."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from threadrunner.lsp.suggest.settings import Settings, SettingsError, parse

DOCS = Path(__file__).parent.parent.parent.parent / "docs" / "editors.md"


def described(hint: Any) -> str:
    if hasattr(hint, "__metadata__"):
        return str(hint.__metadata__[0].description)
    return next(filter(None, map(described, typing.get_args(hint))), "")


def test_the_documented_table_is_the_code() -> None:
    hints = typing.get_type_hints(Settings, include_extras=True)
    defaults = Settings()
    rows = [
        f"| `{field.encode_name}` | `{json.dumps(getattr(defaults, field.name))}` | {described(hints[field.name])} |"
        for field in msgspec.structs.fields(Settings)
    ]
    table = DOCS.read_text().partition("<!-- settings -->")[2].partition("<!-- end -->")[0]
    assert [line for line in table.split("\n") if line.startswith("| `")] == rows


def test_both_places_and_nothing() -> None:
    assert parse({"threadrunner": {"maxTokens": 5}}) == parse({"maxTokens": 5}) == Settings(max_tokens=5)
    assert parse(None) == parse({}) == parse({"model": None}) == Settings()


@pytest.mark.parametrize("wrong", [{"maxToken": 5}, {"maxTokens": "many"}, {"trigger": "often"}, 7, [1]])
def test_what_cannot_be_used_is_named(wrong: Any) -> None:
    with pytest.raises(SettingsError):
        parse(wrong)


def test_globs_and_languages() -> None:
    settings = parse({"languages": {"*": False, "python": True}, "disabledFiles": ["**/test_*.py", "vendor/*"]})
    assert settings.allows("python", "/w/a.py")
    assert not settings.allows("rust", "/w/a.rs")
    assert not settings.allows("python", "/w/test_a.py")
    assert not settings.allows("python", "/w/vendor/a.py")
