"""service install, uninstall, status: the system starts the daemon, for this user alone: systemd by its socket, launchd
at login; with --http `threadrunner serve` too.

Under systemd the sockets exist from login on and cost nothing; the first prompt starts the daemon, the first connection
`serve`.
"""

from __future__ import annotations

import os
import re

from threadrunner import exits
from threadrunner.cli import render
from threadrunner.cli.arguments import PORT, Actions, Parser, run_action
from threadrunner.cli.commands.service_units import Launchd, Systemd, http_command
from threadrunner.cli.flags import UsageError
from threadrunner.client import autostart
from threadrunner.system import this_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

_WAIT_SECONDS = 30

run = run_action


def arguments(parser: Parser) -> None:
    actions = Actions(parser)
    installed = actions.add("install", "have the system's service manager start it, for you alone", install)
    installed.add_argument("--print", action="store_true", help="only show the files that would be written")
    installed.add_argument("--http", action="store_true", help="`threadrunner serve` too, at 127.0.0.1")
    installed.add_argument("--port", type=PORT, default=8765, metavar="PORT", help="of --http: 8765")
    installed.add_argument("--key", action="store_true", help="of --http: ask clients for the key in serve.key")
    actions.add("uninstall", "undo that", uninstall)
    actions.add("status", "whether it is installed, and runs", status)


def _manager(http: Sequence[str] | None = None) -> Systemd | Launchd:
    if this_process.NAME == "darwin":
        return Launchd(http)
    if this_process.NAME == "linux":
        return Systemd(http)
    raise UsageError("only systemd and launchd are known; have your service manager run `threadrunner daemon`")


def _installed() -> Systemd | Launchd:
    """The manager of what has been installed, with the options that `serve` was installed with."""
    manager = _manager()
    try:
        with open(manager.http_file, encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return manager
    port = re.search(r"--port[^0-9]{1,40}(\d{1,5})", text)
    return _manager(http_command(int(port[1]) if port else 8765, "--key" in text))


def install(options: Namespace) -> int:
    if (options.key or options.port != 8765) and not options.http:
        raise UsageError("--port and --key are of --http: give that too")
    manager = _manager(http_command(options.port, options.key) if options.http else None)
    files = manager.files()
    if options.print:
        for path, text in files.items():
            render.put(1, f"# {path}\n{text}\n")
        return exits.OK
    running = autostart.find()
    if running is not None:  # its socket would be in the way
        autostart.stop(running, autostart.socket_path())
    for path, text in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(f"{path}.new", path)
        render.put(1, f"{path}: written\n")
    return _commands(manager.enable, "It starts with the next prompt, and after every login.")


def uninstall(_options: Namespace) -> int:
    manager = _installed()
    installed = [path for path in manager.files() if os.path.exists(path)]
    if not installed:
        render.say("it is not installed")
        return exits.OK
    code = _commands(manager.disable, "")
    for path in installed:
        os.unlink(path)
        render.put(1, f"{path}: removed\n")
    if code == exits.OK:
        _commands(manager.forget, "")
    return code


def status(_options: Namespace) -> int:
    manager = _installed()
    files = manager.files()
    missing = [path for path in files if not os.path.exists(path)]
    if missing:
        render.put(1, "not installed; `threadrunner service install` does it\n")
        return exits.UNKNOWN
    for path, text in files.items():
        with open(path, encoding="utf-8") as file:
            changed = file.read() != text
        render.put(1, f"{path}: {'differs from what install would write; run it again?' if changed else 'installed'}\n")
    for command in manager.queries:
        code, output = _call(command)
        first = next(iter(output.strip().splitlines()), f"code {code}")
        render.put(1, f"{command[-1]}: {first}\n")
    return exits.OK


def _commands(commands: Sequence[list[str]], success: str) -> int:
    """The exit code of all of them, run in turn. Where one fails the user is told what to run; the files stay."""
    for command in commands:
        code, output = _call(command)
        if code:
            render.say(f"`{' '.join(command)}` failed: {output.strip() or f'code {code}'}")
            render.say("in a session with a service manager, run: " + " && ".join(map(" ".join, commands)))
            return exits.UNKNOWN
    if success:
        render.put(1, f"{success}\n")
    return exits.OK


def _call(command: list[str]) -> tuple[int, str]:
    """Exit code and output of a command; those of a shell where it is not there (127) or takes too long (124)."""
    import subprocess

    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_WAIT_SECONDS
        )
    except FileNotFoundError:
        return 127, f"there is no {command[0]}"
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {_WAIT_SECONDS} s"
    return done.returncode, done.stdout.decode("utf-8", "replace")
