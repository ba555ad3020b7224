"""A stand-in daemon, and editors connected to servers that use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lsp.editor import INLINE, Editor
from tests.lsp.standin import Standin, standing


@pytest.fixture
def standin() -> Iterator[Standin]:
    yield from standing()


@pytest.fixture
def start(standin: Standin) -> Iterator[Callable[..., Editor]]:
    """Makes editors; each is shut down at the end, and must end well."""
    editors: list[Editor] = []

    def make(capabilities: dict[str, Any] | None = None, **initialize: Any) -> Editor:
        editors.append(Editor(standin.env, capabilities, **initialize))
        return editors[-1]

    yield make
    for editor in editors:
        if editor.process.returncode is None:
            assert editor.close() == 0


@pytest.fixture
def editor(start: Callable[..., Editor]) -> Editor:
    """One that knows inline completion, with no waiting after keys and no guessing ahead."""
    return start(INLINE, initializationOptions={"debounceMs": 0, "speculate": False})
