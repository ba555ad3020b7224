"""Suggestions at real places of many languages, through the language server's pieces and the engine.

    pip install -e '.[bench]'
    python tests/bench/lsp_languages.py MODEL.gguf [--limit N] [--wide] [--say FILE [--more N]]
    python tests/bench/lsp_languages.py --replay FILE
    python tests/bench/lsp_languages.py --originals [--limit N]

Spans are taken out of real files (languages/sources.py fetches them once, into ~/.cache/threadrunner-bench), and what
is shown in their place is judged: languages/judging.py says by what. By language and kind: how many there were; of all,
how many were empty, exact, right in the first line, and how similar; of those shown, how many repeat what follows, are
indented otherwise, or broken. The window is a quarter of what an editor's user gets, unless --wide.

--say writes what the model says without any stops, and goes on where a file of an earlier run ends, by --more places;
--replay leads that through the stops and filters of now, in seconds, so that they can be worked on. --originals needs
no model: the right answer, as if a model had said it, must pass; what takes a part of it away is counted by rule and
language, in the window that an editor's user gets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent.parent), str(Path(__file__).parent)]

from languages.asking import NARROW, Asker, request
from languages.places import KINDS, Span, spans
from languages.replaying import hurt_by, replay
from languages.sources import FOLDER, SOURCES, files

from threadrunner.lsp.suggest.settings import Settings

WITHIN = ("inside a line", "inside a word", "string")


def places(limit: int, folder: Path) -> list[Span]:
    """Of all languages in turn, so that any number of them is a fair part."""
    each = -(-limit // len(SOURCES))
    by_language = [list(spans(source.language, files(source, folder), each)) for source in SOURCES]
    longest = max(map(len, by_language))
    return [found[n] for n in range(longest) for found in by_language if n < len(found)][:limit]


def originals(limit: int, folder: Path) -> None:
    hurt: dict[str, Counter[str]] = defaultdict(Counter)
    settings = Settings()
    for span in places(limit, folder):
        for name in (span.language, span.kind, "all"):
            hurt[name]["places"] += 1
        rules = list(hurt_by(span, settings))
        for name in (span.language, span.kind, "all"):
            hurt[name].update(rules)
            hurt[name]["filters"] += any(rule != "stops" for rule in rules)
    print(f"{'':14} places  hurt by stops  by filters")
    for name in [*(source.language for source in SOURCES), *KINDS, "all"]:
        count = hurt[name]
        of, number = 100 / max(count["places"], 1), count["places"]
        rules = {k: v for k, v in count.items() if k not in ("places", "stops", "filters")}
        print(f"{name:14} {number:6} {of * count['stops']:13.2f}% {of * count['filters']:9.2f}%  {rules or ''}")


def table(rows: Iterable[tuple[Span, str]]) -> None:
    from languages.judging import Verdict, judge

    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    for span, shown in rows:
        verdict = judge(span, shown)
        group = "within a line" if span.kind in WITHIN else "elsewhere"
        for name in (span.language, span.kind, group, "all"):
            verdicts[name].append(verdict)
    print(f"{'':14} places  empty  exact  first line  similarity | of shown: repeats  indentation  broken")
    for name in [*(source.language for source in SOURCES), *KINDS, "within a line", "elsewhere", "all"]:
        if not (found := verdicts.get(name)):
            continue
        shown = [verdict for verdict in found if not verdict.empty]
        of, of_shown = 100 / len(found), 100 / max(len(shown), 1)
        print(
            f"{name:14} {len(found):6} {of * (len(found) - len(shown)):5.1f}% {of * sum(v.exact for v in found):5.1f}%"
            f" {of * sum(v.first_line for v in found):10.1f}% {sum(v.similarity for v in found) / len(found):11.2f} |"
            f" {of_shown * sum(v.repeats for v in shown):16.1f}% {of_shown * sum(not v.indented for v in shown):11.1f}%"
            f" {of_shown * sum(v.broken for v in shown):6.1f}%"
        )


def replayed(path: str, folder: Path) -> Iterable[tuple[Span, str]]:
    said = [json.loads(line) for line in Path(path).read_text().splitlines()]
    found = places(said[0]["limit"], folder)
    settings = NARROW if said[0]["narrow"] else Settings()
    for line in said:
        span = found[line["number"]]
        assert (span.file, span.start) == (line["file"], line["start"]), "the files are others now"
        yield span, replay(span, line["pieces"], line["finish"], settings)


def say(asker: Callable[[], Asker], found: list[Span], path: Path, limit: int, narrow: bool, more: int) -> None:
    said = {json.loads(line)["number"] for line in path.read_text().splitlines()} if path.exists() else set()
    left = [number for number in range(len(found)) if number not in said][:more]
    if not left:
        return
    with path.open("a") as out:
        for answered, pieces, finish in asker().answers([found[number] for number in left]):
            number = left[answered]
            span = found[number]
            place = {"number": number, "file": span.file, "start": span.start, "limit": limit, "narrow": narrow}
            out.write(json.dumps({**place, "pieces": pieces, "finish": finish}) + "\n")
            out.flush()


def asked(asker: Asker, found: list[Span], settings: Settings) -> Iterable[tuple[Span, str]]:
    for done, (number, pieces, finish) in enumerate(asker.answers(found), start=1):
        span = found[number]
        shown = request(span, settings).texts({"text": "".join(pieces), "finish_reason": finish})
        yield span, shown[0] if shown else ""
        if done % 20 == 0:
            print(f"{done} of {len(found)}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--limit", type=int, help="places: 640, or 10,000 originals")
    parser.add_argument("--wide", action="store_true", help="the window that an editor's user gets")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--files", type=Path, default=FOLDER, help="where packages are kept")
    parser.add_argument("--originals", action="store_true")
    parser.add_argument("--say", metavar="FILE", type=Path)
    parser.add_argument("--more", metavar="N", type=int, default=10_000, help="places that --say adds to its file")
    parser.add_argument("--replay", metavar="FILE")
    args = parser.parse_args()
    if args.originals:
        originals(args.limit or 10_000, args.files)
        return
    if args.replay:
        table(replayed(args.replay, args.files))
        return
    if not args.model:
        parser.error("name a model, or --originals, or --replay FILE")
    settings = Settings(max_time_ms=600_000) if args.wide else NARROW
    found = places(args.limit or 640, args.files)
    asker = partial(Asker, args.model, settings, raw=bool(args.say), threads=args.threads)
    if args.say:
        say(asker, found, args.say, args.limit or 640, not args.wide, args.more)
    else:
        table(asked(asker(), found, settings))


if __name__ == "__main__":
    main()
