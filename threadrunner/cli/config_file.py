"""Sets an option in config.toml, for the commands that do so, and leaves the rest of the file as it was."""

from __future__ import annotations

import contextlib
import json
import os
import stat

from threadrunner import paths
from threadrunner.cli import stdin
from threadrunner.cli.flags import UsageError


def set_option(name: str, value: str | bool) -> str:
    """The file's path. Raises UsageError where the file cannot be changed by this means, OSError, paths.PathError."""
    path = os.path.realpath(paths.config_file())  # a link into one's dotfiles stays a link
    try:
        with open(path, "rb") as file:
            data, mode = file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except FileNotFoundError:
        paths.make_home()
        data, mode = b"", None
    _replace(path, _changed(path, data, name, value), mode)
    return path


def _changed(path: str, data: bytes, name: str, value: str | bool) -> bytes:
    """What the file is to have, in the encoding and with the line ends that it has. It is read as the daemon reads it
    before it is written: a line more is no option where the file is broken, or has it in another form."""
    import tomllib

    codec = stdin.codec_of(data)
    try:
        before = data.decode(codec)
        after = with_option(before.replace("\r\n", "\n"), name, value)
        if tomllib.loads(after).get(name) != value:
            raise ValueError("it has the option in another form")
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8
        advice = f"Mend it, or write `{_line(name, value)}` there yourself."
        raise UsageError(f"{path} cannot be changed here: {error}\n{advice}") from None
    if "\r\n" in before:
        after = after.replace("\n", "\r\n")
    return after.encode(codec)


def _replace(path: str, data: bytes, mode: int | None) -> None:
    """`mode` None: as any new file. Raises OSError, and then the file is as it was."""
    temporary = f"{path}.new"
    try:
        with open(temporary, "wb") as file:
            if mode is not None:
                os.chmod(temporary, mode)  # before there is anything to read
            file.write(data)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise OSError(error.errno, error.strerror, path) from None


def with_option(text: str, name: str, value: str | bool) -> str:
    """config.toml's text with this option of the top level set. An option ends where a table begins, so a new one goes
    before the first table."""
    line = _line(name, value)
    lines = text.removesuffix("\n").split("\n") if text else []
    top = next((i for i, old in enumerate(lines) if old.lstrip().startswith("[")), len(lines))
    for i, old in enumerate(lines[:top]):
        if old.partition("=")[0].strip() == name and "=" in old:
            lines[i] = line
            break
    else:
        blank = [""] if top < len(lines) else []
        lines[top:top] = [line, *blank]
    return "\n".join(lines) + "\n"


def _line(name: str, value: str | bool) -> str:
    return f"{name} = {json.dumps(value, ensure_ascii=False)}"
