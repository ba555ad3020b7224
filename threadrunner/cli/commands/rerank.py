"""rerank: the lines of standard input, those that answer a question best first."""

from __future__ import annotations

import argparse

from threadrunner import exits
from threadrunner.cli import render, request, stdin
from threadrunner.cli.arguments import COUNT, Parser, add_json
from threadrunner.cli.flags import UsageError

AT_ONCE = 1024


def arguments(parser: Parser) -> None:
    parser.add_argument("question", nargs="+", metavar="QUESTION")
    parser.add_argument("-n", "--top", type=COUNT, metavar="N", help="only the best N lines")
    parser.add_argument("-m", "--model", metavar="MODEL", help="a reranker, such as bge-reranker-v2-m3")
    add_json(parser, "each line with its score and its number, as JSON")


def run(options: argparse.Namespace) -> int:
    lines = [line for line in stdin.read(expected=True).splitlines() if line.strip()]
    if not lines:
        raise UsageError("there are no lines; pipe them in: threadrunner rerank QUESTION < lines.txt")
    if options.top == 0:
        raise UsageError("--top is 1 or more")
    params = {**request.target(options.model), "query": request.words_text(options.question)}
    ranked = []
    for begin in range(0, len(lines), AT_ONCE):
        answer = request.ask("rerank", {**params, "documents": lines[begin : begin + AT_ONCE]})
        ranked += [(result["score"], begin + result["index"]) for result in answer["results"]]
    ranked.sort(key=lambda result: (-result[0], result[1]))
    for score, index in ranked[: options.top]:
        if options.json:
            render.out(render.json_line({"score": score, "line": index + 1, "text": lines[index]}))
        else:
            render.out(f"{lines[index]}\n")
    return exits.OK
