"""Puts into the wheel what is rendered from the command line's declarations: the manual page, shell completions.

They land beside the command: PREFIX/share, where `man` and shells look if PREFIX/bin is in the PATH.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACES = {
    "man": "share/man/man1/threadrunner.1",
    "bash": "share/bash-completion/completions/threadrunner",
    "zsh": "share/zsh/site-functions/_threadrunner",
    "fish": "share/fish/vendor_completions.d/threadrunner.fish",
}


class RenderedFiles(BuildHookInterface):  # type: ignore[type-arg]
    """For every wheel, also one that leads back to the checkout."""

    def initialize(self, _version: str, build_data: dict[str, Any]) -> None:
        sys.path.insert(0, self.root)
        from threadrunner.cli.commands.completions import rendered

        self._folder = tempfile.TemporaryDirectory()
        for kind, place in PLACES.items():
            file = Path(self._folder.name) / kind
            file.write_text(rendered(kind), encoding="utf-8")
            build_data["shared_data"][str(file)] = place

    def finalize(self, _version: str, _build_data: dict[str, Any], _artifact_path: str) -> None:
        self._folder.cleanup()
