"""cluster: models on many machines, by Ray: start them, look at them, end them."""

from __future__ import annotations

from threadrunner import exits
from threadrunner.api.errors import InvalidParams
from threadrunner.cli import render
from threadrunner.cli.arguments import Actions, Parser, add_json, run_action
from threadrunner.system import this_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from threadrunner.cluster.settings import ClusterSettings


def run(options: Namespace) -> int:
    if not this_process.on_linux():
        render.say("a cluster needs Linux: Ray runs on one machine only elsewhere")
        return exits.USAGE
    return run_action(options)


def arguments(parser: Parser) -> None:
    actions = Actions(parser)
    action = actions.add("up", "start this machine's part; on the first machine, the models too", up)
    _file(action)
    action.add_argument("--node", default="", metavar="NAME", help="a further node on this machine, to try things out")
    action.add_argument(
        "--has", action="append", default=[], metavar="LABEL", help="this machine has what models ask for by `needs`"
    )
    action.add_argument("--print", action="store_true", help="print the Serve configuration, and start nothing")
    action = actions.add("status", "what runs where", status)
    _file(action)
    add_json(action)
    action = actions.add("down", "end this machine's part, and leave no process", down)
    _file(action)
    action.add_argument("--node", default="", metavar="NAME", help="only this node")


def _file(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="the cluster's file; docs/cluster.md shows one")


def _settings(options: Namespace) -> ClusterSettings:
    from threadrunner.cluster import settings

    try:
        return settings.read(options.file)
    except settings.BadClusterFile as error:
        raise InvalidParams(str(error)) from None


def up(options: Namespace) -> int:
    from threadrunner.cluster import launcher

    settings = _settings(options)
    try:
        if options.print:
            render.out(render.json_line(launcher.configuration(settings)))
            return exits.OK
        return launcher.up(settings, options.node, options.has, render.say)
    except launcher.ClusterFailed as error:
        render.say(str(error))
        return error.code


def status(options: Namespace) -> int:
    from threadrunner.cluster import launcher, report

    settings = _settings(options)
    try:
        found = launcher.status(settings)
    except launcher.ClusterFailed as error:
        render.say(str(error))
        return error.code
    if options.json:
        render.out(render.json_line(found))
        return exits.OK
    render.out(render.table(report.rows(settings, found)))
    render.out(report.machines(found) + "\n")
    for name, app in sorted(found["applications"].items()):
        if problem := report.problem(app, found["nodes"]):
            render.say(f"{name}: {problem}")
    return exits.OK


def down(options: Namespace) -> int:
    from threadrunner.cluster import launcher

    settings = _settings(options)
    try:
        count = launcher.down(settings, options.node)
    except launcher.ClusterFailed as error:
        render.say(str(error))
        return error.code
    render.say(f"{settings.name}: {count} processes ended" if count else f"nothing of {settings.name} ran here")
    return exits.OK
