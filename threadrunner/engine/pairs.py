"""A question and a text as a reranker wants them: by the template that its file has for it, or with separators.

As llama-server makes them, but for one thing: what a question or a text says is never taken for markup.
"""

from __future__ import annotations

import re

from threadrunner.engine.llama.vocab import Vocab

_PLACES = re.compile(r"(\{query\}|\{document\})")


class Pairs:
    """Makes the tokens of each pair."""

    def __init__(self, vocab: Vocab, template: str | None) -> None:
        """`template`: the one that the model's file calls "rerank", with `{query}` and `{document}` in it."""
        self._vocab = vocab
        self._template = template

    def tokens(self, query: str, documents: list[str]) -> list[list[int]]:
        return [self._pair(query, document) for document in documents]

    def _pair(self, query: str, document: str) -> list[int]:
        if self._template is None:
            return self._vocab.pair(query, document)
        tokens: list[int] = []
        for part in _PLACES.split(self._template):
            if part == "{query}":
                tokens += self._vocab.tokenize(query)
            elif part == "{document}":
                tokens += self._vocab.tokenize(document)
            elif part:
                tokens += self._vocab.tokenize(part, special=True)
        return tokens
