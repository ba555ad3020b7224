"""What was shown at a place, judged: by the right answer, by what follows, by a parse of the file with it."""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass

from tree_sitter import Node, Parser
from tree_sitter_language_pack import get_parser

from languages.places import Span
from languages.sources import SOURCES


@dataclass(frozen=True)
class Verdict:
    """Of one place. `similarity` is difflib's ratio to the right answer, 0 to 1."""

    empty: bool
    exact: bool = False
    first_line: bool = False
    similarity: float = 0.0
    repeats: bool = False
    """It ends with what stands behind the cursor, and the right answer does not."""
    indented: bool = True
    """Its second line is indented as the right answer's is (where both have one)."""
    broken: bool = False
    """A parse of the file with it has more errors than one of the file as it was."""


def judge(span: Span, shown: str) -> Verdict:
    if not shown.strip():
        return Verdict(empty=True)
    truth = span.truth
    return Verdict(
        empty=False,
        exact=shown.rstrip() == truth.rstrip(),
        first_line=shown.split("\n")[0].rstrip() == truth.split("\n")[0].rstrip(),
        similarity=difflib.SequenceMatcher(None, shown, truth, autojunk=False).ratio(),
        repeats=_repeats(span, shown) and not _repeats(span, truth),
        indented=_indent(shown, truth),
        broken=errors(span.language, span.prefix + shown + span.suffix) > _usual_errors(span.language, span.text),
    )


def _repeats(span: Span, text: str) -> bool:
    tail, _, below = span.suffix.partition("\n")
    following = next((line.strip() for line in below.split("\n") if line.strip()), "")
    last = text.rstrip().rpartition("\n")[2].strip()
    whole_tail = len(tail.strip()) > 1 and text.rstrip().endswith(tail.strip())
    return bool(whole_tail or (len(following) > 1 and "\n" in text and last == following))


def _indent(shown: str, truth: str) -> bool:
    seconds = [[line for line in text.split("\n")[1:] if line.strip()][:1] for text in (shown, truth)]
    if not all(seconds):
        return True
    depths = [len(lines[0]) - len(lines[0].lstrip()) for lines in seconds]
    return depths[0] == depths[1]


_GRAMMARS = {source.language: source.grammar for source in SOURCES}


@functools.cache
def _parser(language: str) -> Parser:
    return get_parser(_GRAMMARS[language])  # type: ignore[arg-type]


@functools.lru_cache(maxsize=64)
def _usual_errors(language: str, text: str) -> int:
    return errors(language, text)


def errors(language: str, text: str) -> int:
    """Nodes of a parse that are errors or were missing."""
    return _count(_parser(language).parse(text.encode()).root_node)


def _count(root: Node) -> int:
    found, left = 0, [root]
    while left:
        node = left.pop()
        if node.is_error or node.is_missing:
            found += 1
        if node.has_error:
            left += node.children
    return found
