"""The chat template that config.toml gives a model: its text, or that of the file that it names. Blocking."""

from __future__ import annotations

import os

from threadrunner import paths
from threadrunner.config import ConfigError
from threadrunner.model_defaults import MAX_TEMPLATE, is_text


def find(template: str, where: str) -> str:
    """The text; a relative path begins in the folder of config.toml. Raises ConfigError with the place, `where`, for a
    file that cannot be used."""
    if is_text(template):
        return template
    path = os.path.join(os.path.dirname(paths.config_file()), os.path.expanduser(template))
    try:
        if not os.path.isfile(path):  # neither a folder nor a pipe, which would be waited for
            raise ConfigError(f"{where}: template: there is no file {path}; a template itself has {{{{ or {{% in it")
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_TEMPLATE + 1)
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a NUL in it
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(f"{where}: template: {path} cannot be read: {reason}") from None
    if not text.strip() or len(text) > MAX_TEMPLATE:
        raise ConfigError(f"{where}: template: {path} must have 1 to {MAX_TEMPLATE} characters")
    return text
