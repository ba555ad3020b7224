"""Sets an option in config.toml, for the commands that do so, and leaves the rest of the file as it was."""

from __future__ import annotations

import json
import os

from threadrunner import paths


def set_option(name: str, value: str | bool) -> str:
    """The file's path. Raises OSError, paths.PathError."""
    path = os.path.realpath(paths.config_file())  # a link into one's dotfiles stays a link
    try:
        with open(path, encoding="utf-8-sig") as file:
            before = file.read()
    except FileNotFoundError:
        paths.make_home()
        before = ""
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(with_option(before, name, value))
    os.replace(temporary, path)
    return path


def with_option(text: str, name: str, value: str | bool) -> str:
    """config.toml's text with this option of the top level set. An option ends where a table begins, so a new one goes
    before the first table."""
    line = f"{name} = {json.dumps(value, ensure_ascii=False)}"
    lines = text.splitlines()
    top = next((i for i, old in enumerate(lines) if old.lstrip().startswith("[")), len(lines))
    for i, old in enumerate(lines[:top]):
        if old.partition("=")[0].strip() == name and "=" in old:
            lines[i] = line
            break
    else:
        blank = [""] if top < len(lines) else []
        lines[top:top] = [line, *blank]
    return "\n".join(lines) + "\n"
