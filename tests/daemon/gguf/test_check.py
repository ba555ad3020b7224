"""The check of a file's header: what it refuses and why, what it tells of a healthy one."""

from __future__ import annotations

import ctypes
import os
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.gguf.ggufs import LIST, TEXT, WEIGHTS, Raw, Tensor, made, text
from threadrunner.api.errors import ModelLoadFailed
from threadrunner.daemon.gguf.check import SUFFIX_TOKENS, Facts, check_gguf
from threadrunner.daemon.gguf.tables import TENSOR_TYPES
from threadrunner.syntax.infill_families import FAMILIES


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def refused(path: Path, data: bytes | None = None) -> ModelLoadFailed:
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ModelLoadFailed) as caught:
        check_gguf(str(path))
    return caught.value


def test_facts_of_the_real_model(smollm2: Path) -> None:
    facts = check_gguf(str(smollm2))
    assert facts == Facts(
        architecture="llama",
        name="Smollm2 135M 8k Lc100K Mix1 Ep2",
        parameters=134_515_008,
        quantization="Q4_1",
        context=8192,
        width=576,
        vocabulary=49152,
        chat_template=True,
        fim=False,
        size=98_362_432,
        files=(str(smollm2),),
        sampling={},
    )


def test_what_a_file_recommends(model: Path) -> None:
    said = {"general.sampling.temp": 0.7, "general.sampling.top_k": 20, "general.sampling.min_p": float("nan")}
    model.write_bytes(made({**said, "general.sampling.sequence": "kpt"}))
    assert check_gguf(str(model)).sampling == {"temp": 0.7, "top_k": 20}


def test_facts_of_a_coder(qwen_coder: Path) -> None:
    facts = check_gguf(str(qwen_coder))
    assert (facts.architecture, facts.quantization, facts.fim, facts.context) == ("qwen2", "Q4_K_M", True, 32768)


def test_facts_of_a_tiny_one(model: Path) -> None:
    model.write_bytes(made())
    facts = check_gguf(str(model))
    assert (facts.name, facts.parameters, facts.quantization, facts.context) == ("Tiny", 128, "F32", 64)
    assert facts.fim
    assert not facts.chat_template


def test_a_name_cannot_write_on_the_terminal(model: Path) -> None:
    model.write_bytes(made({"general.name": "a\x1b]0;title\x07\nb" + "c" * 500}))
    name = check_gguf(str(model)).name
    assert name.isprintable()
    assert len(name) == 100


def test_a_file_without_a_name_has_the_files(model: Path) -> None:
    model.write_bytes(made({"general.name": None}))
    assert check_gguf(str(model)).name == "model"


def nested(depth: int) -> Raw:
    return Raw(LIST, struct.pack("<IQ", LIST, 1) * depth + struct.pack("<IQI", 4, 1, 7))


def one(kind: int, form: str, *values: Any) -> Raw:
    return Raw(kind, struct.pack(f"<{form}", *values))


def tensors(*changed: Tensor) -> list[Tensor]:
    return [WEIGHTS[0], *changed]


REFUSED = {
    "empty": (b"", "begins with|within its header"),
    "not one at all": (b"PK\x03\x04" + bytes(100), "it is not a GGUF file"),
    "version 1": (made(version=1), "version is 1"),
    "version 4": (made(version=4), "version is 4"),
    "big-endian": (made(version=0x03000000), "big-endian"),
    "more keys than fit": (made(keys=4000), "claims to have 4000 keys"),
    "absurdly many keys": (made(keys=2**63), "keys"),
    "absurdly many tensors": (made(count=2**64 - 1), "tensors"),
    "a key twice": (made(extra=text("general.name") + struct.pack("<II", 4, 1)), "appears twice"),
    "an empty key": (made(extra=text("") + struct.pack("<II", 4, 1)), "empty"),
    "a key of 1 GiB": (made(extra=struct.pack("<Q", 1 << 30)), "claims to have 1073741824 bytes"),
    "a text of 2**64 bytes": (made({"general.name": one(TEXT, "Q", 2**64 - 1)}), "claims to have"),
    "a type that is none": (made({"general.name": one(13, "I", 0)}), "type 13"),
    "arrays in arrays": (made({"x.y": nested(1)}), "array of arrays"),
    "arrays in arrays, deep": (made({"x.y": nested(100_000)}), "array of arrays"),
    "a bool that is 7": (made({"x.y": one(7, "B", 7)}), "not true or false"),
    "a list of 2**62 numbers": (made({"x.y": one(LIST, "IQ", 4, 2**62)}), "claims to have"),
    "a list of 2**61 texts": (made({"x.y": one(LIST, "IQ", TEXT, 2**61)}), "claims to have"),
    "an entry of 2**63 bytes": (made({"x.y": one(LIST, "IQQ", TEXT, 1, 2**63)}), "ends after the file's end"),
    "alignment 0": (made({"general.alignment": 0}), "alignment is 0"),
    "alignment 33": (made({"general.alignment": 33}), "alignment is 33"),
    "alignment 2**31": (made({"general.alignment": 2**31}), "alignment is"),
    "alignment is a text": (made({"general.alignment": "32"}), "alignment is"),
    "no architecture": (made({"general.architecture": None}), "what architecture"),
    "architecture is a number": (made({"general.architecture": 5}), "not a text"),
    "an architecture with a path": (made({"general.architecture": "../x"}), "what architecture"),
    "no layers": (made({"llama.block_count": 0}), "block_count is 0"),
    "4096 layers": (made({"llama.block_count": 4096}), "block_count is 4096"),
    "layers are a text": (made({"llama.block_count": "1"}), "block_count is not a whole number"),
    "layers are -1": (made({"llama.block_count": one(5, "i", -1)}), "block_count is -1"),
    "layers in a list": (made({"llama.block_count": [1, 2]}), "not one number"),
    "no context length": (made({"llama.context_length": None}), "context_length is missing"),
    "a context of 2**31": (made({"llama.context_length": 2**31}), "context_length is"),
    "heads beyond reason": (made({"llama.attention.head_count": 2**20}), "head_count is"),
    "one layer's heads beyond reason": (made({"llama.attention.head_count": [2, 2**30]}), "head_count is"),
    "more kv heads than heads": (made({"llama.attention.head_count_kv": 3}), "3 key-value heads for 2"),
    "a kv row beyond reason": (
        made({"llama.attention.head_count": 9999, "llama.attention.key_length": 60000}),
        "9999 key-value heads of 60000",
    ),
    "an epsilon below 0": (made({"llama.attention.layer_norm_rms_epsilon": -1.0}), "not between 0 and 1"),
    "a float that is none": (made({"llama.rope.freq_base": float("nan")}), "finite"),
    "more experts used than there are": (made({"llama.expert_used_count": 3}), "experts"),
    "no tokens": (made({"tokenizer.ggml.tokens": None}), "without tokens"),
    "tokens are numbers": (made({"tokenizer.ggml.tokens": [1, 2, 3]}), "tokens is not a list"),
    "fewer types than tokens": (made({"tokenizer.ggml.token_type": [1, 1]}), "2 entries for 3 tokens"),
    "types are floats": (made({"tokenizer.ggml.token_type": [1.0, 1.0, 1.0]}), "token_type is not a list"),
    "fewer scores than tokens": (made({"tokenizer.ggml.scores": [0.5]}), "1 entries for 3 tokens"),
    "merges are numbers": (made({"tokenizer.ggml.merges": [1]}), "merges is not a list"),
    "a token's number is a text": (made({"tokenizer.ggml.eos_token_id": "2"}), "not a token's number"),
    "a template that is a list": (made({"tokenizer.chat_template": [1]}), "chat_template is not a text"),
    "a short charsmap": (made({"tokenizer.ggml.precompiled_charsmap": one(LIST, "IQB", 0, 1, 0)}), "too short"),
    "an image encoder": (made({"general.architecture": "clip"}), "image encoder"),
    "an adapter": (made({"general.type": "adapter"}), "LoRA adapter"),
    "no tensors": (made(tensors=[]), "no weights"),
    "a tensor twice": (made(tensors=tensors(WEIGHTS[0])), "two tensors are called"),
    "a tensor without a name": (made(tensors=tensors(Tensor(""))), "is empty"),
    "a tensor's name too long": (made(tensors=tensors(Tensor("x" * 64))), "claims to have 64 bytes"),
    "five dimensions": (made(tensors=tensors(Tensor("x", (1, 1, 1, 1, 1)))), "5 dimensions"),
    "no dimensions": (made(tensors=tensors(Tensor("x", ()))), "0 dimensions"),
    "a length of 0": (made(tensors=tensors(Tensor("x", (0,)))), "shape"),
    "a length below 0": (made(tensors=tensors(Tensor("x", (-32,)))), "shape"),
    "lengths that overflow": (made(tensors=tensors(Tensor("x", (2**32, 2**32)))), "shape"),
    "bytes that overflow": (made(tensors=tensors(Tensor("x", (2**61,)))), "shape"),
    "a type that was removed": (made(tensors=tensors(Tensor("x", kind=4))), "type 4"),
    "a type that never was": (made(tensors=tensors(Tensor("x", kind=2**31))), "type 2147483648"),
    "half a block": (made(tensors=tensors(Tensor("x", (48,), kind=2))), "needs multiples of 32"),
    "an offset in the header": (made(tensors=tensors(Tensor("x", offset=2**64 - 32))), "must be at"),
    "two tensors in one place": (made(tensors=tensors(Tensor("x", offset=0))), "must be at 384"),
    "a gap between tensors": (made(tensors=tensors(Tensor("x", offset=4096))), "must be at 384"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(model: Path, name: str) -> None:
    data, why = REFUSED[name]
    error = refused(model, data)
    assert re.search(why, error.message), error.message
    assert str(model) in error.message
    assert "fetch it again" in error.message


def test_every_truncation_of_a_tiny_one_is_refused(model: Path) -> None:
    whole = made()
    model.write_bytes(whole)
    check_gguf(str(model))
    for size in range(len(whole)):
        os.truncate(model, 0)
        error = refused(model, whole[:size])
        assert size < 4 or error.facts["incomplete"], (size, error.message)


def test_the_padding_at_the_end_may_be_missing(model: Path) -> None:
    odd = [Tensor("token_embd.weight", (3,), size=12)]
    model.write_bytes(made(tensors=odd)[:-20])
    check_gguf(str(model))
    assert refused(model, made(tensors=odd)[:-21]).facts["incomplete"]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path)])
def test_what_is_no_file_is_refused_and_not_waited_for(model: Path, make: Any) -> None:
    make(model)
    refused(model)


def test_every_familys_suffix_token_is_known() -> None:
    """The engine's table of families, which the daemon must not import."""
    assert {family.suf for family in FAMILIES} == set(SUFFIX_TOKENS)


def test_a_file_that_is_not_there(model: Path) -> None:
    assert "No such file" in refused(model).message


class TestParts:
    """A model split in files, as llama.cpp's gguf-split does it."""

    @pytest.fixture
    def parts(self, tmp_path: Path) -> list[Path]:
        files = []
        for number in range(3):
            about = {"split.no": one(2, "H", number), "split.count": one(2, "H", 3)}
            path = tmp_path / f"big-{number + 1:05}-of-00003.gguf"
            if number == 0:
                path.write_bytes(made({**about, "split.tensors.count": one(5, "i", 4)}))
            else:
                path.write_bytes(made(about, [Tensor(f"blk.{number}.weight")]))
            files.append(path)
        return files

    def test_count_as_one_model(self, parts: list[Path]) -> None:
        facts = check_gguf(str(parts[0]))
        assert facts.files == tuple(map(str, parts))
        assert facts.size == sum(path.stat().st_size for path in parts)
        assert facts.parameters == 128 + 2 * 32

    def test_one_is_missing(self, parts: list[Path]) -> None:
        parts[1].unlink()
        error = refused(parts[0])
        assert "big-00002-of-00003.gguf" in error.message
        assert error.facts["incomplete"]

    def test_one_is_cut(self, parts: list[Path]) -> None:
        os.truncate(parts[2], parts[2].stat().st_size - 1)
        error = refused(parts[0])
        assert "big-00003-of-00003.gguf" in error.message
        assert error.facts["incomplete"]

    def test_one_is_damaged(self, parts: list[Path]) -> None:
        parts[2].write_bytes(b"GGML" + parts[2].read_bytes()[4:])
        assert "big-00003-of-00003.gguf, it is not a GGUF file" in refused(parts[0]).message

    def test_two_are_exchanged(self, parts: list[Path]) -> None:
        second = parts[1].read_bytes()
        parts[1].write_bytes(parts[2].read_bytes())
        parts[2].write_bytes(second)
        assert "out of order" in refused(parts[0]).message

    def test_the_same_tensor_in_two(self, parts: list[Path]) -> None:
        parts[2].write_bytes(parts[2].read_bytes().replace(b"blk.2.weight", b"blk.1.weight"))
        assert "the same tensor" in refused(parts[0]).message

    def test_too_few_tensors_together(self, parts: list[Path]) -> None:
        about = {"split.no": one(2, "H", 0), "split.count": one(2, "H", 3), "split.tensors.count": one(5, "i", 9)}
        assert "4 tensors together, not 9" in refused(parts[0], made(about)).message

    def test_another_than_the_first_is_named(self, parts: list[Path]) -> None:
        assert "name the first one, big-00001-of-00003.gguf" in refused(parts[1]).message

    def test_a_name_that_does_not_fit(self, parts: list[Path], tmp_path: Path) -> None:
        assert "must be called" in refused(parts[0].rename(tmp_path / "big.gguf")).message


def test_sizes_of_blocks_are_the_librarys() -> None:
    from llama_cpp import llama_cpp

    folder = Path(llama_cpp.__file__).parent / "lib"
    library = ctypes.CDLL(str(next(path for path in sorted(folder.glob("*ggml-base*")))))
    library.ggml_type_size.restype = ctypes.c_size_t
    library.ggml_blck_size.restype = ctypes.c_int64
    library.ggml_type_name.restype = ctypes.c_char_p
    last = max(TENSOR_TYPES)
    for number in range(last + 1):
        block, size = library.ggml_blck_size(number), library.ggml_type_size(number)
        if number in TENSOR_TYPES:
            known = TENSOR_TYPES[number]
            assert (known.block, known.size) == (block, size), known
            assert library.ggml_type_name(number).decode().upper() == known.name
        else:
            assert size == 0, f"ggml has a type {number}: {library.ggml_type_name(number)}"
