"""serve keys: who may ask `threadrunner serve`, each by a key with a name that can be taken back."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Callable

from threadrunner import exits
from threadrunner.cli import render, stdin
from threadrunner.cli.arguments import Actions, Parser, add_json, converter
from threadrunner.cli.flags import whole_number
from threadrunner.client import named_keys, servings
from threadrunner.client.named_keys import BadKey, NamedKey

_UNLIMITED = "-"


def arguments(parser: Parser) -> None:
    actions = Actions(parser)
    action = actions.add("add", "make a key and print it, this once", _said(add))
    action.add_argument("name", metavar="NAME", help="whose it is")
    action.add_argument("--requests", type=_LIMIT, default=0, metavar="N", help="at most so many requests a minute")
    action.add_argument(
        "--tokens",
        type=_LIMIT,
        default=0,
        metavar="N",
        help="at most so many tokens a minute, in and out; cached ones are free",
    )
    action.add_argument("--at-once", type=_LIMIT, default=0, metavar="N", help="at most so many requests under way")
    action.add_argument(
        "--may",
        action="append",
        default=[],
        choices=named_keys.RIGHTS,
        help="what it reaches beside models; may be repeated",
    )
    action.add_argument(
        "--from",
        dest="source",
        metavar="REF",
        help="there is one: file:PATH or env:NAME, where it stays; -: on standard input",
    )
    add_json(actions.add("list", "all that are valid; keys are not shown, for they are not known here", _said(listing)))
    action = actions.add("revoke", "take a key back; it ends with its next request", _said(revoke))
    action.add_argument("name", metavar="NAME", help="whose it was")


def _limit(text: str) -> int:
    number = whole_number(text)
    if number == 0:
        raise ValueError("expected 1 or more; without the flag there is no limit")
    return number


_LIMIT = converter(_limit)


def _said(action: Callable[[Namespace], int]) -> Callable[[Namespace], int]:
    """The action, with what goes wrong said to the user."""

    def run(options: Namespace) -> int:
        try:
            return action(options)
        except BadKey as error:
            render.say(str(error))
            return exits.USAGE

    return run


def add(options: Namespace) -> int:
    """The key goes to standard output, all else to standard error: `threadrunner serve keys add ci > ci.key`."""
    name = named_keys.checked_name(options.name)
    source, given = _source(options.source), stdin.key() if options.source == "-" else None
    key = "" if source else named_keys.generated() if given is None else given
    digest = "" if source else named_keys.digest(named_keys.usable(key, named_keys.LEAST))
    made = time.strftime("%Y-%m-%d")
    limits = (options.requests, options.tokens)
    named_keys.add(NamedKey(name, made, digest, source, *limits, tuple(options.may), options.at_once))
    if key and given is None:
        _handed_over(name, key)
        render.say("this is shown once, and kept as a hash only")
    else:
        render.say(f"the key of {name} is valid")
    if servings.running():
        render.say(
            "a `threadrunner serve` that was started when no key was asked for asks for none until its next start"
        )
    return exits.OK


def _handed_over(name: str, key: str) -> None:
    """Print it. Where that fails it is taken back: no key should be valid that its maker never saw. Raises OSError."""
    try:
        render.out(f"{key}\n")
    except OSError:
        named_keys.revoke(name)
        raise


def listing(options: Namespace) -> int:
    keys = named_keys.load(named_keys.file())
    if options.json:
        render.out(render.json_line({"keys": [_shown(key) for key in keys]}))
        return exits.OK
    if not keys:
        render.say("no key has a name yet; `threadrunner serve keys add NAME` makes one")
        return exits.OK
    rows = [("NAME", "MADE", "REQUESTS/MIN", "TOKENS/MIN", "AT ONCE", "MAY", "KEPT")]
    render.out(render.table([*rows, *map(_row, keys)]))
    return exits.OK


def revoke(options: Namespace) -> int:
    named_keys.revoke(options.name)
    render.say(f"the key of {options.name} is no longer valid")
    return exits.OK


def _shown(key: NamedKey) -> dict[str, object]:
    limits = {"requests_per_minute": key.requests or None, "tokens_per_minute": key.tokens or None}
    limits["at_once"] = key.at_once or None
    return {"name": key.name, "made": key.made, **limits, "may": list(key.may), "source": key.source or None}


def _row(key: NamedKey) -> tuple[str, ...]:
    return (
        key.name,
        key.made,
        str(key.requests or _UNLIMITED),
        str(key.tokens or _UNLIMITED),
        str(key.at_once or _UNLIMITED),
        ", ".join(("models", *key.may)),
        key.source or "as a hash",
    )


def _source(given: str | None) -> str:
    """Raises BadKey."""
    if given in (None, "-"):
        return ""
    if not named_keys.is_reference(given):
        raise BadKey("--from takes file:PATH, env:NAME (of the environment that `serve` starts in), or -")
    kind, _, rest = given.partition(":")
    return f"file:{os.path.abspath(os.path.expanduser(rest))}" if kind == "file" else given
