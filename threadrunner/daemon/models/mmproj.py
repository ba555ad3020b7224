"""Which file is the encoder of pictures (mmproj) of a model: the one that config.toml names, else one beside it.

A repository has it once for all quantizations (`mmproj-model-f16.gguf`), a folder of many models by the model's name
(`mmproj-gemma-3-4b-it-f16.gguf`); see encoder_names.py. Blocking.
"""

from __future__ import annotations

import os

from threadrunner.api.errors import ModelLoadFailed, ModelNotFound
from threadrunner.daemon.gguf.mmproj import check_mmproj
from threadrunner.daemon.gguf.names import printable
from threadrunner.daemon.models import encoder_names
from threadrunner.daemon.models.folders import models_in, say_once

OFF = "off"


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
    """The one that lies beside a model, whose own file need not be there yet; empty: none. One that is damaged is
    passed over."""
    folder, file = os.path.split(model)
    for candidate in encoder_names.beside(file, models_in(folder)):
        path = os.path.join(folder, candidate)
        try:
            check_mmproj(path)
        except ModelLoadFailed as error:
            say_once(path, f"is left out: {error.message}")
        else:
            return path
    return ""
