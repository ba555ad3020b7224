"""Checkpoints: the part of a sequence's state that cannot be cut, as it was after a known number of tokens.

A recurrent layer's state is of all tokens so far, and a window's of the last ones; neither can go back. So it is copied
at places to which a conversation may return, and forgotten by the least recent use.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence

from threadrunner.engine.kv.buffers import Buffer


class Points:
    """State by the tokens that it is of, bounded in bytes. Buffers of forgotten ones go to `release`. Pure."""

    def __init__(self, max_bytes: int, release: Callable[[Buffer], None]) -> None:
        self.max_bytes = max_bytes
        self._release = release
        self._states: OrderedDict[bytes, Buffer] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._states)

    def has(self, tokens: Sequence[int]) -> bool:
        return _key(tokens) in self._states

    def keeps(self, tokens: Sequence[int], state: Buffer) -> bool:
        """Whether this very state, which was found for these tokens, was not forgotten since."""
        return self._states.get(_key(tokens)) is state

    def best(self, tokens: Sequence[int], limit: int) -> tuple[int, Buffer | None]:
        """The longest beginning of `tokens`, of at most `limit`, whose state is here, as its length; and the state."""
        known = _key(tokens[:limit])
        found = max((key for key in self._states if known.startswith(key)), key=len, default=b"")
        if not found:
            return 0, None
        self._states.move_to_end(found)
        return len(found) // 4, self._states[found]

    def add(self, tokens: Sequence[int], state: Buffer) -> bool:
        """False, and the buffer released, when it is larger than all that may be kept."""
        self.drop(tokens)
        if state.capacity > self.max_bytes:
            self._release(state)
            return False
        self._states[_key(tokens)] = state
        self.bytes += state.capacity
        self.shrink(self.max_bytes)
        return True

    def drop(self, tokens: Sequence[int]) -> None:
        """If it is here."""
        state = self._states.pop(_key(tokens), None)
        if state is not None:
            self.bytes -= state.capacity
            self._release(state)

    def shrink(self, max_bytes: int) -> None:
        """Forget the least recently used until so few bytes are left."""
        while self.bytes > max_bytes:
            _, state = self._states.popitem(last=False)
            self.bytes -= state.capacity
            self._release(state)

    def within(self, tokens: Sequence[int]) -> list[tuple[int, Buffer]]:
        """All that are of beginnings of `tokens`, by their lengths."""
        known = _key(tokens)
        return sorted((len(key) // 4, state) for key, state in self._states.items() if known.startswith(key))


def _key(tokens: Sequence[int]) -> bytes:
    return array("i", tokens).tobytes()
