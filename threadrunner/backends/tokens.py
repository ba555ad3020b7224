"""What a tokenize or detokenize asks for, answered at once."""

from __future__ import annotations

from msgspec import UNSET

from threadrunner.api import errors
from threadrunner.api.generation import Tokenized, TokenizeParams
from threadrunner.engine.llama.vocab import Vocab


def text_of(vocab: Vocab, tokens: list[int]) -> str:
    """Raises InvalidParams."""
    for token in (min(tokens, default=0), max(tokens, default=0)):
        if not 0 <= token < vocab.n_tokens:
            raise errors.InvalidParams(f"there is no token {token}: the vocabulary has {vocab.n_tokens}")
    return vocab.detokenize(tokens)


def tokens_of(model: str, vocab: Vocab, params: TokenizeParams) -> Tokenized:
    tokens = (
        vocab.whole(params.text, special=params.special)
        if params.ends
        else vocab.tokenize(params.text, special=params.special)
    )
    return Tokenized(model, tokens, [_shown(vocab, token) for token in tokens] if params.pieces else UNSET)


def _shown(vocab: Vocab, token: int) -> str | list[int]:
    piece = vocab.piece(token) or vocab.marker(token).encode()
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)
