"""Text from outside among a template's markup: what of a rendered string are control tokens, and what only looks so.

Rendering puts both into one string, so a user's `<|im_end|>` would look like the template's. Before rendering, each
token's text that is markup gets a mark after its first character, wherever it stands in what comes from outside:
nothing then matches it, the template still sees the text nearly as it is (it may trim or test it), and the mark is
taken out before tokenizing. A mark is one character, drawn from thousands: half of one cannot be left over where a
template cuts a text.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from threadrunner.engine.llama.vocab import Vocab
from threadrunner.engine.prompts.conversation import Message
from threadrunner.engine.prompts.sandbox import words

_PLAIN = re.compile(r"[a-zA-Z0-9 \n\t.,!?;:'\"()]*\Z")
_END = 48
"""Characters at an end of a text that could be part of a token with what the template puts beside it."""
_LEADS = re.compile(r"[<\[{|]")
_SCHEMA_WORDS = words(
    "$defs $id $ref $schema additionalProperties allOf anyOf arguments const default definitions description enum "
    "examples exclusiveMaximum exclusiveMinimum format function items maxItems maxLength maximum minItems "
    "minLength minimum multipleOf name nullable oneOf parameters pattern prefixItems properties required strict "
    "title type"
)
_TYPES = frozenset(("array", "boolean", "function", "integer", "null", "number", "object", "string"))

_TEXTS = frozenset(("content", "name", "reasoning"))
_PLAIN_ID = re.compile(r"[A-Za-z0-9_.:-]*\Z")

Change = Callable[[str], str]


class Marks:
    """The marks of one conversation; `seen` are its texts, none of which holds a mark."""

    def __init__(self, vocab: Vocab, seen: Iterable[str]) -> None:
        self._vocab = vocab
        seen = list(seen)
        self._mark = _unseen(seen)
        self.cut = _unseen([*seen, self._mark])
        """For the end of an answer that is to be continued."""
        joined = "\n".join(seen)
        self._inert = not self._control_tokens(joined)
        """Nothing in the texts needs a mark."""

    def escape(self, text: str) -> str:
        """The text with a mark in each control token's name."""
        if self._inert:
            return text
        for _ in range(64):
            found = self._control_tokens(text)
            if not found:
                return text
            for name in found:
                text = text.replace(name, name[0] + self._mark + name[1:])
        return self._mark.join(text)

    def fence(self, text: str) -> str:
        """The text with marks wherever a control token could begin or end in it, whatever a template puts beside it or
        takes out of it. A template that looks at its texts may do other things with one like that."""
        if not text.strip() or text in _SCHEMA_WORDS or text in _TYPES:
            return text
        return f"{self._mark}{_LEADS.sub(lambda found: found[0] + self._mark, text)}{self._mark}"

    def clean(self, text: str) -> str:
        for mark in (self._mark, self.cut):
            text = text.replace(mark, "").replace(_in_json(mark), "")
        return text

    @property
    def inert(self) -> bool:
        return self._inert

    def _control_tokens(self, text: str) -> list[str]:
        vocab = self._vocab
        names = [vocab.marker(t) for t in vocab.tokenize(text, special=True) if vocab.is_markup(t)]
        return [name for name in dict.fromkeys(names) if name and name in text]


def may_join(text: str) -> bool:
    """Whether such a text's ends could be parts of markup, with what a template puts beside them."""
    return not (_PLAIN.match(text[:_END]) and _PLAIN.match(text[-_END:]))


def _unseen(texts: Iterable[str]) -> str:
    texts = list(texts)
    while True:
        # private use, first the short plane: a message may have all of its characters
        mark = (
            chr(0xE000 + secrets.randbelow(0x1900))
            if secrets.randbelow(8)
            else chr(0xF0000 + secrets.randbelow(1 << 16))
        )
        escaped = _in_json(mark)
        if not any(mark in text or escaped in text for text in texts):
            return mark


def _in_json(mark: str) -> str:
    """How it looks where a template asks `tojson` for ASCII."""
    return json.dumps(mark)[1:-1]


def pieces(vocab: Vocab, text: str, tokens: list[int]) -> list[int | str]:
    """Control tokens as ids, what is between them as text: the same cuts that llama.cpp's tokenizer has made, whose
    `tokens` these are."""
    found_pieces: list[int | str] = []
    at = 0
    strip_next = False
    for token in tokens:
        if not vocab.is_markup(token):
            continue
        name = vocab.marker(token)
        found = text.find(name, at) if name else -1
        if found < 0:
            continue
        before = text[at:found]
        strips_left, strips_right = vocab.strips(token)
        before = before.lstrip() if strip_next else before
        found_pieces += [before.rstrip() if strips_left else before, token]
        strip_next = strips_right
        at = found + len(name)
    rest = text[at:]
    found_pieces.append(rest.lstrip() if strip_next else rest)
    return found_pieces


def changed(message: Message, change: Change) -> dict[str, Any]:
    """The message with each of its texts changed: content, thought, ids, names and all of calls' arguments."""
    # not `type`, and not the content None
    new = {k: change(value) if k in _TEXTS and isinstance(value, str) else value for k, value in message.items()}
    if "tool_call_id" in message:
        new["tool_call_id"] = _id(message["tool_call_id"], change)
    if calls := message.get("tool_calls"):
        new["tool_calls"] = [
            {**call, "id": _id(call["id"], change), "function": changed_value(call["function"], change)}
            for call in calls
        ]
    return new


def _id(id: str, change: Change) -> str:
    """Ids that are plain stay: Mistral's templates count their letters."""
    return id if _PLAIN_ID.match(id) else change(id)


def changed_value(value: Any, change: Change) -> Any:
    """JSON with each text and each key changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key): changed_value(part, change) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [changed_value(part, change) for part in value]
    return value


def texts(value: Any) -> Iterator[str]:
    """All texts and keys in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield key
            yield from texts(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from texts(part)
