"""Which GGUF of many: a repository has one model in a dozen quantizations, some of them in several files. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from threadrunner.daemon.gguf.parts import PART, part_names

PREFERRED = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "IQ4_XS", "IQ4_NL", "Q5_K_M", "Q8_0", "MXFP4", "F16", "BF16")
"""If none is named: small enough to be quick, large enough to be good."""

# Files beside a model that are not models: image encoders, quantizers' data.
_NOT_MODELS = re.compile(r"(^|[-._])(mmproj|imatrix)([-._]|$)", re.IGNORECASE)


class NoMatch(Exception):
    """The name fits none of the files, or several; the text lists what there is."""


def choose(files: Iterable[str], wanted: str = "") -> list[str]:
    """The files of the model that is `wanted`, by a quantization (`Q4_K_M`) or a file's name; the first part first.

    Raises NoMatch.
    """
    models = {first: parts(first) for first in firsts(files)}
    if not models:
        raise NoMatch("there is no GGUF file in it")
    for narrowed in _narrowings(list(models), wanted):
        if len(narrowed) == 1:
            return models[narrowed[0]]
        if narrowed and wanted:
            break
    kinds = ", ".join(posixpath.basename(file) for file in narrowed or sorted(models))
    why = f"{'several' if narrowed else 'none'} of its files fit {wanted!r}" if wanted else "it has several models"
    raise NoMatch(f"{why}; name one with :quantization or :file. It has {kinds}")


def firsts(files: Iterable[str]) -> list[str]:
    """The models among files: each one's (first) file. Parts without a first one are not models."""
    found = []
    for file in sorted(files):
        part = PART.fullmatch(posixpath.basename(file))
        if file.endswith(".gguf") and not _NOT_MODELS.search(posixpath.basename(file)) and (
            part is None or int(part["number"]) == 1
        ):  # fmt: skip
            found.append(file)
    return found


def _narrowings(files: list[str], wanted: str) -> list[list[str]]:
    """The files that `wanted` may mean, from the strictest reading to the loosest."""
    if wanted:
        exact = [file for file in files if wanted in (file, posixpath.basename(file))]
        return [exact, [file for file in files if _has(file, wanted)]]
    return [files, *([file for file in files if _has(file, kind)] for kind in PREFERRED)]


def _has(file: str, quantization: str) -> bool:
    """As a word of the file's name, so that Q4_K does not mean Q4_K_M, nor F16 BF16."""
    return bool(re.search(rf"(^|[-./]){re.escape(quantization)}([-./]|$)", file, re.IGNORECASE))


def parts(first: str) -> list[str]:
    """All files of the model whose first one this is."""
    return list(part_names(first)) or [first]
