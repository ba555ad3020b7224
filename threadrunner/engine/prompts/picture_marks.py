"""Where pictures stand in a conversation's text: a mark for each, which goes through the template as any text does and
is found again in what is rendered. Its characters are for private use and drawn anew by each process, so that no text
from outside has them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence

from threadrunner.engine.errors import BadTemplate
from threadrunner.engine.llama.vocab import Vocab

_KEY = "".join(chr(0x100000 + secrets.randbelow(0xFF00)) for _ in range(5))
_NUMBERS = 0xE000
_MARK = re.compile(f"{_KEY}([\ue000-\uf8ff])")
MAX_PICTURES = 1 << 12
SHOWN = "[picture]"


def mark(number: int) -> str:
    """Of the conversation's picture of that number, below MAX_PICTURES."""
    return _KEY + chr(_NUMBERS + number)


def shown(text: str) -> str:
    """The text for people."""
    return _MARK.sub(SHOWN, text)


def marked(texts: Iterable[str]) -> list[int]:
    """The numbers of the pictures in some texts."""
    return [ord(found) - _NUMBERS for text in texts for found in _MARK.findall(text)]


def parts(text: str) -> list[str | int]:
    """Texts, and between them the numbers of pictures."""
    found: list[str | int] = [*_MARK.split(text)]
    found[1::2] = [ord(str(number)) - _NUMBERS for number in found[1::2]]
    return [part for part in found if part != ""]


def tokenized(vocab: Vocab, text: str, *, special: bool) -> list[int]:
    """The text's tokens, and `place(number)` for a picture: what is on either side of one is a text of its own."""
    tokens: list[int] = []
    for part in parts(text):
        tokens += [place(part)] if isinstance(part, int) else vocab.tokenize(part, special=special)
    return tokens


def place(number: int) -> int:
    """Stands for a picture among tokens, below all of these."""
    return -1 - number


def check_all_there(tokens: Sequence[int], wanted: Sequence[int]) -> None:
    """Raises BadTemplate unless each picture of the conversation has its place, once and in order."""
    if [-1 - token for token in tokens if token < 0] != list(wanted):
        raise BadTemplate("the model's chat template leaves out a picture; use a model that was made for pictures")
