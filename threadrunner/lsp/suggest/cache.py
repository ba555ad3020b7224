"""Suggestions that have been made, found again while the person types them.

A key is the tail of the prefix, the head of the suffix, the model and the language: an edit farther away, or in
another file, does not make a suggestion wrong, one beside the cursor does (a cache keyed by the prefix alone shows
text that is below the cursor already).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

PREFIX_TAIL = 400
"""Characters of the prefix that are in a key."""
SUFFIX_HEAD = 100
"""Characters of the suffix that are in a key."""
LOOK_BACK = 200
"""Characters that may be typed of a suggestion before it is no longer found."""
CLOSERS = ")]}\"'`>"


@dataclass(frozen=True)
class Key:
    """What suggestions are cached by."""

    model: str
    language: str
    prefix: str
    suffix: str

    @classmethod
    def at(cls, model: str, language: str, prefix: str, suffix: str) -> Key:
        return cls(model, language, prefix[-PREFIX_TAIL:], suffix[:SUFFIX_HEAD])


@dataclass(frozen=True)
class Hit:
    """Texts to show now, in the order they were made."""

    texts: list[str]
    typed: int
    """Number of characters of the suggestion that have been typed since it was made."""


class Cache:
    """Drops the least recently used first. An empty list of texts is an answer too: nothing to suggest here.

    `size` is the number of keys that are kept.
    """

    def __init__(self, size: int = 250) -> None:
        self._size = size
        self._made: OrderedDict[Key, list[str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._made)

    def put(self, key: Key, texts: list[str]) -> None:
        self._made.pop(key, None)
        self._made[key] = texts
        if len(self._made) > self._size:
            self._made.popitem(last=False)

    def get(self, model: str, language: str, prefix: str, suffix: str) -> Hit | None:
        """What was suggested here, or what is left of a suggestion that was typed up to here."""
        heads = [suffix[:SUFFIX_HEAD]]
        if suffix[:1] and suffix[0] in CLOSERS:  # typed as a pair: the editor put the closer there, not the person
            heads.append(suffix[1 : SUFFIX_HEAD + 1])
        for typed in range(min(LOOK_BACK, len(prefix)) + 1):
            end = len(prefix) - typed
            tail = prefix[max(0, end - PREFIX_TAIL) : end]
            since = prefix[end:]
            for head in heads:
                texts = self._made.get(key := Key(model, language, tail, head))
                if texts is None:
                    continue
                if not texts and not typed and head is heads[0]:
                    return Hit([], 0)
                rest = [text[typed:] for text in texts if text.startswith(since) and len(text) > typed]
                if rest:
                    self._made.move_to_end(key)
                    return Hit(rest, typed)
        return None

    def clear(self) -> None:
        self._made.clear()
