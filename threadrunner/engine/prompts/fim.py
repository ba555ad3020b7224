"""Fill in the middle: a family's tokens, what of the file the model sees, and how it is laid out.

The anchored split: PRE text up to the anchor SUF suffix MID everything from the anchor to the cursor, minus its last
token, which the answer must begin with (healing). What a person types comes last, so a key costs a token or two and
the suffix is evaluated once. The anchor is a line's start some lines above the cursor, and it stays while they type.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from threadrunner.engine.errors import Unsupported
from threadrunner.engine.llama.vocab import Vocab
from threadrunner.syntax.infill_families import FAMILIES, InfillFamily

PREFIX_CHARS = 6_000
SUFFIX_CHARS = 2_000
CONTEXT_CHARS = 12_000
WINDOW_JUMP = 32
"""Lines by which the window's first line moves."""
LINES_AFTER_ANCHOR = 3
"""Whole lines between a new anchor and the cursor's line: 3 gave 48 of 100 problems, none 44, 8 again 44."""
HEALED_TOKENS = 3
_WORD = re.compile(rb"[A-Za-z0-9_]*")
MAX_TYPED_LINES = 24
MAX_TYPED_CHARS = 1_500


@dataclass(frozen=True, slots=True)
class Split:
    """The file as the model should see it: up to the anchor, from there to the cursor, behind the cursor."""

    before: str
    typed: str
    after: str


@dataclass(frozen=True, slots=True)
class InfillPrompt:
    """What the model is given for a middle."""

    tokens: list[int]
    forced: bytes
    """What the answer begins with without being part of it."""


class Anchors:
    """Where recent requests were split. Pure text; forgets the oldest."""

    def __init__(self, max_splits: int = 32) -> None:
        self._known: deque[tuple[str, Split]] = deque(maxlen=max_splits)

    def split(self, file: str, prefix: str, suffix: str, scale: float = 1.0) -> Split:
        """The file as the model should see it: from the anchor of an earlier request where that still holds, else from
        a new one. `file` is any name for what anchors are shared by; `scale` shrinks the window for a small context."""
        after = _head_lines(suffix, int(SUFFIX_CHARS * scale))
        for known in [k for k in self._known if k[0] == file][::-1]:
            if known[1].after == after and (typed := _typed_since(known[1].before, prefix, scale)) is not None:
                self._known.remove(known)
                self._known.append(known)
                return Split(known[1].before, typed, after)
        window = _window(prefix, int(PREFIX_CHARS * scale))
        anchor = window.rfind("\n") + 1
        for _ in range(LINES_AFTER_ANCHOR):
            anchor = window.rfind("\n", 0, max(0, anchor - 1)) + 1
        made = Split(window[:anchor], window[anchor:], after)
        self._known.append((file, made))
        return made


def _typed_since(before: str, prefix: str, scale: float) -> str | None:
    """The text after the anchor if the file still has `before`, a little way above the cursor."""
    at = prefix.rfind(before, max(0, len(prefix) - len(before) - MAX_TYPED_CHARS))
    if at < 0 or (at > 0 and (not before or prefix[at - 1] != "\n")):
        return None
    typed = prefix[at + len(before) :]
    if len(typed) > MAX_TYPED_CHARS * scale or typed.count("\n") > MAX_TYPED_LINES:
        return None
    return typed


def _window(prefix: str, max_chars: int) -> str:
    """The prefix's end, from a line whose number is a multiple of WINDOW_JUMP."""
    if len(prefix) <= max_chars:
        return prefix
    lines = prefix.splitlines(keepends=True)
    total, begin = len(prefix), 0
    while total > max_chars and begin + 1 < len(lines):
        step = lines[begin : min(begin + WINDOW_JUMP, len(lines) - 1)]
        total -= sum(map(len, step))
        begin += len(step)
    return prefix[-min(total, max_chars) :]


def _head_lines(text: str, max_chars: int) -> str:
    """The text's whole lines within `max_chars`; of a single longer line, its beginning."""
    return text if len(text) <= max_chars else text[: text.rfind("\n", 0, max_chars) + 1] or text[:max_chars]


class InfillPrompts:
    """Builds infill prompts for one model, and remembers where it split the files."""

    def __init__(self, vocab: Vocab) -> None:
        """Raises Unsupported for a model without the tokens."""
        self._vocab = vocab
        self.family, self._ids = _detect(vocab)
        end = vocab.special(self.family.end) if self.family.end else None
        self.stop_tokens = frozenset(self._ids.values()) | (frozenset() if end is None else {end})
        self.anchors = Anchors()

    def build(
        self, prefix: str, suffix: str, path: str | None, context: Sequence[tuple[str, str]], max_tokens: int
    ) -> InfillPrompt:
        """A prompt of up to `max_tokens`: the window shrinks until it fits. `context` is other files, each its name
        and its text."""
        # a changed context changes the prompt from its beginning on, so it has anchors of its own
        file = repr((path, hash(tuple(context))))
        for scale in (1.0, 0.5, 0.25, 0.1):
            split = self.anchors.split(file if scale == 1.0 else f"{file} {scale}", prefix, suffix, scale)
            prompt = self._lay_out(split, path, context, scale)
            if len(prompt.tokens) <= max_tokens:
                return prompt
        return self._lay_out(Split("", prefix[-40:], ""), None, (), 1.0)

    def _lay_out(
        self, split: Split, path: str | None, context: Sequence[tuple[str, str]], scale: float
    ) -> InfillPrompt:
        family, ids, text = self.family, self._ids, self._vocab.tokenize
        tokens = [self._vocab.bos] if self._vocab.add_bos else []
        tokens += self._files(path, context, int(CONTEXT_CHARS * scale))
        after = text(split.after)
        if family.suffix_first:
            typed, forced = self._heal(text(split.before + split.typed))
            middle = [ids["mid"]] if "mid" in ids else []
            return InfillPrompt([*tokens, ids["suf"], *after, ids["pre"], *typed, *middle], forced)
        if family.anchored:
            typed, forced = self._heal(text(split.typed))
            return InfillPrompt(
                [*tokens, ids["pre"], *text(split.before), ids["suf"], *after, ids["mid"], *typed], forced
            )
        before, forced = self._heal(text(split.before + split.typed))
        return InfillPrompt([*tokens, ids["pre"], *before, ids["suf"], *after, ids["mid"]], forced)

    def _heal(self, tokens: list[int]) -> tuple[list[int], bytes]:
        """Without the last token, which may be half of the one that the model would write; in the middle of a word,
        without the word's last tokens: after " ret" "u" no model writes "rn". Also the bytes left out."""
        forced = b""
        for back in range(1, min(HEALED_TOKENS, len(tokens)) + 1):
            forced = self._vocab.piece(tokens[-back]) + forced
            if not _WORD.fullmatch(forced):
                return tokens[:-back], forced
        return tokens[: -min(HEALED_TOKENS, len(tokens))] if tokens else [], forced

    def _files(self, path: str | None, context: Sequence[tuple[str, str]], max_chars: int) -> list[int]:
        """Other files before this one, under their own names, the first ones given as far as they fit."""
        ids, text = self._ids, self._vocab.tokenize
        if "file" not in ids:
            return [token for name, body in _fitting(context, max_chars) for token in text(f"# {name}\n{body}\n\n")]
        tokens: list[int] = []
        if "repo" in ids and context:
            tokens += [ids["repo"], *text("project\n")]
        for name, body in _fitting(context, max_chars):
            tokens += [ids["file"], *text(f"{name}\n{body}\n")]
        if path or tokens:
            tokens += [ids["file"], *text(f"{path or 'untitled'}\n")]
        return tokens


def _fitting(context: Sequence[tuple[str, str]], max_chars: int) -> list[tuple[str, str]]:
    kept = []
    for name, body in context:
        max_chars -= len(name) + len(body)
        if max_chars < 0:
            break
        kept.append((name, body))
    return kept


def _detect(vocab: Vocab) -> tuple[InfillFamily, dict[str, int]]:
    """The first family whose tokens the vocabulary has all of, and their ids; what llama.cpp found by itself where no
    row fits. Raises Unsupported."""
    for family in FAMILIES:
        if family.also and vocab.special(family.also) is None:
            continue
        names = {"pre": family.pre, "suf": family.suf, "mid": family.mid, "repo": family.repo, "file": family.file}
        ids = {key: vocab.special(name) for key, name in names.items() if name}
        found = {key: id for key, id in ids.items() if id is not None}
        if len(found) == len(ids):
            return family, found
    found = vocab.fim()
    if min(found.values()) >= 0:
        pre, suf, mid = (vocab.marker(id) for id in found.values())
        return InfillFamily("unknown", pre, suf, mid), found
    raise Unsupported("this model has no tokens for infilling; use one that was trained for it, e.g. Qwen2.5-Coder")
