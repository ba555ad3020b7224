"""Which of some texts has most to do with some names: Okapi BM25 (Robertson, Walker 1994) over identifiers. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

K1, B = 1.2, 0.75
_NAME = re.compile(r"[^\W\d]\w{2,}")


def names_in(text: str) -> list[str]:
    return _NAME.findall(text)


def ranked(wanted: Iterable[str], texts: Sequence[Sequence[str]]) -> list[tuple[int, float]]:
    """(number of a text, score), the highest first; texts without any of the names are left out. Each text is given as
    its names."""
    bags = [Counter(names) for names in texts]
    usual = sum(map(len, texts)) / len(texts) if texts else 1.0
    rarity = {}
    for name in dict.fromkeys(wanted):
        found = sum(name in bag for bag in bags)
        if found:
            rarity[name] = math.log(1 + (len(bags) - found + 0.5) / (found + 0.5))
    scores = []
    for number, (bag, names) in enumerate(zip(bags, texts, strict=True)):
        longer = 1 - B + B * len(names) / (usual or 1.0)
        score = sum(
            weight * bag[name] * (K1 + 1) / (bag[name] + K1 * longer) for name, weight in rarity.items() if name in bag
        )
        if score > 0:
            scores.append((number, score))
    return sorted(scores, key=lambda pair: (-pair[1], -pair[0]))
