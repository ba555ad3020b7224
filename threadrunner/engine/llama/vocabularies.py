"""Whether two models have the same tokens, so that what one says can be held against what the other would."""

from __future__ import annotations

from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.model import Model

MAX_SIZE_DIFFERENCE = 128
"""Tokens behind those that both have: padding, which models of one family have in different amounts."""
FIRST_COMPARED = 5
"""The tokens before are markers whose texts differ within families."""


def difference(one: Model, other: Model) -> str:
    """What keeps tokens of one model from meaning the same to the other, for people; empty: nothing. The rule is
    llama.cpp's own (common_speculative_are_compatible): type, beginning and end, and the text of each token, up to a
    small number at either end."""
    kinds = [llama_cpp.llama_vocab_type(model.vocab) for model in (one, other)]
    if kinds[0] != kinds[1]:
        return f"its tokenizer is of type {kinds[1]}, where the model's is of type {kinds[0]}"
    for name, adds, token in _MARKERS:
        if adds(one.vocab) != adds(other.vocab):
            return f"only one of them puts {name} to a text"
        if adds(one.vocab) and token(one.vocab) != token(other.vocab):
            return f"{name} is token {token(other.vocab)}, where the model's is {token(one.vocab)}"
    sizes = one.n_vocab, other.n_vocab
    if abs(sizes[0] - sizes[1]) > MAX_SIZE_DIFFERENCE:
        return f"it has {sizes[1]} tokens, the model {sizes[0]}"
    text, first, second = llama_cpp.llama_vocab_get_text, one.vocab, other.vocab
    for token_id in range(FIRST_COMPARED, min(sizes)):
        if text(first, token_id) != text(second, token_id):
            ours, theirs = (text(vocab, token_id).decode("utf-8", "replace") for vocab in (first, second))
            return f"its token {token_id} is {theirs!r}, the model's is {ours!r}"
    return ""


_MARKERS = (
    ("BOS", llama_cpp.llama_vocab_get_add_bos, llama_cpp.llama_vocab_bos),
    ("EOS", llama_cpp.llama_vocab_get_add_eos, llama_cpp.llama_vocab_eos),
)
