"""service install, uninstall, status: the system starts the daemon, for this user alone: systemd by its socket, launchd
at login.

Under systemd the socket exists from login on and costs nothing; the first prompt starts the daemon.
"""

from __future__ import annotations

import os
import sys

from threadrunner import exits, paths
from threadrunner.api import errors
from threadrunner.cli import render
from threadrunner.cli.arguments import Actions, Parser, run_action
from threadrunner.cli.flags import UsageError
from threadrunner.client import autostart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

NAME = "threadrunner"
LABEL = "dev.threadrunner.daemon"

_PATHS = ("THREADRUNNER_HOME", "HF_HOME", "OLLAMA_MODELS")  # the service runs in another folder

# What the daemon reads from the environment, and a service manager does not have.
_KEPT = ("THREADRUNNER_HOME", "HF_HOME", "HF_ENDPOINT", "OLLAMA_MODELS", "PIP_INDEX_URL", "HTTPS_PROXY", "NO_PROXY")
_WAIT_SECONDS = 30
_COMMAND = (sys.executable, "-P", "-m", "threadrunner", "daemon")  # -P: its folder is ~, whose files it must not import

SOCKET_UNIT = """\
# Written by `threadrunner service install`; `threadrunner service uninstall` takes it away.
[Unit]
Description=ThreadRunner's socket: local language models

[Socket]
ListenStream={socket}
SocketMode=0600
DirectoryMode=0700

[Install]
WantedBy=sockets.target
"""

SERVICE_UNIT = """\
# Written by `threadrunner service install`; `threadrunner service uninstall` takes it away.
[Unit]
Description=ThreadRunner: local language models
Requires={name}.socket
After={name}.socket

[Service]
Type=exec
ExecStart={command}
{environment}Restart=on-failure
# The daemon lets running answers finish, then ends its workers itself.
KillMode=mixed
TimeoutStopSec=60
LimitCORE=0
NoNewPrivileges=yes
UMask=0077
"""


run = run_action


def arguments(parser: Parser) -> None:
    actions = Actions(parser)
    installed = actions.add("install", "have the system's service manager start it, for you alone", install)
    installed.add_argument("--print", action="store_true", help="only show the files that would be written")
    actions.add("uninstall", "undo that", uninstall)
    actions.add("status", "whether it is installed, and runs", status)


def _manager() -> Systemd | Launchd:
    if sys.platform == "darwin":
        return Launchd()
    if sys.platform == "linux":
        return Systemd()
    raise UsageError("only systemd and launchd are known; have your service manager run `threadrunner daemon`")


def install(options: Namespace) -> int:
    manager = _manager()
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
    manager = _manager()
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
    manager = _manager()
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


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if os.environ.get(name)}
    return {name: paths.absolute(value) if name in _PATHS else value for name, value in kept.items()}


class Systemd:
    """A user's own units (systemd.socket(5), systemd.service(5)); nothing needs root."""

    enable = (["systemctl", "--user", "daemon-reload"], ["systemctl", "--user", "enable", "--now", f"{NAME}.socket"])
    disable = (["systemctl", "--user", "disable", "--now", f"{NAME}.socket", f"{NAME}.service"],)
    forget = (["systemctl", "--user", "daemon-reload"],)
    queries = (
        ["systemctl", "--user", "is-active", f"{NAME}.socket"],
        ["systemctl", "--user", "is-active", f"{NAME}.service"],
    )

    def files(self) -> dict[str, str]:
        """Paths to contents. Raises Unreachable for a socket's path that cannot be used."""
        config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        folder = os.path.join(config, "systemd", "user")
        path = autostart.socket_path()
        # The daemon is given its socket and needs no path, but its workers and messages use it.
        settings = {**_environment(), "THREADRUNNER_SOCKET": path}
        return {
            os.path.join(folder, f"{NAME}.socket"): SOCKET_UNIT.format(socket=_specifier(path)),
            os.path.join(folder, f"{NAME}.service"): SERVICE_UNIT.format(
                name=NAME,
                # A dollar sign begins a variable here, but not in an Environment= line.
                command=" ".join(_quoted(word).replace("$", "$$") for word in _COMMAND),
                environment="".join(f"Environment={_quoted(f'{key}={value}')}\n" for key, value in settings.items()),
            ),
        }


class Launchd:
    """A user's own agent (launchd.plist(5)): started at login, and again when it fails."""

    @property
    def _file(self) -> str:
        return os.path.expanduser(f"~/Library/LaunchAgents/{LABEL}.plist")

    @property
    def enable(self) -> tuple[list[str], ...]:
        return (["launchctl", "bootstrap", f"gui/{os.getuid()}", self._file],)

    @property
    def disable(self) -> tuple[list[str], ...]:
        return (["launchctl", "bootout", f"gui/{os.getuid()}/{LABEL}"],)

    @property
    def queries(self) -> tuple[list[str], ...]:
        return (["launchctl", "print", f"gui/{os.getuid()}/{LABEL}"],)

    forget: tuple[list[str], ...] = ()

    def files(self) -> dict[str, str]:
        """Path to contents. Raises Unreachable for a socket's path that cannot be used."""
        import plistlib

        agent = {
            "Label": LABEL,
            "ProgramArguments": [*_COMMAND],
            "EnvironmentVariables": {**_environment(), "THREADRUNNER_SOCKET": autostart.socket_path()},
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ProcessType": "Interactive",
            "HardResourceLimits": {"Core": 0},
            "Umask": 0o077,
            "StandardErrorPath": os.path.join(paths.cache_dir(), "launchd.log"),
        }
        return {self._file: plistlib.dumps(agent).decode()}


def _specifier(text: str) -> str:
    """A per cent sign would begin one of systemd's own abbreviations."""
    if "\n" in text:
        raise errors.Unreachable(f"systemd cannot hold a path with a newline in it: {text!r}")
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """As one word of a unit's line."""
    escaped = _specifier(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
