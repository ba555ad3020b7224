"""Which file is the encoder of pictures (mmproj) of a model: the one that config.toml names, else one beside it.

A repository has it once for all quantizations (`mmproj-model-f16.gguf`), a folder of many models by the model's name
(`mmproj-gemma-3-4b-it-f16.gguf`). Blocking.
"""

from __future__ import annotations

import os
import re

from threadrunner.api.errors import ModelLoadFailed, ModelNotFound
from threadrunner.daemon.gguf.mmproj import check_mmproj
from threadrunner.daemon.gguf.names import printable
from threadrunner.daemon.models.folders import models_in, say_once
from threadrunner.daemon.models.selection import firsts

OFF = "off"
_PREFERRED = ("f16", "bf16", "q8_0", "f32")
"""If there are several: an encoder is small beside its model, and suffers more from being made smaller."""
_QUANTIZATION = re.compile(
    r"(?:^|[-._])(?:i?q\d\w*|[tm]xfp\d|mxfp4|nvfp4|bf16|f16|fp16|f32|ud|imat)(?=[-._]|$)", re.IGNORECASE
)
_WORDS = re.compile(r"mmproj|(?:^|[-._])model(?=[-._]|$)|-\d{5}-of-\d{5}", re.IGNORECASE)


def find(model: str, named: str, folder: str) -> str:
    """The path of the encoder for the model at this path, empty for none; `named` is a path, a file's name beside the
    model or in the models folder, or OFF. Raises ModelNotFound for a named one that is not there."""
    if named == OFF:
        return ""
    if not named:
        return beside(model)
    for place in (os.path.dirname(model), folder):
        if os.path.isfile(path := os.path.join(place, named)):  # an absolute path stays as it is
            return path
    text = f"the mmproj {printable(named)} is not there: give its full path, or put it beside {printable(model)}"
    raise ModelNotFound(text, model=printable(named))


def beside(model: str) -> str:
    """The one that lies beside a model, as far as the names tell; empty: none. One that is damaged is passed over."""
    folder, file = os.path.split(model)
    files = models_in(folder)
    models = firsts(files)
    # those of one name first, then those of no name of their own, where all models here are one in several sizes
    wanted = {_name(file)} | ({""} if len({_name(other) for other in models}) == 1 else set())
    found = [other for other in files if _is_mmproj(other) and _name(other) in wanted]
    for candidate in sorted(found, key=_rank):
        path = os.path.join(folder, candidate)
        try:
            check_mmproj(path)
        except ModelLoadFailed as error:
            say_once(path, f"is left out: {error.message}")
        else:
            return path
    return ""


def _is_mmproj(file: str) -> bool:
    return "mmproj" in file.lower()


def _name(file: str) -> str:
    """A file's name without what tells its quantization and kind."""
    stem = file.removesuffix(".gguf")
    return re.sub(r"[-._ ]+", "-", _QUANTIZATION.sub("", _WORDS.sub("", stem))).strip("-").lower()


def _rank(file: str) -> tuple[bool, int, str]:
    kinds = [i for i, kind in enumerate(_PREFERRED) if re.search(rf"(^|[-._]){kind}([-._]|$)", file, re.IGNORECASE)]
    return not _name(file), min(kinds, default=len(_PREFERRED)), file
