"""What a GGUF file holds, and whether native code may see it.

`check` is asked before a worker is started for a file. It looks at the header only, so it takes milliseconds for
files of any size; what it lets pass and llama.cpp does not take is refused there, in a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from threadrunner.api.errors import ModelLoadFailed
from threadrunner.daemon.gguf import rules
from threadrunner.daemon.gguf.header import Array, Damaged, Header, Incomplete, Tensor, read
from threadrunner.daemon.gguf.tables import FILE_TYPES, STRING, TENSOR_TYPES

PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
"""A file of a split model, as llama.cpp names it."""

MOST_PARTS = 1000
_MOST_VOCABULARY = 64 << 20

# A model can infill if its vocabulary has a token like one of these (engine/fim.py, which needs all three); the
# worker says it for certain once the model is loaded.
_SUFFIX_TOKENS = (
    "<|fim_suffix|>",
    "<fim_suffix>",
    "<fim-suffix>",
    "<｜fim▁hole｜>",  # noqa: RUF001
    "<[fim-suffix]>",
    "▁<SUF>",
    "[SUFFIX]",
)


class Facts(NamedTuple):
    """What the header tells of a model; of all its parts together."""

    architecture: str
    name: str
    parameters: int
    quantization: str
    context: int
    """Tokens it was trained for."""
    chat_template: bool
    fim: bool
    size: int
    """Bytes of all its files."""
    files: tuple[str, ...]


def check_gguf(path: str) -> Facts:
    """Raises ModelLoadFailed, whose text says what is wrong with the file and what to do.

    Its fact `incomplete` is true where the file may yet become whole, say a download that still runs.
    """
    try:
        with _opened(path) as (fd, size):
            header = read(fd, size)
            _whole(header, size)
            files = _parts(path, header)
            rules.check(header)
            fim = _can_infill(header, fd)
        tensors, sizes = [*header.tensors], size
        for number, file in enumerate(files[1:], start=1):
            part, bytes_ = _part(file, number, len(files))
            tensors += part.tensors
            sizes += bytes_
        _all_there(header, tensors)
    except Damaged as damaged:
        incomplete = isinstance(damaged, Incomplete)
        advice = "wait until it is all there, or fetch it again" if incomplete else "fetch it again or use another"
        what = "is not complete" if incomplete else "cannot be used"
        raise ModelLoadFailed(f"{path} {what}: {damaged}; {advice}", path=path, incomplete=incomplete) from None
    except OSError as error:
        raise ModelLoadFailed(f"{error.filename or path} cannot be read: {error.strerror}", path=path) from None
    return Facts(
        architecture=header.text("general.architecture") or "",
        name=_one_line(header.text("general.name") or "") or os.path.basename(path).removesuffix(".gguf"),
        parameters=sum(tensor.elements for tensor in tensors),
        quantization=_quantization(header, tensors),
        context=header.whole(f"{header.text('general.architecture')}.context_length") or 0,
        chat_template=bool(header.text("tokenizer.chat_template")),
        fim=fim,
        size=sizes,
        files=files,
    )


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[int, int]]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe must not keep us waiting
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise Damaged("it is not a file")
        yield fd, facts.st_size
    finally:
        os.close(fd)


def _whole(header: Header, size: int) -> None:
    if header.end > size:
        raise Incomplete(f"its tensors need {header.end} bytes, it has {size}")


def part_names(path: str) -> tuple[str, ...]:
    """All files of the split model that `path` is a part of, the first one first; () for a model in one file."""
    match = PART.fullmatch(os.path.basename(path))
    count = int(match["count"]) if match else 0
    if match is None or not 1 <= count <= MOST_PARTS:
        return ()
    names = (f"{match['stem']}-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1))
    return tuple(os.path.join(os.path.dirname(path), name) for name in names)


def _parts(path: str, header: Header) -> tuple[str, ...]:
    """The model's files. Raises Damaged unless `path` is the first of them."""
    count = header.whole("split.count") or 1
    number = header.whole("split.no") or 0
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
        raise Incomplete(f"of its {count} files {len(missing)} are missing, {missing[0]} for one")
    return names


def _part(path: str, number: int, count: int) -> tuple[Header, int]:
    name = os.path.basename(path)
    try:
        with _opened(path) as (fd, size):
            header = read(fd, size)
            _whole(header, size)
    except Damaged as damaged:
        raise type(damaged)(f"in its part {name}, {damaged}") from None
    if header.whole("split.no") != number or header.whole("split.count") != count:
        raise Damaged(f"its part {name} belongs to another model, or in another place")
    return header, size


def _all_there(header: Header, tensors: list[Tensor]) -> None:
    wanted = header.whole("split.tensors.count")
    if wanted is not None and (header.whole("split.count") or 1) > 1 and wanted != len(tensors):
        raise Damaged(f"its files hold {len(tensors)} tensors together, not {wanted}")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise Damaged("two of its files hold the same tensor")
    if not tensors:
        raise Damaged("it holds no weights")


def _can_infill(header: Header, fd: int) -> bool:
    if {"tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"} & header.values.keys():
        return True
    _, tokens = header.values.get("tokenizer.ggml.tokens", (0, None))
    if not isinstance(tokens, Array) or tokens.kind != STRING or tokens.end - tokens.start > _MOST_VOCABULARY:
        return False
    vocabulary = os.pread(fd, tokens.end - tokens.start, tokens.start)
    return any(len(text).to_bytes(8, "little") + text in vocabulary for text in map(str.encode, _SUFFIX_TOKENS))


def _quantization(header: Header, tensors: list[Tensor]) -> str:
    """What the file says of itself, else the type that most of its bytes have."""
    said = FILE_TYPES.get(header.whole("general.file_type") or -1) if "general.file_type" in header.values else None
    if said:
        return said
    sizes: Counter[int] = Counter()
    for tensor in tensors:
        sizes[tensor.kind] += tensor.size
    return TENSOR_TYPES[sizes.most_common(1)[0][0]].name


def _one_line(text: str) -> str:
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:100]
