"""Models of some hundred kB with random weights, made here: one layer, 32 floats wide, a vocabulary of bytes.

What they say means nothing; what they are (how they pool, which tokens their file wants around a text, what kind of
network they are) is what tests of the engine need, and no model that could be fetched is small enough for it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.daemon.gguf.ggufs import text, typed

WIDTH, FEED, CONTEXT = 32, 32, 512
NOT_POOLED, MEAN, FIRST, LAST, RANK = range(5)
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4

Shapes = dict[str, tuple[int, ...]]
"""A tensor's name -> its lengths as ggml has them, the fastest first."""
Array = np.ndarray[Any, np.dtype[np.float32]]
Change = Callable[[str, Array], Array]
"""A tensor's name and its usual weights -> those to write."""


def _byte_letters() -> list[str]:
    """GPT-2's letter for each byte, by the byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in shown else chr(next(hidden)) for byte in range(256)]


def bytes_vocabulary(markers: Mapping[str, int] = {}) -> dict[str, Any]:
    """<s> is 0, </s> is 1, then the bytes; behind them `markers`, tokens by their text, each with its type."""
    letters = _byte_letters()
    tokens = ["<s>", "</s>", *letters, letters[32] * 2, *markers]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL, CONTROL, *[NORMAL] * 257, *markers.values()],
        "tokenizer.ggml.merges": [f"{letters[32]} {letters[32]}"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_bos_token": False,
    }


def letters_vocabulary() -> dict[str, Any]:
    """BERT's: [PAD] [UNK] [CLS] [SEP], then letters that begin a word and letters within one."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"▁{letter}" for letter in letters), *letters]
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL] * 4 + [NORMAL] * 52,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
    }


NO_VOCABULARY = {"tokenizer.ggml.model": "no_vocab", "vocab_size": 259}


def llama(path: Path, vocabulary: Mapping[str, Any] | None = None, **changes: Any) -> Path:
    """A model that generates. `changes` are keys of its own, e.g. pooling_type."""
    return _write(path, "llama", *_llama(vocabulary, changes))


def untied(
    path: Path,
    vocabulary: Mapping[str, Any] | None = None,
    *,
    salt: int = 0,
    change: Change | None = None,
    **changes: Any,
) -> Path:
    """As `llama`, whose likeliest token is nearly always the one before it, with an output of its own: it wanders.
    Another salt is other weights."""
    keys, shapes = _llama(vocabulary, changes)
    return _write(path, "llama", keys, {**shapes, "output.weight": shapes["token_embd.weight"]}, salt, change)


def _llama(vocabulary: Mapping[str, Any] | None, changes: Mapping[str, Any]) -> tuple[dict[str, Any], Shapes]:
    words = bytes_vocabulary() if vocabulary is None else vocabulary
    size = len(words.get("tokenizer.ggml.tokens", range(259)))
    shapes: Shapes = {"token_embd.weight": (WIDTH, size), "output_norm.weight": (WIDTH,), **_attention("blk.0")}
    shapes |= {"blk.0.attn_output.weight": (WIDTH, WIDTH), "blk.0.ffn_gate.weight": (WIDTH, FEED)}
    keys = {"attention.layer_norm_rms_epsilon": 1e-5, "rope.dimension_count": 16}
    return {**keys, **words, **changes}, shapes


def decoding_reranker(path: Path) -> Path:
    """Qwen3-Reranker's kind: it generates as well, and its head scores a text's last token."""
    keys, shapes = _llama(None, {"pooling_type": RANK, "classifier.output_labels": ["yes", "no"]})
    shapes |= {f"blk.0.attn_{which}_norm.weight": (16,) for which in "qk"}
    return _write(path, "qwen3", keys, {**shapes, "cls.output.weight": (WIDTH, 2)})


def bert(path: Path, pooling: int, **changes: Any) -> Path:
    """A model that only embeds; with RANK one that only scores."""
    words = letters_vocabulary()
    size = len(words["tokenizer.ggml.tokens"])
    shapes: Shapes = {"token_embd.weight": (WIDTH, size), "position_embd.weight": (WIDTH, CONTEXT)}
    shapes |= {f"blk.0.attn_{which}.weight": (WIDTH, WIDTH) for which in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_up.weight": (WIDTH, FEED), "blk.0.ffn_down.weight": (FEED, WIDTH)}
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        shapes |= {f"{name}.weight": (WIDTH,), f"{name}.bias": (WIDTH,)}
    if pooling == RANK:
        shapes |= {"cls.output.weight": (WIDTH,), "cls.output.bias": (1,)}
    keys = {"attention.layer_norm_epsilon": 1e-5, "attention.causal": False, "pooling_type": pooling}
    return _write(path, "bert", {**keys, **words, **changes}, shapes)


def t5(path: Path) -> Path:
    """An encoder and a decoder."""
    words = {**bytes_vocabulary(), "tokenizer.ggml.add_eos_token": True}
    shapes: Shapes = {"token_embd.weight": (WIDTH, len(words["tokenizer.ggml.tokens"]))}
    for side in ("enc", "dec"):
        shapes |= {f"{side}.output_norm.weight": (WIDTH,), f"{side}.blk.0.attn_rel_b.weight": (2, 8)}
        shapes |= {**_attention(f"{side}.blk.0"), f"{side}.blk.0.attn_o.weight": (WIDTH, WIDTH)}
    shapes |= {"dec.blk.0.cross_attn_norm.weight": (WIDTH,)}
    shapes |= {f"dec.blk.0.cross_attn_{which}.weight": (WIDTH, WIDTH) for which in "qkvo"}
    keys = {"attention.layer_norm_rms_epsilon": 1e-5, "attention.relative_buckets_count": 8}
    keys |= {"attention.key_length": 16, "attention.value_length": 16, "decoder_start_token_id": 0}
    return _write(path, "t5", {**keys, **words, "decoder_block_count": 1}, shapes)


# models whose state cannot be cut anywhere: with context for a conversation

SSM = {"ssm.conv_kernel": 4, "ssm.inner_size": 2 * WIDTH, "ssm.state_size": 16, "ssm.time_step_rank": 4}
LONG = {"context_length": 1024, "attention.layer_norm_rms_epsilon": 1e-5}


def mamba(path: Path) -> Path:
    """Recurrent layers alone."""
    shapes = _ends()
    for block in ("blk.0", "blk.1"):
        shapes |= {f"{block}.attn_norm.weight": (WIDTH,), f"{block}.ssm_in.weight": (WIDTH, 4 * WIDTH)}
        shapes |= {f"{block}.ssm_conv1d.weight": (4, 2 * WIDTH), f"{block}.ssm_conv1d.bias": (2 * WIDTH,)}
        shapes |= {f"{block}.ssm_x.weight": (2 * WIDTH, 36), f"{block}.ssm_dt.weight": (4, 2 * WIDTH)}
        shapes |= {f"{block}.ssm_dt.bias": (2 * WIDTH,), f"{block}.ssm_a": (16, 2 * WIDTH)}
        shapes |= {f"{block}.ssm_d": (2 * WIDTH,), f"{block}.ssm_out.weight": (2 * WIDTH, WIDTH)}
    none = {"attention.head_count": 0, "attention.head_count_kv": 0, "feed_forward_length": 0}
    return _write(path, "mamba", {**bytes_vocabulary(), **LONG, **SSM, **none, "block_count": 2}, shapes)


def hybrid(path: Path, state: int = 16) -> Path:
    """A recurrent layer and one with attention (Granite 4's kind)."""
    inner, conv = 2 * WIDTH, 2 * WIDTH + 2 * state
    shapes = {**_ends(), **_attention("blk.1"), "blk.1.attn_output.weight": (WIDTH, WIDTH)}
    shapes |= {"blk.0.attn_norm.weight": (WIDTH,), "blk.0.ssm_in.weight": (WIDTH, 2 * inner + 2 * state + 4)}
    shapes |= {"blk.0.ssm_conv1d.weight": (4, conv), "blk.0.ssm_conv1d.bias": (conv,), "blk.0.ssm_dt.bias": (4,)}
    shapes |= {"blk.0.ssm_a": (1, 4), "blk.0.ssm_d": (1, 4), "blk.0.ssm_norm.weight": (inner,)}
    shapes |= {"blk.0.ssm_out.weight": (inner, WIDTH), "blk.0.ffn_norm.weight": (WIDTH,)}
    shapes |= {"blk.0.ffn_up.weight": (WIDTH, FEED), "blk.0.ffn_down.weight": (FEED, WIDTH)}
    shapes |= {f"blk.{i}.ffn_gate.weight": (WIDTH, FEED) for i in (0, 1)}
    keys = {**SSM, "ssm.group_count": 1, "ssm.state_size": state, "block_count": 2, "attention.head_count_kv": [0, 2]}
    return _write(path, "granitehybrid", {**bytes_vocabulary(), **LONG, **keys}, shapes)


def windowed(path: Path) -> Path:
    """Five layers that look back 48 tokens, and one that looks at all."""
    shapes = _ends()
    for block in (f"blk.{i}" for i in range(6)):
        shapes |= {**_attention(block), f"{block}.attn_output.weight": (WIDTH, WIDTH)}
        shapes |= {f"{block}.{name}_norm.weight": (WIDTH,) for name in ("post_attention", "post_ffw")}
        shapes |= {f"{block}.attn_{which}_norm.weight": (16,) for which in "qk"}
        shapes |= {f"{block}.ffn_gate.weight": (WIDTH, FEED)}
    keys = {"block_count": 6, "attention.sliding_window": 48, "attention.key_length": 16, "attention.value_length": 16}
    return _write(path, "gemma3", {**bytes_vocabulary(), **LONG, **keys}, shapes)


def turning(path: Path, vocabulary: dict[str, Any] | None = None, *, deep: bool = False) -> Path:
    """Its tokens may have places by line and column (M-RoPE): Qwen2-VL's kind. `deep`: Qwen3-VL's, in which the rows of
    a picture bring something to the first layer, too."""
    vocabulary = vocabulary or bytes_vocabulary()
    shapes, keys = _ends(vocabulary), {**vocabulary, **LONG, "rope.dimension_sections": [2, 3, 3, 0]}
    for block in ("blk.0", "blk.1")[: 1 + deep]:
        shapes |= {**_attention(block), f"{block}.attn_output.weight": (WIDTH, WIDTH)}
        shapes |= {f"{block}.ffn_gate.weight": (WIDTH, FEED)}
        if deep:
            shapes |= {f"{block}.attn_{which}_norm.weight": (WIDTH // 2,) for which in "qk"}
        else:
            shapes |= {f"{block}.attn_{which}.bias": (WIDTH,) for which in "qkv"}
    if deep:
        return _write(path, "qwen3vl", {**keys, "block_count": 2, "n_deepstack_layers": 1}, shapes)
    return _write(path, "qwen2vl", keys, shapes)


def cut(path: Path) -> Path:
    """Attention alone: its state can be cut at any token."""
    return llama(path, **LONG)


STATES = {"cut": cut, "recurrent": mamba, "hybrid": hybrid, "windowed": windowed}


def _ends(vocabulary: dict[str, Any] | None = None) -> Shapes:
    words = len((vocabulary or bytes_vocabulary())["tokenizer.ggml.tokens"])
    return dict.fromkeys(("token_embd.weight", "output.weight"), (WIDTH, words)) | {"output_norm.weight": (WIDTH,)}


def _attention(block: str) -> Shapes:
    shapes: Shapes = {f"{block}.attn_norm.weight": (WIDTH,), f"{block}.ffn_norm.weight": (WIDTH,)}
    shapes |= {f"{block}.attn_{which}.weight": (WIDTH, WIDTH) for which in "qkv"}
    return shapes | {f"{block}.ffn_up.weight": (WIDTH, FEED), f"{block}.ffn_down.weight": (FEED, WIDTH)}


def _write(
    path: Path,
    architecture: str,
    keys: Mapping[str, Any],
    shapes: Shapes,
    salt: int = 0,
    change: Change | None = None,
) -> Path:
    usual = {"context_length": CONTEXT, "embedding_length": WIDTH, "block_count": 1, "feed_forward_length": FEED}
    usual |= {"attention.head_count": 2, "attention.head_count_kv": 2}
    own = {
        k if k.startswith(("tokenizer.", "general.")) else f"{architecture}.{k}": v
        for k, v in {**usual, **keys}.items()
    }
    return write_gguf(path, architecture, own, shapes, salt, change)


def write_gguf(
    path: Path,
    architecture: str,
    keys: Mapping[str, Any],
    shapes: Shapes,
    salt: int = 0,
    change: Change | None = None,
) -> Path:
    """A file with these keys as they are, and random weights."""
    header = {"general.architecture": architecture, **keys}
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(header))
    for key, value in header.items():
        kind, content = typed(value)
        head += text(key) + struct.pack("<I", kind) + content
    weights = b""
    for name, shape in shapes.items():
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape) + struct.pack("<IQ", 0, len(weights))
        weights_of = values(name, shape, salt)
        data = (change(name, weights_of) if change else weights_of).tobytes()
        weights += data + bytes(-len(data) % 32)
    path.write_bytes(head + bytes(-len(head) % 32) + weights)
    return path


def values(name: str, shape: tuple[int, ...], salt: int) -> Array:
    """The same for a name and a salt each time: norms near 1, the rest such that tokens change what is computed."""
    generator = np.random.default_rng([*name.encode(), *([salt] if salt else [])])
    normal: Array = generator.standard_normal(shape[::-1]).astype(np.float32)
    if "norm" in name and name.endswith("weight"):
        return np.float32(1) + np.float32(0.1) * normal
    if name.endswith("ssm_a"):
        return -np.exp(normal)  # a state must decay
    return normal if name.startswith("token_embd") else normal * np.float32(0.2)
