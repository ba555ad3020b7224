"""Prompts in which a client has put infilling markers itself, read back into what stands before and behind the cursor.

Editors build such prompts by the model's name (Zed by its `prompt_format`, Continue by its templates), often with the
markers of another family than the model's. `infill` knows the model's own, and which layout serves it best.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from threadrunner.syntax.infill_families import FAMILIES


@dataclass(frozen=True)
class MarkerTexts:
    """One family's; `file` stands before another file's name and its text."""

    pre: str
    suf: str
    mid: str = ""
    file: str = ""
    blank: str = ""
    """Stands around the markers and belongs to none of the texts."""


_FAMILIES = (
    *(MarkerTexts(row.pre, row.suf, row.mid, row.file, " " if row.name == "codellama" else "") for row in FAMILIES),
    # Spellings that clients have and no vocabulary of ours.
    MarkerTexts("<PRE>", "<SUF>", "<MID>", blank=" "),
    MarkerTexts("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
)


@dataclass(frozen=True)
class Gap:
    """What `infill` is asked: the file around the cursor, its name, and other files as (name, text)."""

    prefix: str
    suffix: str
    path: str | None = None
    context: list[tuple[str, str]] = field(default_factory=list)


def asked(cursor: Gap) -> dict[str, Any]:
    """Params of `infill`."""
    context = [{"path": name, "text": text} for name, text in cursor.context[-64:]]
    path = {} if cursor.path is None else {"path": cursor.path}
    return {"prefix": cursor.prefix, "suffix": cursor.suffix, "context": context, **path}


def parse(prompt: str) -> Gap | None:
    """None for a prompt that is not made of one family's markers: it is a text to be continued."""
    return next((found for family in _FAMILIES if (found := _parsed(prompt, family)) is not None), None)


def _parsed(prompt: str, family: MarkerTexts) -> Gap | None:
    if family.pre not in prompt or family.suf not in prompt:
        return None
    pre, suf = prompt.index(family.pre), prompt.index(family.suf)
    head, body = prompt[: min(pre, suf)], prompt[min(pre, suf) :]
    if head.strip() and not (family.file and family.file in head):
        return None
    if family.mid:
        body, found, behind = body.rpartition(family.mid)
        if not found:
            return None
    else:
        behind = ""
    if (behind.strip() and prompt.count(family.pre) > 1) or (not family.mid and pre < suf):
        return None  # examples before the prompt proper; a layout that the family does not have
    path, context = _files(head, family)
    prefix, suffix = _halves(body, family, prefix_first=pre < suf)
    # What stands behind the middle marker has been typed already: llama-server's own infilling puts it there.
    return Gap(prefix + behind, suffix, path, context)


def _halves(body: str, family: MarkerTexts, *, prefix_first: bool) -> tuple[str, str]:
    if prefix_first:
        prefix, _, suffix = body.removeprefix(family.pre).partition(family.suf)
    else:
        suffix, _, prefix = body.removeprefix(family.suf).partition(family.pre)
    if family.blank:  # "<PRE> a <SUF>b <MID>"
        prefix = prefix.removeprefix(family.blank).removesuffix(family.blank)
        suffix = suffix.removesuffix(family.blank)
    return prefix, suffix


def _files(head: str, family: MarkerTexts) -> tuple[str | None, list[tuple[str, str]]]:
    """The name of the file itself, which is the last, and the others."""
    if not family.file or family.file not in head:
        return None, []
    sections = re.split(re.escape(family.file), head)[1:]
    parts = [part.lstrip("\n").partition("\n") for part in sections]
    files = [(name.strip(), text.rstrip("\n")) for name, _, text in parts]
    *others, (own, rest) = files
    if rest.strip():
        return None, [*others, (own, rest)]
    return own or None, [file for file in others if file[1]]
