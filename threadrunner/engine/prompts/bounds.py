"""What a template may make, counted before it is made.

A clock can stop a template between two of its lines; what C code makes in one go, no clock can stop, and forty lines
that double a text fill any memory. So every operation that makes a large thing of small ones is here, with a limit for
one result and one for all the large results of a rendering together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.filters import do_indent
from jinja2.runtime import Undefined

MAX_CHARS = 32 << 20
"""Of one text."""
MAX_PARTS = 1_000_000
"""Of one list."""
_MAX_WRITTEN = 200_000
"""Values in a list that is written out, with all in it: counting them takes some 0.1 s."""
_MAX_ALL = 1 << 29
"""Characters of all large texts that a rendering makes: some templates put a long prompt together in many steps."""
_LARGE = 1 << 16
_MAX_COPIES = 100_000
_MAX_BITS = 4096
_MAX_INDENT = 16
_MAX_DEPTH = 200


class Given(list[Any]):
    """A list from outside: a template may read it, and change only copies."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)


class GivenObject(dict[str, Any]):
    """An object from outside. Written out as it is, it is JSON: Python's own form would mean nothing to a model, and
    templates forget `tojson`."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)


def given(value: Any) -> Any:
    """A copy for a template of what JSON can hold."""
    if isinstance(value, Mapping):
        return GivenObject((key, given(part)) for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return Given(map(given, value))
    return value


class Allowance:
    """The operations of one template. Their methods raise SecurityError for what would be too large."""

    def __init__(self) -> None:
        self._left = _MAX_ALL

    def begin(self) -> None:
        """A rendering begins: nothing is made yet."""
        self._left = _MAX_ALL

    def text(self, chars: int) -> None:
        """A text of so many characters is about to be made."""
        if chars > _LARGE:
            self._left -= chars
        check(chars <= MAX_CHARS and self._left >= 0)

    def join(self, values: Iterable[Any], separator: str = "") -> str:
        parts: list[str] = []
        chars = 0
        for value in values:
            part = self.string(value)
            chars += len(part) + len(separator)
            if chars > MAX_CHARS:
                break
            parts.append(part)
        self.text(chars)
        return separator.join(parts)

    def replace(self, text: Any, old: str, new: str, count: int | None = None) -> str:
        whole = self.string(text)
        found = whole.count(old) if old else len(whole) + 1
        self.text(len(whole) + found * max(0, len(new) - len(old)))
        return whole.replace(old, new, -1 if count is None else count)

    def indent(self, text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        whole = self.string(text)
        margin = width if isinstance(width, str) else " " * min(width, _MAX_INDENT + 1)
        check(len(margin) <= _MAX_INDENT)
        self.text(len(whole) + (whole.count("\n") + 1) * len(margin))
        return do_indent(whole, margin, first, blank)

    def string(self, value: Any) -> str:
        return value if isinstance(value, str) else str(self.shown(value))

    def shown(self, value: Any) -> Any:
        """The value, if it may be written out: a list may hold another twice, that one a third …"""
        if isinstance(value, (list, tuple, dict, set, frozenset)) and not isinstance(value, (Given, GivenObject)):
            self.text(_weigh(value, _MAX_WRITTEN, MAX_CHARS))
        return value

    def to_json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        """As transformers has it, for which templates are written: no escapes for HTML, nor for ASCII."""
        check(max([indent or 0, *map(len, separators or ())]) <= _MAX_INDENT)
        if isinstance(value, Undefined):
            raise SecurityError("`tojson` of what is not defined")

        def as_list(part: Any) -> Any:  # what a filter such as `map` gives is no list yet
            if not isinstance(part, Iterator):
                raise SecurityError(f"`tojson` of {type(part).__name__}")
            return self.shown(self.listed(part))

        options = {"ensure_ascii": ensure_ascii, "indent": indent, "separators": separators, "sort_keys": sort_keys}
        return json.dumps(self.shown(value), default=as_list, **options)

    def listed(self, values: Iterable[Any], limit: int = MAX_PARTS) -> list[Any]:
        """As a list. A generator's steps are Python calls, which the clock sees."""
        listed = list(islice(values, limit + 1))
        check(len(listed) <= limit)
        return listed

    def split(self, text: str, separator: str | None = None) -> None:
        """A text is about to be cut into pieces."""
        check(len(text) <= MAX_PARTS or (bool(separator) and text.count(separator or " ") <= MAX_PARTS))

    def total(self, values: Iterable[Any], attribute: Any = None, start: int = 0) -> Any:
        """Jinja's `sum`, of numbers."""
        if attribute is not None or not isinstance(start, (int, float)):
            raise SecurityError("`sum` adds numbers")
        return sum(values, start)

    def add(self, left: Any, right: Any) -> None:
        if isinstance(left, str) and isinstance(right, str):
            self.text(len(left) + len(right))
        elif hasattr(left, "__len__") and hasattr(right, "__len__"):
            check(len(left) + len(right) <= MAX_PARTS)

    def multiply(self, operator: str, left: Any, right: Any) -> None:
        if isinstance(left, int) and isinstance(right, int):
            check(operator != "**" or max(abs(left), abs(right)) <= 1000)
            check(left.bit_length() + right.bit_length() <= _MAX_BITS)
        for value, count in ((left, right), (right, left)):
            if hasattr(value, "__len__") and isinstance(count, int):
                check(len(value) * count <= _MAX_COPIES)


def check(it_fits: bool) -> None:
    if not it_fits:
        raise SecurityError("an operand is too large")


def _weigh(value: Any, parts: int, chars: int) -> int:
    """The characters of all values in it, each counted as often as it is there. Raises SecurityError with either limit,
    so that it ends."""
    seen = size = 0
    open_ = [iter((value,))]
    while open_:
        part = next(open_[-1], open_)
        if part is open_:
            open_.pop()
            continue
        seen += 1
        size += len(part) if isinstance(part, str) else 8
        if seen > parts or size > chars or len(open_) > _MAX_DEPTH:
            check(False)
        if isinstance(part, dict):
            open_.append(iter([*part.keys(), *part.values()]))
        elif isinstance(part, (list, tuple, set, frozenset)):
            open_.append(iter(part))
    return size
