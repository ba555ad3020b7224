"""A request's body, read liberally: null is absent, members that nobody asks for are ignored, 1.0 is a whole number.

Other programs send what their authors found in the documentation of some server, so what cannot change the answer's
meaning is never an error here; what can is refused by name.
"""

from __future__ import annotations

from typing import Any

from threadrunner.http.failures import invalid
from threadrunner.wire import messages

BODY_LIMIT = 15 << 20
"""Bytes: below the 16 MiB of one message to the daemon."""

DEPTH_LIMIT = 56
"""The daemon's is 64, and a body's members stand some levels down in a message to it."""


class Fields:
    """A JSON object; `at` is its place, for errors."""

    def __init__(self, members: dict[str, Any], at: str = "") -> None:
        self._members = members
        self._at = at

    def __contains__(self, name: str) -> bool:
        return self._members.get(name) is not None

    def get(self, *names: str) -> Any:
        """The first of these that is there and not null, as it is."""
        return next((value for name in names if (value := self._members.get(name)) is not None), None)

    def place(self, name: str) -> str:
        return f"{self._at}.{name}" if self._at else name

    def text(self, *names: str) -> str | None:
        value: str | None = self._typed(names, str, "text")
        return value

    def need_text(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise invalid(f"`{self.place(name)}` is missing", self.place(name))
        return value

    def flag(self, *names: str) -> bool | None:
        value: bool | None = self._typed(names, bool, "true or false")
        return value

    def number(self, *names: str) -> float | None:
        value = self.get(*names)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise self._wrong(names, "a number")
        return value

    def whole(self, *names: str) -> int | None:
        value = self.number(*names)
        if value is not None and value != int(value):
            raise self._wrong(names, "a whole number")
        return None if value is None else int(value)

    def items(self, *names: str) -> list[Any] | None:
        value: list[Any] | None = self._typed(names, list, "a list")
        return value

    def object(self, *names: str) -> Fields | None:
        value = self._typed(names, dict, "an object")
        return None if value is None else Fields(value, self.place(self._given(names)))

    def need_object(self, name: str) -> Fields:
        value = self.object(name)
        if value is None:
            raise invalid(f"`{self.place(name)}` is missing", self.place(name))
        return value

    def objects(self, *names: str) -> list[Fields]:
        """A list's objects, each with its place; empty where it is absent."""
        name = self._given(names)
        return [
            Fields(item, f"{self.place(name)}[{i}]") if isinstance(item, dict) else self._refuse(f"{name}[{i}]")
            for i, item in enumerate(self.items(*names) or [])
        ]

    def plain(self) -> dict[str, Any]:
        """As it came."""
        return self._members

    def _refuse(self, name: str) -> Fields:
        raise invalid(f"`{self.place(name)}` must be an object", self.place(name))

    def _given(self, names: tuple[str, ...]) -> str:
        return next((name for name in names if name in self), names[0])

    def _typed(self, names: tuple[str, ...], kind: type, what: str) -> Any:
        value = self.get(*names)
        if value is not None and not isinstance(value, kind):
            raise self._wrong(names, what)
        return value

    def _wrong(self, names: tuple[str, ...], what: str) -> Exception:
        place = self.place(self._given(names))
        return invalid(f"`{place}` must be {what}", place)


def read(body: bytes) -> Fields:
    """Raises HttpFailure for what is no JSON object; an empty body is an empty object."""
    try:
        value = messages.decode(body, DEPTH_LIMIT) if body.strip() else {}
    except messages.DecodeError as error:
        raise invalid(f"the body is {error}") from None
    if not isinstance(value, dict):
        raise invalid("the body must be a JSON object")
    return Fields(value)
