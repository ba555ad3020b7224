"""Several answers to one prompt, of which one is printed: --n, --vote, --check."""

from __future__ import annotations

import contextlib
import os
import tempfile

from threadrunner import paths
from threadrunner.api.errors import ApiError, NoneChosen
from threadrunner.cli import render, request
from threadrunner.cli.check import SECONDS, Check
from threadrunner.cli.flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from threadrunner.cli.flags import Options
    from threadrunner.client.blocking import EncodedRequest

USUAL = 5
"""Answers, where the user does not say how many."""
MOST = 8


def params(options: Options) -> dict[str, Any]:
    """The params of the flags. Raises UsageError for flags that do not go together."""
    if problem := _problem(options):
        raise UsageError(problem)
    n = USUAL if options.n is None else options.n
    if not (options.vote or options.check):
        return {"n": n}
    if options.check:
        return {"n": n, "vote": {"by": "client"}}
    given = {
        "field": options.key_field,
        "pattern": options.key_pattern,
        "least": options.least,
        "otherwise": None if options.otherwise is None else request.model_name(options.otherwise),
    }
    return {"n": n, "vote": {name: value for name, value in given.items() if value is not None}}


def _problem(options: Options) -> str | None:
    chooses = options.vote or options.check is not None
    belongs = {"--key-field": options.key_field, "--key-pattern": options.key_pattern, "--least": options.least,
               "--otherwise": options.otherwise}  # fmt: skip
    alone = [flag for flag, value in belongs.items() if value is not None and not options.vote]
    if alone:
        return f"{alone[0]} belongs to a vote: give --vote too"
    if options.vote and options.check is not None:
        return "--vote and --check both choose the answer; give one of them"
    if options.check_timeout is not None and options.check is None:
        return "--check-timeout belongs to a check: give --check COMMAND too"
    if options.otherwise is not None and options.least is None:
        return "--otherwise is asked below an agreement: give --least too, e.g. --least 0.6"
    if options.verbose and not chooses:
        return "-v shows the answers that --vote or --check chooses among: give one of them too"
    return _number_problem(options, 2 if chooses else 1) or (_choice_problem(options) if chooses else None)


def _number_problem(options: Options, least: int) -> str | None:
    if options.n is not None and not least <= options.n <= MOST:
        return f"--n: expected {least} to {MOST} answers, got {options.n}"
    if least == 1 and options.n != 1 and not options.json:
        return "--n gives several answers: choose one with --vote or --check COMMAND, or see all with --json"
    return None


def _choice_problem(options: Options) -> str | None:
    if options.temperature == 0:
        return "with -t 0 all answers are the same; leave it out, or give one above 0, e.g. -t 0.8"
    if options.check is not None and not options.check.strip():
        return "--check needs a command, e.g. --check 'grep -q seven'"
    if options.check is not None and options.tools is not None:
        return "--check is given the answer's text, and a call of --tools is none; leave one of them out"
    return None


class Candidates:
    """The answers of one request as they come: shown, checked, and the first that passes chosen."""

    def __init__(self, options: Options, asked: EncodedRequest, n: int, events: render.Events | None = None) -> None:
        """`events` are told of each, under --json."""
        self.check: Check | None = None
        if options.check is not None:
            self.check = Check(options.check, options.check_timeout or SECONDS, aloud=options.verbose)
        self._verbose = options.verbose
        self._asked = asked
        self._n = n
        self._events = events
        self.count = 0
        self._chosen = False

    def heard(self, payload: dict[str, Any]) -> None:
        """An answer is complete. Raises UsageError where the check cannot be run."""
        if self._chosen:  # it was on its way
            return
        self.count += 1
        index = payload["index"]
        if self._events is not None:
            self._events.emit("candidate", {name: value for name, value in payload.items() if name != "request"})
        elif self._verbose:
            key = f", key {render.one_line(payload['key'])}" if self.check is None and "key" in payload else ""
            render.say(f"answer {index + 1} of {self._n}{key}:")
            render.err(f"{payload['text'].rstrip()}\n")
        if self.check is not None:
            self._judge(index, payload["text"])

    def _judge(self, index: int, text: str) -> None:
        assert self.check is not None
        outcome = self.check.run(text, index + 1)
        self._chosen = outcome.code == 0
        if self._events is not None:
            self._events.emit("check", {"index": index, "passed": self._chosen, "exit": outcome.code})
        if self._verbose:
            render.say(f"the check of answer {index + 1}: {outcome.said}")
        if self._chosen or self.count == self._n:
            self._asked.notify("choose", {"request": self._asked.id, "candidate": index if self._chosen else None})

    def stop(self) -> None:
        if self.check is not None:
            self.check.kill()

    def explained(self, error: ApiError) -> ApiError:
        """The error of a request of several answers, with the words of the command line; where none was chosen they
        are kept, and the user is told where."""
        texts = error.facts.get("choices")
        if not isinstance(texts, list) or not texts:
            return error
        why = error.message
        if self.check is not None and error.kind == "NoneChosen":
            why = f"none of {len(texts)} answers passes the check"
        if self._events is None:
            why += f"; {_kept(texts)}"
        made = NoneChosen(why, **error.facts) if error.kind == "NoneChosen" else type(error)(why, **error.facts)
        made.kind = error.kind
        return made


def _kept(texts: list[str]) -> str:
    """Writes the answers to a file, for this user alone, in the place of those of the last time; says where."""
    folder = paths.cache_dir()
    path = os.path.join(folder, "unchosen.txt")
    body = "".join(f"==> answer {number} <==\n{text.rstrip()}\n\n" for number, text in enumerate(texts, 1))
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor, made = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(body)
            os.replace(made, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(made)
            raise
    except OSError as error:
        render.err(body)
        return f"they are above, since {folder} cannot be written: {error.strerror}"
    return f"they are in {path}"
