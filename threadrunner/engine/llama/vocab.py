"""Text to tokens and back."""

from __future__ import annotations

import ctypes
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Any, cast

from threadrunner.engine.constraints.guide import TokenTable
from threadrunner.engine.llama.library import llama_cpp
from threadrunner.engine.llama.model import Model

_SPECIAL = (1 << 0) | (1 << 3)  # LLAMA_TOKEN_ATTR_UNKNOWN, LLAMA_TOKEN_ATTR_CONTROL
_USER_DEFINED = 1 << 4
_UNUSED = 1 << 1
_LSTRIP, _RSTRIP = 1 << 7, 1 << 8
_LONG = 1 << 16
"""Characters of a text that is tokenized in pieces, where that gives the same tokens. llama.cpp looks for each token of
the user-defined type from each place on that it has cut at to the text's very end: of Gemma, 1 MB took 3 s, 2 MB 11."""
_LINE = re.compile(r"(?<=\n)(?=[^\n])")
"""Before a line, behind all that ends the one before."""
_BPE = 2  # LLAMA_VOCAB_TYPE_BPE
_WORDPIECE = 3  # LLAMA_VOCAB_TYPE_WPM


class Vocab:
    """A model's tokens: text to ids, ids to bytes, what is special about one. Answers about a token are remembered.

    Belongs to the computing thread: its buffer is shared by the calls.
    """

    def __init__(self, model: Model) -> None:
        self._vocab = model.vocab
        self.n_tokens = model.n_vocab
        self.bos = self._known(llama_cpp.llama_vocab_bos(self._vocab))
        """-1 where the model has none, as is `eos`."""
        self.eos = self._known(llama_cpp.llama_vocab_eos(self._vocab))
        self.add_bos = llama_cpp.llama_vocab_get_add_bos(self._vocab) and self.bos >= 0
        self._begin, self._end = self._around()
        self._inert: dict[int, str] = {}
        self._inert_texts: re.Pattern[str] | None = None
        self._pieces: dict[int, bytes] = {}
        self._eog: dict[int, bool] = {}
        self._special: dict[int, bool] = {}
        self._sorted: list[tuple[bytes, int]] | None = None
        self._ends: list[int] | None = None
        self._cut_at_lines: bool | None = None
        self._buffer = ctypes.create_string_buffer(512)

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """`special` turns the texts of control tokens, and of those that `make_inert` names, into these tokens: for our
        own markup, never for users' text."""
        if special or self._inert_texts is None:
            return self._tokens(text, special)
        cuts = [found.start() + 1 for found in self._inert_texts.finditer(text)]
        if not cuts:
            return self._tokens(text, False)
        first, *rest = (text[begin:end] for begin, end in pairwise([0, *cuts, len(text)]))
        return [*self._tokens(first, False), *chain.from_iterable(map(self._go_on, rest))]

    def _go_on(self, text: str) -> list[int]:
        """The tokens of a text that goes on: some vocabularies put a blank before each text that begins."""
        before = self._tokens("\n", False)
        both = self._tokens("\n" + text, False)
        begins_blank = self.piece(self._tokens("a", False)[0]).startswith(b" ")
        return both[len(before) :] if begins_blank and both[: len(before)] == before else self._tokens(text, False)

    def _tokens(self, text: str, special: bool) -> list[int]:
        if len(text) <= _LONG or not self._may_cut_at_lines():
            return self._tokens_at_once(text, special)
        return list(chain.from_iterable(self._tokens_at_once(part, special) for part in _at_lines(text)))

    def _may_cut_at_lines(self) -> bool:
        """Whether a line's end is a token by itself whatever is around it, so that llama.cpp cuts there too: "\\n" is
        user-defined, and no token that is looked for in a text has one within it, or takes the blanks beside it."""
        if self._cut_at_lines is None:  # some 0.2 s for 260,000 tokens, with the first long text
            self._cut_at_lines = self._line_is_token()
        return self._cut_at_lines

    def _line_is_token(self) -> bool:
        found = False
        for token in range(self.n_tokens):
            attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
            if not attributes & (_SPECIAL | _USER_DEFINED):
                continue
            name = self.marker(token)
            if attributes & (_LSTRIP | _RSTRIP) or ("\n" in name and name.strip("\n")):
                return False
            found = found or (name == "\n" and bool(attributes & _USER_DEFINED))
        return found

    def _tokens_at_once(self, text: str, special: bool) -> list[int]:
        data = text.encode("utf-8", "replace")  # a lone surrogate from JSON becomes "?"
        size = len(data) // 2 + 16
        while True:
            tokens = (ctypes.c_int32 * size)()
            count = llama_cpp.llama_tokenize(self._vocab, data, len(data), tokens, size, False, special)
            if count >= 0:
                return list(tokens[:count])
            size = -count

    def make_inert(self, tokens: Iterable[int]) -> None:
        """Of these tokens, let those of the user-defined type be made of a template's text only, as control tokens are:
        llama.cpp makes them of any text. Blanks, a single letter or a word are no markup, and stay as they are."""
        for token in {token for token in tokens if self._is_user_defined(token)}:
            name = self.marker(token)
            bare = name.strip(" \n\t▁")
            if len(name) > 1 and bare and not bare.isalnum():
                self._inert[token] = name
        if self._inert:
            self._inert_texts = re.compile(f"(?=(?:{'|'.join(map(re.escape, self._inert.values()))}))")

    def is_markup(self, token: int) -> bool:
        """Whether it comes from a template and never from a user's text. Not what stands for a picture."""
        return token in self._inert or (token >= 0 and self.is_special(token))

    def _is_user_defined(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_get_attr(self._vocab, token) & _USER_DEFINED)

    def _known(self, token: int) -> int:
        """BERT's ids have defaults, which a small vocabulary does not have."""
        return token if 0 <= token < self.n_tokens else -1

    def _around(self) -> tuple[list[int], list[int]]:
        """What llama_tokenize puts around a text with `add_special`, which ends the process where one is missing."""
        if llama_cpp.llama_vocab_type(self._vocab) == _WORDPIECE:
            begin, end = self.bos, self._known(llama_cpp.llama_vocab_sep(self._vocab))
        else:
            begin = self.bos if self.add_bos else -1
            end = self.eos if llama_cpp.llama_vocab_get_add_eos(self._vocab) else -1
        return [begin] if begin >= 0 else [], [end] if end >= 0 else []

    def whole(self, text: str, *, special: bool = False) -> list[int]:
        """A text by itself, say for embedding: between the tokens that the model's file wants around it, e.g. [CLS] and
        [SEP], or EOS, whose vector is the embedding of a model that pools by its last token."""
        return [*self._begin, *self.tokenize(text, special=special), *self._end] or [max(self.bos, self.eos, 0)]

    def pair(self, first: str, second: str) -> list[int]:
        """Two texts that are looked at together, for a reranker without a template: [CLS] first [SEP] second, or as the
        model's file says."""
        separator = self._known(llama_cpp.llama_vocab_sep(self._vocab))
        end = self.eos if self.eos >= 0 else separator
        ends = [end] if end >= 0 and llama_cpp.llama_vocab_get_add_eos(self._vocab) else []
        between = [separator] if separator >= 0 and llama_cpp.llama_vocab_get_add_sep(self._vocab) else []
        begin = [self.bos] if self.bos >= 0 and llama_cpp.llama_vocab_get_add_bos(self._vocab) else []
        return [*begin, *self.tokenize(first), *ends, *between, *self.tokenize(second), *ends]

    def piece(self, token: int) -> bytes:
        """The token's bytes as text; a control token has none."""
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._piece(token, False)
        return known

    def marker(self, token: int) -> str:
        """A control token's own text, e.g. `<|im_end|>`."""
        return self._piece(token, True).decode("utf-8", "replace")

    def special(self, text: str) -> int | None:
        """The control token whose text this is."""
        tokens = self.tokenize(text, special=True)
        return tokens[0] if len(tokens) == 1 and self.is_special(tokens[0]) and self.marker(tokens[0]) == text else None

    def _piece(self, token: int, special: bool) -> bytes:
        size = llama_cpp.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, special)
        if size < 0:
            buffer = ctypes.create_string_buffer(-size)
            size = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, -size, 0, special)
            return buffer.raw[:size]
        return self._buffer.raw[:size]

    def detokenize(self, tokens: list[int]) -> str:
        if llama_cpp.llama_vocab_type(self._vocab) == _BPE:  # llama_detokenize drops blanks before marks, as in "Why ?"
            return b"".join(self._piece(token, True) for token in tokens).decode("utf-8", "replace")
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        size = sum(len(self.piece(token)) for token in tokens) + 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            count = llama_cpp.llama_detokenize(self._vocab, array, len(tokens), buffer, size, False, True)
            if count >= 0:
                return buffer.raw[:count].decode("utf-8", "replace")
            size = -count

    def ends_generation(self, token: int) -> bool:
        known = self._eog.get(token)
        if known is None:
            known = self._eog[token] = llama_cpp.llama_vocab_is_eog(self._vocab, token)
        return known

    def ends(self) -> list[int]:
        """The tokens that end an answer; some 50 ms for 150,000 tokens, once."""
        if self._ends is None:
            self._ends = [token for token in range(self.n_tokens) if self.ends_generation(token)]
        return self._ends

    def table(self) -> TokenTable:
        """For a Guide: 0.1 s for 50,000 tokens."""
        tokenize = (
            ctypes.cast(cast(Any, llama_cpp.llama_tokenize), ctypes.c_void_p).value or 0
        )  # the function's address
        pieces = [self._table_piece(token) for token in range(self.n_tokens)]
        return TokenTable(pieces, self.ends(), self._vocab, tokenize)

    def _table_piece(self, token: int) -> bytes:
        attributes = llama_cpp.llama_vocab_get_attr(self._vocab, token)
        if attributes & _UNUSED:
            return b""
        piece = self.piece(token)
        if not attributes & (_SPECIAL | _USER_DEFINED):
            return piece
        is_text = attributes & _USER_DEFINED and not (piece.startswith(b"<") and piece.endswith(b">"))
        return piece if is_text else b"\xff" + self._piece(token, True)

    def is_special(self, token: int) -> bool:
        known = self._special.get(token)
        if known is None:  # asked for each token of each prompt
            known = bool(llama_cpp.llama_vocab_get_attr(self._vocab, token) & _SPECIAL)
            self._special[token] = known
        return known

    def strips(self, token: int) -> tuple[bool, bool]:
        """Whether the token swallows blanks on its left, on its right."""
        attr = llama_cpp.llama_vocab_get_attr(self._vocab, token)
        return bool(attr & _LSTRIP), bool(attr & _RSTRIP)

    def fim(self) -> dict[str, int]:
        """The tokens for infilling as llama.cpp found them, by `pre`, `suf`, `mid`; -1 for one that it did not find."""
        return {
            "pre": llama_cpp.llama_vocab_fim_pre(self._vocab),
            "suf": llama_cpp.llama_vocab_fim_suf(self._vocab),
            "mid": llama_cpp.llama_vocab_fim_mid(self._vocab),
        }

    def agreeing(self, text: bytes) -> list[int]:
        """Ids of the tokens that begin with `text` or that `text` begins with."""
        if self._sorted is None:  # some 0.2 s for 150,000 tokens, on first need
            self._sorted = sorted((self.piece(token), token) for token in range(self.n_tokens))
        pieces = self._sorted
        begin = bisect_left(pieces, (text, -1))
        end = bisect_left(pieces, (text + b"\xff" * 16, -1))
        ids = [token for _, token in pieces[begin:end]]
        for length in range(1, len(text)):
            at = bisect_left(pieces, (text[:length], -1))
            while at < len(pieces) and pieces[at][0] == text[:length]:
                ids.append(pieces[at][1])
                at += 1
        return ids


def _at_lines(text: str) -> Iterator[str]:
    """The text in pieces of at least _LONG characters, the last one excepted, each but that at the end of lines."""
    begin = 0
    for line in _LINE.finditer(text):
        if line.start() - begin >= _LONG:
            yield text[begin : line.start()]
            begin = line.start()
    yield text[begin:]
