"""What learning is worth: real files are typed again by people with different habits, with learning off and on.

    python tests/bench/learning.py [--model MODEL.gguf] [--answers FILE] [--train | --snippets | --cost] [--first N]

The suggester and the learner are those of the language server; the person, their clock and the typing are simulated
(typing_replay/person.py). The model's answers are kept in FILE, so that only the first run needs the model, and an hour
or two; without a model, a place whose answer is not kept shows nothing and is counted. `--train` makes the prior anew
from repositories by which nothing is judged, and prints it as lsp/learning/prior.py has it. `--first N`: of each
repository the first N files.

For each person, in all files and in the second half of them: suggestions shown, taken, the share of these, wrong ones
shown, keys at which one was in view, characters saved of 100 typed; which share was held back, and how many of those
would have been right.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent.parent)]

from lsprotocol import types as lsp
from typing_replay.answers import Answers, Missing
from typing_replay.person import PEOPLE, SECONDS, Person, Tally, type_out
from typing_replay.repositories import JUDGED, TRAINING, Repository, Stretch, stretches

from threadrunner.learning.logistic import Logistic, sigmoid
from threadrunner.learning.quiet import Ledger
from threadrunner.lsp.learning.features import NAMES, first_line
from threadrunner.lsp.learning.learner import Learner
from threadrunner.lsp.learning.memory import MOST, Memento
from threadrunner.lsp.learning.watch import Became, Open
from threadrunner.lsp.suggest.ask import Ask, Suggestion
from threadrunner.lsp.suggest.documents import Document, Place
from threadrunner.lsp.suggest.ignore import Ignore
from threadrunner.lsp.suggest.settings import Settings
from threadrunner.lsp.suggest.suggester import Suggester
from threadrunner.lsp.suggest.window import around
from threadrunner.lsp.suggest.workspace import Workspace

SETTINGS = Settings(
    prefix_chars=1500, suffix_chars=500, max_tokens=24, max_time_ms=600_000, speculate=False, context_tokens=512
)
"""Smaller than the language server's own, for the model's time. One file is open at a time, so only what is remembered
of the others is shown beside it, and by `--snippets` alone."""
ROOT = "/bench"
ANSWERS = Path.home() / ".cache" / "threadrunner-bench" / "typing_answers.jsonl"
LETTING_GO = 0.02
"""L2 penalty of a weight in training, for each outcome."""
PRIOR_WEIGHT = 200
"""Outcomes that the shipped ledger counts as: some days of one's own weigh more."""


@dataclass
class Outcomes:
    """What became of the suggestions in a run."""

    tally: Tally = field(default_factory=Tally)
    ends: list[tuple[Open, Became]] = field(default_factory=list)
    missing: int = 0

    @property
    def held_back(self) -> list[Became]:
        return [end for one, end in self.ends if not one.shown]


class Desk:
    """A person at an editor, with one language server for all files that they type."""

    def __init__(self, answers: Answers, person: Person, learner: Learner | None, root: str = "") -> None:
        """What is kept is remembered of files below `root`."""
        self.now = 0.0
        self.outcomes = Outcomes()
        self._person = person
        self._learner = learner
        self._workspace = Workspace(settings=SETTINGS, ignore=Ignore([ROOT]))
        self._suggester = Suggester(answers, self._workspace, clock=lambda: self.now, judge=learner)
        if learner is not None:
            learner.keeping.set_ignore(Ignore([root] if root else []))
            learner.listener = lambda one, end: self.outcomes.ends.append((one, end))

    async def type(self, stretch: Stretch) -> None:
        """The text behind the stretch is there; the stretch itself comes key by key."""
        before, behind = stretch.text[: stretch.start], stretch.text[stretch.end - 1 :]
        path = f"{ROOT}/{stretch.file}"
        document = Document(f"file://{path}", path, stretch.language, 1, before + behind)
        self._workspace.documents.open(document)

        def place(at: int) -> Place:
            whole = before + stretch.typed[:at]
            return Place(whole.count("\n"), len(whole) - whole.rfind("\n") - 1)

        async def look(at: int) -> str:
            try:
                found = await self._suggester.suggest(Ask(document, place(at), debounce=False))
            except Missing:
                self.outcomes.missing += 1
                return ""
            return found[0].text if found else ""

        def put(at: int, text: str) -> None:
            here = lsp.Position(place(at).line, place(at).column)
            document.change(lsp.Range(here, here), text)
            self.now += SECONDS
            self._suggester.edited(document)
            if self._learner is not None:
                self._learner.changed(document, document.focus)

        self.outcomes.tally += await type_out(stretch.typed, self._person, look, put, put)
        if self._learner is not None:
            self._learner.closed(document)
        self._workspace.documents.close(document.uri)
        self._suggester.forget(document.uri)


def beginner(quiets: bool = True) -> Learner:
    """One that knows what is shipped."""
    learner = Learner()
    learner.allowed, learner.quiets, learner.glance = True, quiets, 0.0
    return learner


async def replay(
    answers: Answers, typed: Iterable[Stretch], person: Person, learner: Learner | None, root: str = ""
) -> list[Outcomes]:
    """Of each stretch, in order, with one learner for all."""
    desk = Desk(answers, person, learner, root)
    if learner is not None:
        learner._clock = lambda: desk.now
    found = []
    for stretch in typed:
        desk.outcomes = Outcomes()
        await desk.type(stretch)
        found.append(desk.outcomes)
    return found


def together(found: Iterable[Outcomes]) -> Outcomes:
    total = Outcomes()
    for each in found:
        total.tally += each.tally
        total.ends += each.ends
        total.missing += each.missing
    return total


def in_turn(repositories: Sequence[Repository], first: int) -> list[Stretch]:
    """The first file of each, then the second: so half of them are half of each repository's."""
    piles = [stretches(repository)[:first] for repository in repositories]
    return [pile[n] for n in range(max(map(len, piles))) for pile in piles if n < len(pile)]


# ---- the prior


def fit(samples: Sequence[tuple[Sequence[float], float]], rounds: int = 400, step: float = 0.5) -> list[float]:
    """Weights of a logistic regression with an L2 penalty, by gradient descent. Without the penalty, a feature that is
    rarely there would take all that those few have in common."""
    weights = [0.0] * len(NAMES)
    for _ in range(rounds):
        slopes = [-LETTING_GO * weight if i else 0.0 for i, weight in enumerate(weights)]
        for features, good in samples:
            miss = good - sigmoid(sum(w * x for w, x in zip(weights, features, strict=True)))
            for i, x in enumerate(features):
                slopes[i] += miss * x / len(samples)
        weights = [weight + step * slope for weight, slope in zip(weights, slopes, strict=True)]
    return weights


def target(one: Open, end: Became) -> float:
    return float(end == "taken" or (end == "typed" and not one.shown))


async def train(answers: Answers, first: int) -> None:
    outcomes = together(await replay(answers, in_turn(TRAINING, first), PEOPLE[0], beginner(quiets=False)))
    rows = [(one.features, target(one, end), len(first_line(one.text))) for one, end in outcomes.ends]
    random.Random(1).shuffle(rows)
    folds = [rows[n::5] for n in range(5)]
    ledger = Ledger.empty()
    loss = usual = 0.0
    mean = sum(good for _, good, _ in rows) / len(rows)
    for n, fold in enumerate(folds):  # chances by weights that have not seen the outcome
        model = Logistic(fit([row[:2] for m, other in enumerate(folds) if m != n for row in other]))
        for features, good, characters in fold:
            chance = model.chance(features)
            loss -= math.log(chance if good else 1 - chance)
            usual -= math.log(mean if good else 1 - mean)
            ledger.add(chance, good, characters)
    share = min(1.0, PRIOR_WEIGHT / len(rows))
    ledger = Ledger.empty().plus(ledger, share)
    print(f"# {len(rows)} outcomes, {mean:.0%} taken; {outcomes.missing} answers missing")
    print(f"# log loss {loss / len(rows):.3f} by five folds; {usual / len(rows):.3f} for the share alone")
    weights = fit([row[:2] for row in rows])
    print("WEIGHTS: dict[str, float] = {")
    pairs = [f'"{name}": {weight:.3f},' for name, weight in zip(NAMES, weights, strict=True)]
    print(*(f"    {' '.join(pairs[n : n + 5])}" for n in range(0, len(pairs), 5)), "}  # fmt: skip", sep="\n")
    for name in ("right", "wrong", "characters"):
        values = " ".join(f"{value:.1f}," for value in getattr(ledger, name))
        print(f"{name.upper()} = [\n    {values}\n]  # fmt: skip")


# ---- the judgement

COLUMNS = "shown taken  share wrong  keys saved  held right"


def row(name: str, outcomes: Outcomes) -> str:
    tally, held = outcomes.tally, Counter(outcomes.held_back)
    line = f"  {name:18} {tally.shown:5} {tally.taken:5} {tally.taken / max(1, tally.shown):6.0%} {tally.wrong:5} "
    line += f"{tally.wrong_keys:5} {100 * tally.saved / max(1, tally.typed):5.1f} "
    return line + (f"{held.total() / len(outcomes.ends):5.0%} {held['typed']:5}" if outcomes.ends else "    -     -")


def fewer(off: Outcomes, on: Outcomes) -> str:
    wrong = 1 - on.tally.wrong / max(1, off.tally.wrong)
    keys = 1 - on.tally.wrong_keys / max(1, off.tally.wrong_keys)
    saved = 1 - on.tally.saved / max(1, off.tally.saved)
    return f"  fewer: wrong ones {wrong:.0%}, keys with one in view {keys:.0%}, characters saved {saved:.1%}"


async def judge(answers: Answers, first: int) -> None:
    typed = in_turn(JUDGED, first)
    print(f"{len(typed)} stretches, {sum(len(each.typed) for each in typed)} characters\n{'':21}{COLUMNS}")
    for person in PEOPLE:
        learner = beginner()
        off, on = await replay(answers, typed, person, None), await replay(answers, typed, person, learner)
        print(f"{person.name}: {person.about}")
        for name, begin in (("", 0), (", second half", len(typed) // 2)):
            before, after = together(off[begin:]), together(on[begin:])
            print(row(f"off{name}", before), row(f"on{name}", after), fewer(before, after), sep="\n")
        missing = together(off).missing + together(on).missing
        print(f"  threshold in the end {learner.threshold:.2f}" + (f"; {missing} answers missing" if missing else ""))


async def remember(answers: Answers, first: int) -> None:
    """What snippets are worth: in each repository's second half of files, those of its first half are remembered."""
    compared = await asyncio.gather(*(_remembered(answers, in_turn([each], first)) for each in JUDGED))
    print(f"{'':21}{COLUMNS}")
    for repository, (kept, without, with_them) in zip(JUDGED, compared, strict=True):
        missing = without.missing + with_them.missing
        print(f"{repository.name}: {kept} snippets" + (f", {missing} answers missing" if missing else ""))
        print(row("without", without), row("with", with_them), sep="\n")
    for name, column in (("all, without", 1), ("all, with", 2)):
        print(row(name, together(each[column] for each in compared)))


async def _remembered(answers: Answers, typed: list[Stretch]) -> tuple[int, Outcomes, Outcomes]:
    """Snippets in the end, and what came of the second half without and with them."""
    learner = beginner(quiets=False)
    without = await replay(answers, typed, PEOPLE[0], None)
    with_them = await replay(answers, typed, PEOPLE[0], learner, ROOT)
    kept = sum(len(memory.kept) for memory in learner.keeping.memories.values())
    half = len(typed) // 2
    return kept, together(without[half:]), together(with_them[half:])


def cost() -> None:
    """What a key pays in this process, in microseconds: to judge a new suggestion, to hear of a change, and, where the
    window moves, to look through a full memory."""
    learner, document = (
        beginner(),
        Document("file:///bench/a.py", "/bench/a.py", "python", 1, Path(__file__).read_text()),
    )
    learner.keeping.set_ignore(Ignore([ROOT]))
    memory = learner.keeping.memories[ROOT]
    for n in range(MOST):
        text = "".join(document.lines[n : n + 16])
        memory.add(Memento(f"{n}.py", "python", "".join(f"{line.rstrip()} # {n}\n" for line in text.split("\n"))))
    place = Place(150, 8)
    window = around(document, place, 4000, 1000)
    text = "".join(document.lines[160:166])
    tokens = [{"text": text[n : n + 4], "logprob": -0.5} for n in range(0, len(text), 4)]
    ask = Ask(document, place)

    def judge_new(n: int) -> None:
        learner.heard(f"{n:08x}", {"logprobs": tokens})
        learner.shows(ask, window, Suggestion(f"{n:08x}", text))

    def hear(n: int) -> None:
        learner.changed(document, place)

    def look_through(n: int) -> None:
        learner.remembered(document, window, (), 1500)

    for name, work, count in (("judge", judge_new, 2000), ("hear", hear, 2000), ("look through", look_through, 50)):
        work(10**7)
        times = []
        for n in range(count):
            began = time.perf_counter()
            work(n)
            times.append(1e6 * (time.perf_counter() - began))
        print(f"{name}: median {statistics.median(times):.0f} µs, worst of {count} {max(times):.0f} µs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="a GGUF file that can infill")
    parser.add_argument("--answers", type=Path, default=ANSWERS)
    parser.add_argument("--first", type=int, default=99)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--snippets", action="store_true", help="what it is worth to show what was kept")
    parser.add_argument("--cost", action="store_true", help="what a key pays")
    options = parser.parse_args()
    if options.cost:
        return cost()
    options.answers.parent.mkdir(parents=True, exist_ok=True)
    answers = Answers(options.answers, options.model)
    work = train if options.train else remember if options.snippets else judge
    return asyncio.run(work(answers, options.first))


if __name__ == "__main__":
    main()
