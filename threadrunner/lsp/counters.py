"""How often suggestions are shown, accepted and dismissed: counted on this machine, in a file that can be read.

`suggestions.jsonl` under THREADRUNNER_HOME has a line for each stretch of work: day, language, counts. It holds no
text, and can be deleted at any time. Lines are appended whole, so several editors may write at once.
"""

from __future__ import annotations

import json
import os
from collections import Counter, OrderedDict
from collections.abc import Callable

KINDS = ("shown", "taken", "accepted", "word", "line", "dismissed")
"""`taken`: suggestions of which at least a part was accepted; `word` and `line` count the parts."""
REMEMBERED = 64
"""Shown suggestions whose end is still open."""


class Counters:
    """`shown` and `ended` count what happens to a suggestion; `flush` writes what was counted since the last one.

    `today` gives the day under which to count, as the file has it. While `enabled` is false, nothing is written.
    """

    def __init__(self, file: str, today: Callable[[], str]) -> None:
        self.file = file
        self.enabled = True
        self._today = today
        self._counts: dict[tuple[str, str], Counter[str]] = {}
        self._open: OrderedDict[str, tuple[str, bool]] = OrderedDict()

    def shown(self, id: str, language: str) -> None:
        """Counted once for a suggestion, for however many keys it stays."""
        if id in self._open:
            self._open.move_to_end(id)
            return
        self._open[id] = (language, False)
        if len(self._open) > REMEMBERED:
            self._open.popitem(last=False)
        self._add(language, "shown")

    def ended(self, id: str, kind: str, characters: int = 0) -> bool:
        """Count `accepted` and `dismissed` once, `word` and `line` (parts of it) as often as they occur.

        Whether it was counted: an id that was never shown, or has ended already, is not.
        """
        if kind not in KINDS[2:] or id not in self._open:
            return False
        language, partly = self._open[id]
        if kind != "dismissed" and not partly:
            self._add(language, "taken")
        if kind in ("accepted", "dismissed"):
            del self._open[id]
            if kind == "dismissed" and partly:
                return False  # a part was taken: dismissing the rest does not make it a refusal
        else:
            self._open[id] = (language, True)
        self._add(language, kind, characters)
        return True

    def flush(self) -> None:
        """Append what was counted to the file; a file that cannot be written is left as it is."""
        counts, self._counts = self._counts, {}
        if not counts or not self.enabled:
            return
        lines = [json.dumps({"day": day, "language": language, **kinds}) for (day, language), kinds in counts.items()]
        try:
            os.makedirs(os.path.dirname(self.file), mode=0o700, exist_ok=True)
            file = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError:
            return  # counting is not worth a message when the disk is full
        try:
            os.write(file, ("\n".join(lines) + "\n").encode())
        finally:
            os.close(file)

    def totals(self) -> dict[str, int | float]:
        """All that was ever counted, by kind; `rate` is the share of the shown suggestions that were taken."""
        total: Counter[str] = Counter()
        for kinds in self._counts.values():
            total.update(kinds)
        total.update(read(self.file))
        rate = round(total["taken"] / total["shown"], 3) if total["shown"] else 0.0
        return {**{kind: total[kind] for kind in (*KINDS, "characters")}, "rate": rate}

    def _add(self, language: str, kind: str, characters: int = 0) -> None:
        counts = self._counts.setdefault((self._today(), language), Counter())
        counts[kind] += 1
        if characters > 0:
            counts["characters"] += characters


def read(file: str) -> Counter[str]:
    """The sums over a file; lines that cannot be read, e.g. after an edit by hand, are skipped."""
    total: Counter[str] = Counter()
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict):
                    total.update({k: v for k, v in row.items() if isinstance(v, int) and not isinstance(v, bool)})
    except OSError:
        pass
    return total
