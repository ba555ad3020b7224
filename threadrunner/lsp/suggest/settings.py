"""What a user may set, from `initializationOptions` or `workspace/configuration`; docs/editors.md has the table."""

from __future__ import annotations

import fnmatch
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field


def _doc(text: str, **limits: Any) -> Meta:
    return Meta(description=text, **limits)


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Names are camelCase on the client's side, as editors have it."""

    enable: Annotated[bool, _doc("off: no suggestion anywhere, and no model is loaded")] = True
    trigger: Annotated[Literal["automatic", "manual"], _doc("manual: only where the user asks for a suggestion")] = (
        "automatic"
    )
    model: Annotated[str, _doc("the model that completes code; the daemon's default without it")] | None = None
    chat_model: Annotated[str, _doc("the model that chats and edits; `model` without it")] | None = None
    backend: Annotated[str, _doc("what generates, for tests: `dummy`")] | None = None
    completion: Annotated[
        Literal["auto", "on", "off"],
        _doc("suggestions in the completion menu; auto: where the client knows no inline completion"),
    ] = "auto"
    debounce_ms: (
        Annotated[
            int, _doc("wait after a key before asking; absent: by the typing and the measured latency; 0: none", ge=0)
        ]
        | None
    ) = None
    languages: Annotated[dict[str, bool], _doc("language id to on or off, `*` for all others")] = field(
        default_factory=dict
    )
    disabled_files: Annotated[list[str], _doc("globs of files without suggestions, say `**/*.min.js`")] = field(
        default_factory=list
    )
    max_tokens: Annotated[int, _doc("most tokens of one suggestion", ge=1, le=2048)] = 96
    max_time_ms: Annotated[
        int, _doc("past it a suggestion ends with its line; four times as long where the user asked for it", ge=1)
    ] = 500
    candidates: Annotated[int, _doc("suggestions to choose from where the user asked for one", ge=1, le=3)] = 3
    prefix_chars: Annotated[int, _doc("text before the cursor that the model sees", ge=100, le=100_000)] = 4000
    suffix_chars: Annotated[int, _doc("text behind the cursor that the model sees", ge=0, le=100_000)] = 1000
    context_tokens: Annotated[int, _doc("text of other files that the model sees; 0: none", ge=0, le=16_000)] = 512
    speculate: Annotated[bool, _doc("while a suggestion is shown, work on what would follow it")] = True
    keep_alive: Annotated[float, _doc("seconds the model stays loaded after the last key", ge=-1)] | None = None
    count: Annotated[bool, _doc("count accepted suggestions in suggestions.jsonl, on this machine only")] = True

    def wanted(self, language: str, path: str) -> bool:
        """Whether this file is to have suggestions at all."""
        if not self.enable or not self.languages.get(language, self.languages.get("*", True)):
            return False
        return not any(
            fnmatch.fnmatch(path, glob.removeprefix("**/"))
            or fnmatch.fnmatch(path, f"*/{glob}")
            or fnmatch.fnmatch(path, glob)
            for glob in self.disabled_files
        )


class SettingsError(ValueError):
    """A setting that cannot be used; the text names it."""


def parse(value: Any) -> Settings:
    """Settings as a client sent them, under `threadrunner` or bare. Raises SettingsError."""
    if isinstance(value, dict) and isinstance(value.get("threadrunner"), dict):
        value = value["threadrunner"]
    if not value:
        return Settings()
    try:
        # null is what VS Code sends for a setting that is not set
        return msgspec.convert({k: v for k, v in value.items() if v is not None}, Settings)
    except (msgspec.ValidationError, AttributeError) as error:
        raise SettingsError(f"settings of threadrunner: {error}; the defaults are used") from None
