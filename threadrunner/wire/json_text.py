"""JSON texts to values and back, strictly, by the C half of Python's json. Its Python half imports re, and that enum
and functools: 5 ms of every prompt, for the search of blanks at a text's two ends.
"""

from __future__ import annotations

TYPE_CHECKING = False  # not typing's, which costs the shell 3 ms of every prompt; checkers know the bare name too
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_BLANK = " \t\n\r"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    """1e999 is JSON, and infinity to Python: no value that a message could carry back."""
    number = float(digits)
    if number - number:  # of an infinity that is NaN, which counts as true
        raise ValueError(f"{digits:.20} is too large for a number")
    return number


def _default(value: object) -> Any:
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


class _Options:
    """As json.JSONDecoder has them."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_int = int
    parse_float = staticmethod(_finite)
    parse_constant = staticmethod(_refuse_constant)
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner's own


def _of_c() -> tuple[Callable[[str, int], tuple[Any, int]], Callable[[Any], str]]:
    import _json

    make_scanner: Any = _json.make_scanner
    scan: Any = make_scanner(_Options)
    chunks: Any = _json.make_encoder(None, _default, _json.encode_basestring, None, ":", ",", False, False, False)
    return scan, lambda value: "".join(chunks(value, 0))


def _of_python() -> tuple[Callable[[str, int], tuple[Any, int]], Callable[[Any], str]]:
    """Where there is no such C half, or another one."""
    import json

    decoder: Any = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
    encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_default, allow_nan=False)
    return decoder.scan_once, encoder.encode


try:
    _scan, write = _of_c()
except (ImportError, AttributeError, TypeError):
    _scan, write = _of_python()


def read(text: str) -> Any:
    """Raises ValueError; RecursionError for one that is nested very deep."""
    text = text.strip(_BLANK)
    try:
        try:
            value, end = _scan(text, 0)
        except SystemError:  # the scanner's own error is in a module that it takes for imported
            import json.decoder  # noqa: F401

            value, end = _scan(text, 0)
    except StopIteration as stop:
        raise ValueError(f"expected a value at character {stop.value}") from None
    if end != len(text):
        raise ValueError(f"extra text at character {end}")
    return value
