"""What a GGUF file holds, and whether native code may see it.

`check_gguf` is called before a worker is started for a file. It reads the header only, so it takes milliseconds for
files of any size; what passes and llama.cpp cannot use is refused there, in a process of its own.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from threadrunner.api.errors import ModelLoadFailed
from threadrunner.daemon.gguf import rules
from threadrunner.daemon.gguf.header import Array, Damaged, Header, Incomplete, Tensor, read
from threadrunner.daemon.gguf.names import printable
from threadrunner.daemon.gguf.parts import part_names
from threadrunner.daemon.gguf.tables import FILE_TYPES, STRING, TENSOR_TYPES
from threadrunner.system import files

_SAMPLING = "general.sampling."
_MAX_VOCABULARY = 64 << 20
"""Bytes of all tokens' texts together."""

# A model can infill if its vocabulary has one of these tokens (engine/prompts/fim.py needs all three of a family); the
# worker knows for certain once the model is loaded.
SUFFIX_TOKENS = (
    "<|fim_suffix|>",
    "<fim_suffix>",
    "<fim-suffix>",
    "<｜fim▁hole｜>",  # noqa: RUF001
    "<[fim-suffix]>",
    "▁<SUF>",
    "[SUFFIX]",
)


_TEMPLATE = "tokenizer.chat_template"


class Facts(NamedTuple):
    """What the headers of a model's files say of it, all its parts together."""

    architecture: str
    name: str
    parameters: int
    quantization: str
    context: int
    """Tokens it was trained for."""
    width: int
    """Numbers in an embedding."""
    vocabulary: int
    """Tokens; 0 where the file lists none."""
    chat_template: bool
    fim: bool
    size: int
    """Bytes of all its files."""
    files: tuple[str, ...]
    sampling: dict[str, int | float]
    """How its makers say that tokens should be chosen, in llama.cpp's words: temp, top_k, penalty_repeat, …"""


def check_gguf(path: str) -> Facts:
    """What the file holds. Raises ModelLoadFailed, whose text says what is wrong with it and what to do.

    The error's fact `incomplete` is true if the file may still become complete, e.g. a download that is still running.
    """
    with reported(path):
        with opened(path) as (fd, size):
            header = read(fd, size)
            check_complete(header, size)
            files = _files(path, header)
            rules.check(header)
            fim = _can_infill(header, fd)
        tensors, sizes = [*header.tensors], size
        for number, file in enumerate(files[1:], start=1):
            part, bytes_ = _part(file, number, len(files))
            tensors += part.tensors
            sizes += bytes_
        _check_tensors(header, tensors)
    return Facts(
        architecture=header.text("general.architecture") or "",
        name=_one_line(header.text("general.name") or "") or os.path.basename(path).removesuffix(".gguf"),
        parameters=sum(tensor.elements for tensor in tensors),
        quantization=_quantization(header, tensors),
        context=header.integer(f"{header.text('general.architecture')}.context_length") or 0,
        width=header.integer(f"{header.text('general.architecture')}.embedding_length") or 0,
        vocabulary=_vocabulary(header),
        chat_template=bool(header.text("tokenizer.chat_template")),
        fim=fim,
        size=sizes,
        files=files,
        sampling=_sampling(header),
    )


def _vocabulary(header: Header) -> int:
    _, tokens = header.values.get("tokenizer.ggml.tokens", (STRING, None))
    return tokens.length if isinstance(tokens, Array) else 0


def chat_templates(path: str) -> dict[str, str]:
    """The chat templates in a file that `check_gguf` has passed, by name; the nameless one is "default", and first.
    Raises ModelLoadFailed."""
    try:
        with opened(path) as (fd, size):
            header = read(fd, size)
            names = [key for key in header.values if key == _TEMPLATE or key.startswith(f"{_TEMPLATE}.")]
            texts = {key.removeprefix(_TEMPLATE).removeprefix(".") or "default": header.text(key) for key in names}
    except (Damaged, OSError) as error:
        raise ModelLoadFailed(f"{printable(path)} cannot be read: {error}", path=printable(path)) from None
    return {name: text for name, text in sorted(texts.items(), key=lambda item: item[0] != "default") if text}


@contextlib.contextmanager
def reported(path: str) -> Iterator[None]:
    """What a check finds wrong with the file, as a client is told it. Raises ModelLoadFailed."""
    try:
        yield
    except Damaged as damaged:
        incomplete = isinstance(damaged, Incomplete)
        advice = "wait until it is complete, or fetch it again" if incomplete else "fetch it again or use another"
        what = "is not complete" if incomplete else "cannot be used"
        shown = printable(path)
        raise ModelLoadFailed(f"{shown} {what}: {damaged}; {advice}", path=shown, incomplete=incomplete) from None
    except OSError as error:
        where = printable(str(error.filename or path))
        raise ModelLoadFailed(f"{where} cannot be read: {error.strerror}", path=printable(path)) from None


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[int, int]]:
    """The file, and its size. Raises Damaged for what is none, and OSError."""
    fd = os.open(path, os.O_RDONLY | files.OWN | files.NONBLOCK)  # a named pipe must not keep us waiting
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Damaged("it is not a file")
        yield fd, status.st_size
    finally:
        os.close(fd)


def check_complete(header: Header, size: int) -> None:
    """Raises Incomplete."""
    if header.end > size:
        raise Incomplete(f"its tensors need {header.end} bytes, it has {size}")


def _files(path: str, header: Header) -> tuple[str, ...]:
    """The model's files. Raises Damaged unless `path` is the first of them."""
    count = header.integer("split.count") or 1
    number = header.integer("split.no") or 0
    if count == 1:
        return (path,)
    names = part_names(path)
    if len(names) != count:
        raise Damaged(
            f"it is part {number + 1} of {count}, and must be called something-{number + 1:05}-of-{count:05}.gguf"
        )
    if number != 0 or names[0] != path:
        raise Damaged(f"it is part {number + 1} of {count}; name the first one, {os.path.basename(names[0])}")
    missing = [os.path.basename(name) for name in names if not os.path.isfile(name)]
    if missing:
        raise Incomplete(f"{len(missing)} of its {count} files are missing, e.g. {missing[0]}")
    return names


def _part(path: str, number: int, count: int) -> tuple[Header, int]:
    name = os.path.basename(path)
    try:
        with opened(path) as (fd, size):
            header = read(fd, size)
            check_complete(header, size)
    except Damaged as damaged:
        raise type(damaged)(f"in its part {name}, {damaged}") from None
    if header.integer("split.no") != number or header.integer("split.count") != count:
        raise Damaged(f"its part {name} belongs to another model, or is out of order")
    return header, size


def _check_tensors(header: Header, tensors: list[Tensor]) -> None:
    expected = header.integer("split.tensors.count")
    if expected is not None and (header.integer("split.count") or 1) > 1 and expected != len(tensors):
        raise Damaged(f"its files hold {len(tensors)} tensors together, not {expected}")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise Damaged("two of its files hold the same tensor")
    if not tensors:
        raise Damaged("it holds no weights")


def _can_infill(header: Header, fd: int) -> bool:
    if {"tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"} & header.values.keys():
        return True
    _, tokens = header.values.get("tokenizer.ggml.tokens", (0, None))
    if not isinstance(tokens, Array) or tokens.kind != STRING or tokens.end - tokens.start > _MAX_VOCABULARY:
        return False
    vocabulary = files.pread(fd, tokens.end - tokens.start, tokens.start)
    return any(len(text).to_bytes(8, "little") + text in vocabulary for text in map(str.encode, SUFFIX_TOKENS))


def _quantization(header: Header, tensors: list[Tensor]) -> str:
    """The file's own statement, else the type of the majority of its bytes."""
    stated = FILE_TYPES.get(header.integer("general.file_type") or -1) if "general.file_type" in header.values else None
    if stated:
        return stated
    sizes: Counter[int] = Counter()
    for tensor in tensors:
        sizes[tensor.kind] += tensor.size
    return TENSOR_TYPES[sizes.most_common(1)[0][0]].name


def _sampling(header: Header) -> dict[str, int | float]:
    """Numbers under general.sampling."""
    found = {key[len(_SAMPLING) :]: value for key, (_, value) in header.values.items() if key.startswith(_SAMPLING)}
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in found.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }


def _one_line(text: str) -> str:
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())[:100]
