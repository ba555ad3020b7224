"""What a service manager is given: units of systemd's, agents of launchd's; pure but for the environment."""

from __future__ import annotations

import os
import sys

from threadrunner import paths
from threadrunner.api import errors
from threadrunner.client import autostart
from threadrunner.system import this_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "threadrunner"
HTTP = "threadrunner-http"
LABEL = "dev.threadrunner.daemon"
HTTP_LABEL = "dev.threadrunner.http"

_PATHS = ("THREADRUNNER_HOME", "HF_HOME", "OLLAMA_MODELS")  # the service runs in another folder

# What the daemon reads from the environment, and a service manager does not have.
_KEPT = ("THREADRUNNER_HOME", "HF_HOME", "HF_ENDPOINT", "OLLAMA_MODELS", "PIP_INDEX_URL", "HTTPS_PROXY", "NO_PROXY")
_COMMAND = (sys.executable, "-P", "-m", "threadrunner")  # -P: its folder is ~, whose files it must not import

_WRITTEN = "# Written by `threadrunner service install`; `threadrunner service uninstall` takes it away."

SOCKET_UNIT = """\
{written}
[Unit]
Description=ThreadRunner's socket: local language models

[Socket]
ListenStream={listen}
{modes}
[Install]
WantedBy=sockets.target
"""

SERVICE_UNIT = """\
{written}
[Unit]
Description=ThreadRunner: {what}
Requires={name}.socket
After={name}.socket

[Service]
Type=exec
ExecStart={command}
{environment}Restart=on-failure
{end}LimitCORE=0
NoNewPrivileges=yes
UMask=0077
"""

_DAEMONS_END = """\
# The daemon lets running answers finish, then ends its workers itself.
KillMode=mixed
TimeoutStopSec=60
"""


def http_command(port: int, key: bool) -> list[str]:
    """`port` is for a manager that passes no socket, and for `service status` to find in the file again."""
    return ["serve", "--port", str(port), *(["--key", "auto"] if key else [])]


class Systemd:
    """A user's own units (systemd.socket(5), systemd.service(5)); nothing needs root."""

    forget: tuple[list[str], ...] = (["systemctl", "--user", "daemon-reload"],)

    def __init__(self, http: Sequence[str] | None = None) -> None:
        """`http`: the arguments of `serve`, which is then a service too."""
        self._http = http
        self._names = [NAME] if http is None else [NAME, HTTP]
        self.enable = (
            ["systemctl", "--user", "daemon-reload"],
            ["systemctl", "--user", "enable", "--now", *(f"{name}.socket" for name in self._names)],
        )
        both = [f"{name}.{kind}" for name in self._names for kind in ("socket", "service")]
        self.disable: tuple[list[str], ...] = (["systemctl", "--user", "disable", "--now", *both],)
        self.queries: tuple[list[str], ...] = tuple(["systemctl", "--user", "is-active", unit] for unit in both)

    @property
    def folder(self) -> str:
        config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        return os.path.join(config, "systemd", "user")

    @property
    def http_file(self) -> str:
        """The file that is there where `serve` is installed too."""
        return os.path.join(self.folder, f"{HTTP}.service")

    def files(self) -> dict[str, str]:
        """Paths to contents. Raises Unreachable for a socket's path that cannot be used."""
        path = autostart.socket_path()
        made = {
            f"{NAME}.socket": SOCKET_UNIT.format(
                written=_WRITTEN, listen=_specifier(path), modes="SocketMode=0600\nDirectoryMode=0700\n"
            ),
            # The daemon is given its socket and needs no path, but its workers and messages use it.
            f"{NAME}.service": self._service(NAME, ["daemon"], "local language models", _DAEMONS_END),
        }
        if self._http is not None:
            port = self._http[self._http.index("--port") + 1]
            made |= {
                f"{HTTP}.socket": SOCKET_UNIT.format(written=_WRITTEN, listen=f"127.0.0.1:{port}", modes=""),
                f"{HTTP}.service": self._service(HTTP, self._http, "local language models over HTTP", ""),
            }
        return {os.path.join(self.folder, name): text for name, text in made.items()}

    def _service(self, name: str, arguments: Sequence[str], what: str, end: str) -> str:
        settings = {**environment(), "THREADRUNNER_SOCKET": autostart.socket_path()}
        return SERVICE_UNIT.format(
            written=_WRITTEN,
            name=name,
            what=what,
            end=end,
            # A dollar sign begins a variable here, but not in an Environment= line.
            command=" ".join(_quoted(word).replace("$", "$$") for word in (*_COMMAND, *arguments)),
            environment="".join(f"Environment={_quoted(f'{key}={value}')}\n" for key, value in settings.items()),
        )


class Launchd:
    """A user's own agents (launchd.plist(5)): started at login, and again when they fail."""

    forget: tuple[list[str], ...] = ()

    def __init__(self, http: Sequence[str] | None = None) -> None:
        self._http = http
        self._labels = [LABEL] if http is None else [LABEL, HTTP_LABEL]
        domain = f"gui/{this_process.uid()}"
        self.enable = tuple(["launchctl", "bootstrap", domain, self._file(label)] for label in self._labels)
        self.disable = tuple(["launchctl", "bootout", f"{domain}/{label}"] for label in self._labels)
        self.queries = tuple(["launchctl", "print", f"{domain}/{label}"] for label in self._labels)

    @property
    def http_file(self) -> str:
        return self._file(HTTP_LABEL)

    @staticmethod
    def _file(label: str) -> str:
        return os.path.expanduser(f"~/Library/LaunchAgents/{label}.plist")

    def files(self) -> dict[str, str]:
        """Paths to contents. Raises Unreachable for a socket's path that cannot be used."""
        made = {self._file(LABEL): self._agent(LABEL, ["daemon"], "launchd.log")}
        if self._http is not None:
            made[self._file(HTTP_LABEL)] = self._agent(HTTP_LABEL, self._http, "launchd-http.log")
        return made

    @staticmethod
    def _agent(label: str, arguments: Sequence[str], log: str) -> str:
        import plistlib

        agent = {
            "Label": label,
            "ProgramArguments": [*_COMMAND, *arguments],
            "EnvironmentVariables": {**environment(), "THREADRUNNER_SOCKET": autostart.socket_path()},
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ProcessType": "Interactive",
            "HardResourceLimits": {"Core": 0},
            "Umask": 0o077,
            "StandardErrorPath": os.path.join(paths.cache_dir(), log),
        }
        return plistlib.dumps(agent).decode()


def environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if os.environ.get(name)}
    return {name: paths.absolute(value) if name in _PATHS else value for name, value in kept.items()}


def _specifier(text: str) -> str:
    """A per cent sign would begin one of systemd's own abbreviations."""
    if "\n" in text:
        raise errors.Unreachable(f"systemd cannot hold a path with a newline in it: {text!r}")
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """As one word of a unit's line."""
    escaped = _specifier(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
