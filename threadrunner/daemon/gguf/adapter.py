"""What a LoRA file holds, and whether native code may see it beside its model: llama.cpp multiplies its matrices with
the model's, and asserts what it does not check.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from threadrunner.daemon.gguf.check import check_complete, opened, reported
from threadrunner.daemon.gguf.header import Damaged, Header, Tensor, read
from threadrunner.daemon.gguf.names import printable
from threadrunner.daemon.gguf.parts import model_files

_A, _B = ".lora_a", ".lora_b"
_ALPHA = "adapter.lora.alpha"
_MAX_RANK = 1 << 14
_EMBEDDING = "token_embd.weight"

Shape = tuple[int, ...]


def check_adapter(path: str, model: str) -> None:
    """Raises ModelLoadFailed for an adapter that is none, or not for this model, whose own files were checked; the text
    says what is wrong with it and what to do."""
    with reported(model):
        base = [_header(file) for file in model_files(model)]
    tensors = {tensor.name: _shape(tensor) for header in base for tensor in header.tensors}
    with reported(path):
        header = _header(path)
        _check_kind(header)
        wanted, own = header.text("general.architecture"), base[0].text("general.architecture")
        if wanted != own:
            raise Damaged(f"it is an adapter for models of the architecture {wanted}, and {_name(model)} is {own}")
        _check_pairs(header, tensors, _name(model))


def _header(path: str) -> Header:
    """Raises Damaged."""
    with opened(path) as (fd, size):
        header = read(fd, size)
        check_complete(header, size)
        return header


def _name(path: str) -> str:
    return printable(path).rpartition("/")[2]


def _check_kind(header: Header) -> None:
    if header.text("general.type") != "adapter":
        raise Damaged("it is no adapter (its general.type is not adapter)")
    if (kind := header.text("adapter.type")) != "lora":
        raise Damaged(f"it is an adapter of the kind {kind}; only lora is supported")
    if "adapter.alora.invocation_tokens" in header.values:
        raise Damaged("it is an activated LoRA, which holds from certain words on; these are not supported")
    _, alpha = header.values.get(_ALPHA, (0, 0.0))
    if not isinstance(alpha, float) or not math.isfinite(alpha):
        raise Damaged(f"{_ALPHA} is not a finite number")


def _shape(tensor: Tensor) -> Shape:
    """Its lengths as ggml has them: always four, the fastest first."""
    return (*tensor.shape, 1, 1, 1, 1)[:4]


def _check_pairs(header: Header, base: Mapping[str, Shape], model: str) -> None:
    shapes = {tensor.name: _shape(tensor) for tensor in header.tensors}
    names = {name.removesuffix(end) for name in shapes for end in (_A, _B) if name.endswith(end)}
    if not names:
        raise Damaged("it holds no weights of an adapter")
    for name in sorted(names):
        if name + _A not in shapes or name + _B not in shapes:
            raise Damaged(f"of the pair for {name} one half is missing")
        if name not in base:
            raise Damaged(f"it changes {name}, which {model} does not have; it is for another model")
        _check_pair(name, shapes[name + _A], shapes[name + _B], base[name])


def _check_pair(name: str, a: Shape, b: Shape, model: Shape) -> None:
    """With a model's tensor of ne0 x ne1, A is ne0 x rank and B is rank x ne1; of the embedding, which is looked up and
    not multiplied, A is rank x ne1 and B is rank x ne0. More dimensions are the experts."""
    rank, fits = a[1], (a[0], b[1]) == model[:2] and a[1] == b[0]
    if name == _EMBEDDING:
        rank, fits = a[0], (b[1], a[1]) == model[:2] and a[0] == b[0]
    if not (fits and a[2:] == b[2:] == model[2:]):
        raise Damaged(
            f"its pair for {name} has the shapes {a} and {b}, the model's is {model}; it is for another model"
        )
    if not 1 <= rank <= _MAX_RANK:
        raise Damaged(f"its pair for {name} has the rank {rank}, not 1 to {_MAX_RANK}")
