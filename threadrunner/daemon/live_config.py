"""The options in force. Everything that reads one keeps this object, so that an edit of config.toml reaches all."""

from __future__ import annotations

import os
from collections.abc import Callable

from threadrunner.api.errors import InvalidParams
from threadrunner.config import Config
from threadrunner.daemon.gguf.names import printable


class LiveConfig:
    """`current` is replaced as a whole, by DaemonServer alone."""

    def __init__(self, config: Config, fault: str = "") -> None:
        self.current = config
        self.fault = fault
        """What is wrong with config.toml since the daemon's start; empty once it could be read."""
        self.look: Callable[[], None] = lambda: None
        """Has the file read again if it has changed."""

    def check(self) -> None:
        """Before something is done that only the file allows or names, e.g. the model of a request that names none.
        Raises InvalidParams while the file cannot be read: what it says instead is not ours to guess."""
        if self.fault:
            self.look()
        if self.fault:
            raise InvalidParams(f"{self.fault}. Mend it, or name a model that is here: -m NAME")

    @property
    def default_model(self) -> str:
        """The name, or the absolute path, of the model of requests that name none. Printable: the environment may name
        a file whose name is not UTF-8."""
        config = self.current
        return printable(os.path.abspath(config.model_path) if config.model_path else config.model)
