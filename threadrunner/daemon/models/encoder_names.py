"""Which encoder of pictures (mmproj) is for which model, as far as files' names tell. Pure.

Names are as people publish them: `mmproj-model-f16.gguf`, `mmproj-gemma-3-4b-it-f16.gguf`,
`Qwen2.5-VL-3B-Instruct-mmproj-f16.gguf`. What a name says of kind and quantization is not part of the model's.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from threadrunner.daemon.models.selection import firsts

_PREFERRED = ("fp?16", "q8_0", "bf16", "fp?32")
"""As patterns. An encoder is small beside its model and suffers more from being made smaller, so f16 comes first, which
most that are published are. bf16 comes after q8_0: CUDA's convolution for long did not take it and ended the process
(llama.cpp's issue 15536), and it keeps no more of a number than q8_0 does. f32 is twice f16, and no better.

llama.cpp (-hf) takes the one whose bits are nearest to the model's: for one of 4 bits q8_0 before f16."""
_QUANTIZATION = re.compile(
    r"(?:^|[-._])(i?q\d\w*|[tm]xfp\d|mxfp4|nvfp4|bf16|f16|fp16|f32|fp32|ud|imat)(?=[-._]|$)", re.IGNORECASE
)
_WORDS = re.compile(r"mmproj|(?:^|[-._])model(?=[-._]|$)|-\d{5}-of-\d{5}", re.IGNORECASE)


def is_encoder(file: str) -> bool:
    return file.endswith(".gguf") and "mmproj" in posixpath.basename(file).lower()


def beside(model: str, files: Iterable[str]) -> list[str]:
    """The encoders for a model among the files of its folder, best first: those of its name, then those of no name of
    their own, where all models there are one in several sizes."""
    files = [*files]
    alone = {_name(other) for other in (model, *firsts(files))} == {_name(model)}
    wanted = {_name(model), ""} if alone else {_name(model)}
    found = [file for file in files if is_encoder(file) and _name(file) in wanted]
    return sorted(found, key=lambda file: (not _name(file), _preference(file), file))


def along(model: str, files: Iterable[str]) -> str:
    """The encoder that is fetched along with a model (its first file), of all files of a repository; empty: none.

    As for llama.cpp, it is in the model's folder or in one that this one is in. Where the repository has several
    models, it may have no word in its name that the model's has not. The most words of the model's name win,
    then the nearest folder, then the quantization.
    """
    files = [*files]
    one = len({_name(other) for other in (model, *firsts(files))}) == 1
    words = set(_name(model).split("-"))
    ranked = []
    for file in files:
        folder, own = posixpath.dirname(file), {*filter(None, _name(file).split("-"))}
        if is_encoder(file) and _is_within(posixpath.dirname(model), folder) and (one or own <= words):
            ranked.append((-len(own & words), -len(folder), _preference(file), file))
    return min(ranked)[-1] if ranked else ""


def local_name(encoder: str, model: str) -> str:
    """How an encoder of a repository is called in the folder of its model, so that `beside` finds it for all sizes of
    this model, and for no other that comes into the folder."""
    file, model = posixpath.basename(encoder), posixpath.basename(model)
    if _name(file) == _name(model):
        return file
    quantizations = _QUANTIZATION.findall(_stem(file))
    return "-".join(filter(None, ["mmproj", _bare(model), *quantizations[-1:]])) + ".gguf"


def _is_within(folder: str, outer: str) -> bool:
    return not outer or f"{folder}/".startswith(f"{outer}/")


def _stem(file: str) -> str:
    return posixpath.basename(file).removesuffix(".gguf")


def _bare(file: str) -> str:
    """A file's name without what tells its quantization and kind."""
    return _QUANTIZATION.sub("", _WORDS.sub("", _stem(file))).strip("-._ ")


def _name(file: str) -> str:
    """The same, where different signs between words mean nothing."""
    return re.sub(r"[-._ ]+", "-", _bare(file)).strip("-").lower()


def _preference(file: str) -> int:
    kinds = [i for i, kind in enumerate(_PREFERRED) if re.search(rf"(^|[-._]){kind}([-._]|$)", file, re.IGNORECASE)]
    return min(kinds, default=len(_PREFERRED))
