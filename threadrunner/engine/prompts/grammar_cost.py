"""What a grammar costs llama.cpp, found out before it pays: its code cannot be stopped, and a worker has one thread.

llama.cpp keeps a stack for each way in which the answer so far can be read. To test tokens it follows every way through
every character of them, and forgets that two ways have met: `(("a"? "a"?){0,20}){0,20}` has 800 ways for each "a", and
so for the token "aaaa" 800 to the fourth. Here the same ways are counted, those that have met together, from each place
in the grammar where it branches, along the characters that most of them agree on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import cast

from threadrunner.engine.llama.errors import BadGrammar
from threadrunner.engine.prompts.grammar import Element, Grammar, NotUnderstood, Ranges, Repeat, Rule

WORD_CHARS, ROW_CHARS = 8, 16
"""Characters of a token that are followed: of any kind, and of a row of the same, which vocabularies have of `ROWS`."""
ROWS = " \t\n-=*#_."
MAX_WAYS = 1_000_000
"""Through one token: a second at most. Schemas of a thousand properties have some hundred."""
MAX_STACKS = 20_000
MAX_LOOKS = 2_000_000
"""At a rule, by llama.cpp's search for left recursion, which looks again at each rule that it meets again."""
MAX_WORK = 1_500_000
"""Stacks that are looked at here, some 2 s; a grammar that has more is larger than any that was seen."""

_TOO_AMBIGUOUS = (
    "the grammar can be read in too many ways at once: write it without rules that begin with themselves, and so that"
    ' each character has one place, e.g. "a"{0,20} instead of ("a"? "a"?){0,10}'
)
_TOO_LARGE = "the grammar is too large to be checked; make it smaller"


@lru_cache(maxsize=32)
def check(text: str) -> None:
    """Raises BadGrammar for one that would keep llama.cpp busy for longer than a client waits."""
    try:
        grammar = Grammar(text)
    except NotUnderstood:
        return  # llama.cpp says why
    except RecursionError:
        raise BadGrammar("the grammar nests too deep") from None
    _check_looks(grammar)
    ways = _Ways()
    places = [alternative for rule in grammar.rules for alternative in rule.alternatives]
    places += [repeat.alternatives[0] for repeat in grammar.repeats]
    for place in places:
        for index, element in enumerate(place):
            if not isinstance(element, tuple) and not (index == len(place) - 1 and _is_a_name(element)):
                ways.follow(place, index)


def _is_a_name(element: Element) -> bool:
    """For one other text, which is followed itself."""
    return isinstance(element, Rule) and len(element.alternatives) == 1


class _Ways:
    """Stacks as llama.cpp has them, as numbers: 0 is the empty one, others are a place and the stack below it."""

    def __init__(self) -> None:
        self._stacks: list[tuple[tuple[Element, ...], int, int]] = [((), 0, 0)]
        self._numbers: dict[tuple[int, int, int], int] = {}
        self._advanced: dict[int, list[int]] = {}
        self._work = 0

    def follow(self, place: tuple[Element, ...], index: int) -> None:
        """Raises BadGrammar where the ways from that place on become too many."""
        begin = dict.fromkeys(self._advance(self._push(place, index, 0)), 1)
        # where no character has two ways, as nearly everywhere, the next place that branches tells as much
        if self._overlap(begin) and self._grows(begin, WORD_CHARS, None):
            for char in map(ord, ROWS):
                self._grows(begin, ROW_CHARS, char)

    def _overlap(self, stacks: Iterable[int]) -> bool:
        tops = (self._stacks[stack] for stack in stacks)
        ranges = sorted(pair for place, index, _ in tops for pair in cast(Ranges, place[index]))
        return any(low <= before for (_, before), (low, _) in pairwise(ranges))

    def _grows(self, ways: dict[int, int], chars: int, char: int | None) -> bool:
        """Follow `char` again and again; None: each time the one that leaves most ways. Whether they became many."""
        followed = len(ways)
        for taken in range(chars):
            ways = self._step(ways, char)
            total = sum(ways.values())
            followed += total
            if followed > MAX_WAYS:
                raise BadGrammar(_TOO_AMBIGUOUS)
            if total * total <= 2 << taken:  # less than a doubling at every second character does no harm
                return False
        return True

    def _push(self, place: tuple[Element, ...], index: int, below: int) -> int:
        if index >= len(place):
            return below
        key = (id(place), index, below)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._stacks)
            self._stacks.append((place, index, below))
        return number

    def _advance(self, stack: int) -> list[int]:
        """The stacks with a character on top that this one becomes."""
        known = self._advanced.get(stack)
        if known is not None:
            return known
        found, todo, seen = [], [stack], set[int]()
        while todo:
            top = todo.pop()
            if top in seen or not top:
                continue
            seen.add(top)
            self._work += 1
            if len(seen) > MAX_STACKS or self._work > MAX_WORK:
                raise BadGrammar(_TOO_AMBIGUOUS if len(seen) > MAX_STACKS else _TOO_LARGE)
            place, index, below = self._stacks[top]
            element = place[index]
            if isinstance(element, tuple):
                found.append(top)
                continue
            rest = self._push(place, index + 1, below)
            todo += [self._push(alternative, 0, rest) for alternative in element.alternatives]
        self._advanced[stack] = found
        return found

    def _step(self, ways: dict[int, int], char: int | None) -> dict[int, int]:
        """The ways after a character; None: after the one that leaves most of them."""
        self._work += len(ways)
        after: list[tuple[Ranges, int, list[int]]] = []
        for stack, count in ways.items():
            place, index, below = self._stacks[stack]
            ranges = cast(Ranges, place[index])
            after.append((ranges, count, self._advance(self._push(place, index + 1, below))))
        chosen = _commonest(after) if char is None else char
        found: dict[int, int] = defaultdict(int)
        for ranges, count, then in after:
            if any(low <= chosen <= high for low, high in ranges):
                for stack in then:
                    found[stack] += count
        return found


def _commonest(after: list[tuple[Ranges, int, list[int]]]) -> int:
    """The character that leaves most ways: at the border of some range."""
    borders: dict[int, int] = defaultdict(int)
    for ranges, count, then in after:
        for low, high in ranges:
            borders[low] += count * len(then)
            borders[high + 1] -= count * len(then)
    best = most = now = 0
    for border in sorted(borders):
        now += borders[border]
        if now > most:
            best, most = border, now
    return best


def _check_looks(grammar: Grammar) -> None:
    """Count llama.cpp's looks for left recursion; where there is one, it finds it and says so."""
    looks: dict[int, int] = {}
    for rule in grammar.rules:
        todo = [rule]
        begun: set[int] = set()
        while todo:
            top = todo[-1]
            inner = [r for r in _rules_within(top) if id(r) not in looks and id(r) not in begun]
            if id(top) in begun or not inner:
                todo.pop()
                looks[id(top)] = sum(_looks(alternative, looks)[0] for alternative in top.alternatives)
                if looks[id(top)] > MAX_LOOKS:
                    raise BadGrammar(_TOO_AMBIGUOUS)
            else:
                begun.add(id(top))
                todo += inner


def _rules_within(rule: Rule) -> list[Rule]:
    found, todo = [], [element for alternative in rule.alternatives for element in alternative]
    while todo:
        element = todo.pop()
        if isinstance(element, Rule):
            found.append(element)
        elif isinstance(element, Repeat):
            todo += element.body
    return found


def _looks(sequence: tuple[Element, ...], known: dict[int, int]) -> tuple[int, bool]:
    """How often rules are looked at from its beginning, and whether llama.cpp takes all of it for empty."""
    total = 0
    for element in sequence:
        if isinstance(element, Rule):
            total += 1 + known.get(id(element), 0)
            if () not in element.alternatives:
                return total, False
        elif isinstance(element, Repeat):
            inner, empty = _looks(element.body, known)
            total += (1 + inner) * (element.times or 1) if empty else 1 + inner
        else:
            return total, False
    return total, True
