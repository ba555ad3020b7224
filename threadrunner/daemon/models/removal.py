"""Removing a model: its files go if they are in the models folder, and nothing else does. Blocking.

Where a file is, is asked of the kernel and not read off its name: a folder `models-backup` begins like `models`, and a
folder in `models` may be a link to another disk. The files are removed by descriptors of their folders, opened from the
models folder downwards without following a link, so that a folder that is exchanged meanwhile leads nowhere.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator

from msgspec import UNSET

from threadrunner.api.errors import InvalidParams, ModelNotFound
from threadrunner.api.models import Removed
from threadrunner.daemon.gguf.names import printable
from threadrunner.daemon.models import mmproj
from threadrunner.daemon.models.folders import models_in
from threadrunner.daemon.models.reference import ModelRef
from threadrunner.daemon.models.selection import firsts
from threadrunner.system import files

_FOLDER = os.O_RDONLY | files.DIRECTORY | files.NOFOLLOW | files.OWN


def check_removable(model: ModelRef, folder: str) -> None:
    """Raises ModelNotFound if there is no file, InvalidParams if one is not in the models folder."""
    if not model.present:
        raise ModelNotFound(f"{model.name} is not on this machine, so there is nothing to remove", model=model.name)
    if model.keeper:
        raise InvalidParams(f"{model.name} belongs to {model.keeper}; remove it there")
    for file in model.entries:
        _folders_to(file, folder)


def remove(model: ModelRef, folder: str, encoders: Iterable[object] = ()) -> Removed:
    """Delete its files, and the folders of a hub's model that are empty then. What a link points to stays.

    Its encoder of pictures goes with the last model that it lies beside, unless it is one of those that config.toml
    names, by path or by file (`encoders`).

    `size_bytes` of the result is what is free on the disk: a link's target, or a file that has other hard links, frees
    nothing. Raises as check_removable does, and InvalidParams for a file that the system does not let us delete.
    """
    check_removable(model, folder)
    removed, freed = [], 0
    encoder = mmproj.beside(model.path)
    for file in _leaving(model, encoder, encoders):
        try:
            with _opened(file, folder) as place:
                freed += _frees(os.path.basename(file), place)
                os.unlink(os.path.basename(file), dir_fd=place)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InvalidParams(f"{printable(file)} cannot be removed: {error.strerror}") from None
        removed.append(printable(file))
    if model.hub:
        _remove_empty(model, folder)
    return Removed(model.name, removed, freed, mmproj=printable(encoder) if printable(encoder) in removed else UNSET)


def _leaving(model: ModelRef, encoder: str, named: Iterable[object]) -> Iterator[str]:
    """The first part first: without it the model does not exist. The encoder last, when it is clear which models are
    left."""
    yield from model.entries
    folder = os.path.dirname(model.path)
    if not encoder or any(name in (encoder, os.path.basename(encoder)) for name in named):
        return
    if all(mmproj.beside(os.path.join(folder, other)) != encoder for other in firsts(models_in(folder))):
        yield encoder


def _frees(name: str, place: int) -> int:
    status = os.stat(name, dir_fd=place, follow_symlinks=False)
    return status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0


def _remove_empty(model: ModelRef, folder: str) -> None:
    """The folders of a repository and of its owner, if nothing else is in them."""
    repo = os.path.dirname(model.path)
    for empty in (repo, os.path.dirname(repo)):
        try:
            with _opened(empty, folder) as place:
                os.rmdir(os.path.basename(empty), dir_fd=place)
        except (OSError, InvalidParams):
            return


def _folders_to(file: str, root: str) -> list[str]:
    """The folders between the models folder and the file. Raises InvalidParams if it is not in there."""
    real_root, real_place = os.path.realpath(root), os.path.realpath(os.path.dirname(file))
    if os.path.commonpath([real_root, real_place]) != real_root:
        raise InvalidParams(
            f"{printable(file)} is not in {printable(root)}; only models in that folder are removed, delete it yourself"
        )
    between = os.path.relpath(real_place, real_root)
    return [] if between == os.curdir else between.split(os.sep)


@contextlib.contextmanager
def _opened(file: str, root: str) -> Iterator[int]:
    """A descriptor of the folder that the file is in. Raises InvalidParams, or OSError if it has gone."""
    names = _folders_to(file, root)
    place = os.open(os.path.realpath(root), _FOLDER)
    try:
        for name in names:
            inner = os.open(name, _FOLDER, dir_fd=place)
            os.close(place)
            place = inner
        yield place
    finally:
        os.close(place)
