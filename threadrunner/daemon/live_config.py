"""The options in force. Everything that reads one keeps this object, so that an edit of config.toml reaches all."""

from __future__ import annotations

import os

from threadrunner.api.names import printable
from threadrunner.config import Config


class LiveConfig:
    """`current` is replaced as a whole, by DaemonServer alone."""

    def __init__(self, config: Config) -> None:
        self.current = config

    @property
    def default_model(self) -> str:
        """The name, or the absolute path, of the model of requests that name none. Printable: the environment may name
        a file whose name is not UTF-8."""
        config = self.current
        return printable(os.path.abspath(config.model_path) if config.model_path else config.model)
