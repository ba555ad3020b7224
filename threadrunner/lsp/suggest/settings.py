"""What a user may set, from `initializationOptions` or `workspace/configuration`; docs/editors.md has the table."""

from __future__ import annotations

import fnmatch
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct, field

from threadrunner.api.fields import described
from threadrunner.lsp.suggest.window import PREFIX_CHARS, SUFFIX_CHARS


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A client's settings; their names are camelCase there, as editors have it."""

    enable: Annotated[bool, described("off: no suggestions anywhere, and no model is loaded")] = True
    trigger: Annotated[Literal["automatic", "manual"], described("manual: suggestions only on request")] = "automatic"
    model: Annotated[str, described("the model that completes code; absent: the daemon's default")] | None = None
    chat_model: Annotated[str, described("the model that chats and edits; absent: `model`")] | None = None
    backend: Annotated[str, described("what generates, for tests: `dummy`")] | None = None
    completion: Annotated[
        Literal["auto", "on", "off"],
        described("suggestions in the completion menu; auto: where the client knows no inline completion"),
    ] = "auto"
    debounce_ms: (
        Annotated[
            int,
            described(
                "milliseconds to wait after a key; absent: by the typing and the measured latency; 0: none", ge=0
            ),
        ]
        | None
    ) = None
    languages: Annotated[dict[str, bool], described("language id to on or off; `*` is for all others")] = field(
        default_factory=dict
    )
    disabled_files: Annotated[list[str], described("globs of files without suggestions, e.g. `**/*.min.js`")] = field(
        default_factory=list
    )
    max_tokens: Annotated[int, described("maximum number of tokens of one suggestion", ge=1, le=2048)] = 96
    max_time_ms: Annotated[
        int, described("milliseconds after which a suggestion ends with its line; 4 times as many on request", ge=1)
    ] = 500
    candidates: Annotated[int, described("number of suggestions to choose from on request", ge=1, le=3)] = 3
    prefix_chars: Annotated[int, described("characters before the cursor that the model sees", ge=100, le=100_000)] = (
        PREFIX_CHARS
    )
    suffix_chars: Annotated[int, described("characters behind the cursor that the model sees", ge=0, le=100_000)] = (
        SUFFIX_CHARS
    )
    context_tokens: Annotated[int, described("tokens of other files that the model sees; 0: none", ge=0, le=16_000)] = (
        512
    )
    speculate: Annotated[bool, described("while a suggestion is shown, work on what would follow it")] = True
    keep_alive: Annotated[float, described("seconds the model stays loaded after the last key", ge=-1)] | None = None
    count: Annotated[bool, described("count accepted suggestions in suggestions.jsonl, on this machine only")] = True

    def allows(self, language: str, path: str) -> bool:
        """Whether the settings allow suggestions in this file."""
        if not self.enable or not self.languages.get(language, self.languages.get("*", True)):
            return False
        return not any(
            fnmatch.fnmatch(path, glob.removeprefix("**/"))
            or fnmatch.fnmatch(path, f"*/{glob}")
            or fnmatch.fnmatch(path, glob)
            for glob in self.disabled_files
        )

    def load_params(self) -> dict[str, Any]:
        """Which model, by what, and for how long: those that are set, under the daemon's names for them."""
        names = ("model", "backend", "keep_alive")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class SettingsError(ValueError):
    """A setting that cannot be used; the text names it."""


def parse(value: Any) -> Settings:
    """Settings as a client sent them, under `threadrunner` or bare. Raises SettingsError."""
    if isinstance(value, dict) and isinstance(value.get("threadrunner"), dict):
        value = value["threadrunner"]
    if not value:
        return Settings()
    try:
        # VS Code sends null for a setting that is not set.
        return msgspec.convert({k: v for k, v in value.items() if v is not None}, Settings)
    except (msgspec.ValidationError, AttributeError) as error:
        raise SettingsError(f"settings of threadrunner: {error}; the defaults are used") from None
