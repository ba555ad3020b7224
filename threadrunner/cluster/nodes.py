"""Ray's processes on this machine: how they are started, told apart from all others, and ended without a rest.

`ray stop` ends every Ray of this user. Ours are known by their environment, which all that they start inherits: it is
there whatever became of whoever started them, and the kernel shows it (/proc/PID/environ).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from threadrunner import paths
from threadrunner.cluster.own_daemon import RUN
from threadrunner.cluster.settings import ClusterSettings
from threadrunner.system import this_process

MARK = "THREADRUNNER_CLUSTER"
NODE = "THREADRUNNER_CLUSTER_NODE"
HEAD = "head"

LOCAL = "127.0.0.2"
"""Of 127.0.0.1 Ray makes this machine's outward address, and waits there for minutes for what listens elsewhere. This
one is as local, and is left alone."""

START_WITHIN = 90.0
TERM_WITHIN = 3.0


class NodeTrouble(Exception):
    """The text says why and what to do."""


class Places(NamedTuple):
    """Where one cluster keeps its things on this machine."""

    folder: str
    """Its token, keys and log; stays."""
    run: str
    """Ray's sockets and logs, replicas' folders; goes with `down`. Private: what Ray makes in it, others may enter."""

    @property
    def token(self) -> str:
        return os.path.join(self.folder, "token")

    @property
    def ray(self) -> str:
        return os.path.join(self.run, "ray")

    @property
    def log(self) -> str:
        return os.path.join(self.folder, "ray.log")


def places(settings: ClusterSettings) -> Places:
    """Ray's own paths below its folder take 70 of the 107 bytes that a socket's path may have."""
    folder = os.path.join(paths.home(), "cluster", settings.name)
    short = f"{this_process.uid()}-{zlib.crc32(folder.encode()):08x}"
    return Places(folder, os.path.join(tempfile.gettempdir(), f"trc-{short}"))


def environment(ours: Mapping[str, str], where: Places, node: str) -> dict[str, str]:
    """Of all of Ray's processes here. Tokens are asked for and nothing is told home, unlike in Ray by itself."""
    dropped = ("RAY_ADDRESS", "RAY_AUTH", "RAY_USAGE", "RAY_START_HOOK", "RAY_TMPDIR")
    kept = {name: value for name, value in ours.items() if not name.startswith(dropped)}
    forced = {
        MARK: where.folder,
        NODE: node,
        RUN: where.run,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": where.token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # Without the hook Ray opens a port for its `ray://` clients, who send pickles.
        "RAY_START_HOOK": "threadrunner.cluster.start_hook.apply",
        "RAY_enable_metrics_collection": "0",  # a port for Prometheus on every address, which asks for no token
        "RAY_enable_worker_prestart": "0",  # 60 MB for each core that no replica may ever want
        "RAY_prestart_worker_first_driver": "0",
        "RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH": "",
        "SPT_NOENV": "1",  # setproctitle would write over what we find our processes by
        "PYTHONUTF8": "1",
    }
    return kept | forced


def ray_address(settings: ClusterSettings) -> str:
    """The first machine's, as Ray is told it."""
    return LOCAL if settings.address in ("localhost", "127.0.0.1") else settings.address


def is_head(settings: ClusterSettings) -> bool:
    """Whether the cluster's address is one of this machine's."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.address, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def start_arguments(
    settings: ClusterSettings, where: Places, node: str, own_address: str, labels: Sequence[str] = ()
) -> list[str]:
    """Of `ray start`."""
    given = ["--disable-usage-stats", "--include-log-monitor=false", "--log-color=false"]
    given += [f"--object-store-memory={settings.object_store}", f"--node-ip-address={own_address}"]
    given += ["--dashboard-agent-listen-port=0"]
    if settings.cpus >= 0:
        given.append(f"--num-cpus={settings.cpus:g}")
    if labels:
        given.append(f"--resources={json.dumps(dict.fromkeys(labels, 1))}")
    if node == HEAD:
        return ["--head", f"--port={settings.port}", f"--temp-dir={where.ray}", "--include-dashboard=false", *given]
    return [f"--address={ray_address(settings)}:{settings.port}", *given]


def check_ports(settings: ClusterSettings) -> None:
    """Raises NodeTrouble where the first machine's are not free: `ray start` waits 48 s for any program on its port,
    and a proxy without its port fails again and again while the models run."""
    for key, host, port in (
        ("port", ray_address(settings), settings.port),
        ("listen", settings.listen, settings.listen_port),
    ):
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, address = found[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as they do: one that was closed just now
                probe.bind(address)
        except OSError as error:
            raise NodeTrouble(f"cannot listen on {host}:{port}: {error.strerror}; set another `{key}`") from None


def start(settings: ClusterSettings, where: Places, node: str, labels: Sequence[str]) -> None:
    """Start one node here and return when it stands. Raises NodeTrouble."""
    try:
        paths.private_dir(where.run)
    except paths.PathError as error:
        raise NodeTrouble(str(error)) from None
    own = ray_address(settings) if node == HEAD else address_towards(settings)
    arguments = start_arguments(settings, where, node, own, labels)
    argv = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", *arguments]
    with open(where.log, "ab") as log:
        log.write(f"--- {' '.join(argv[3:])}\n".encode())
        log.flush()
        begin = log.tell()
        try:
            code = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(os.environ, where, node),
                timeout=START_WITHIN,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise NodeTrouble(f"Ray did not start within {START_WITHIN:.0f} s; see {where.log}") from None
    if code:
        with open(where.log, encoding="utf-8", errors="replace") as log:
            log.seek(begin)
            raise NodeTrouble(reason(log.read(), settings, where, node))


def reason(said: str, settings: ClusterSettings, where: Places, node: str) -> str:
    """Why a node did not start and what to do, by what `ray start` said. Pure."""
    if "Unauthenticated" in said or "InvalidAuthToken" in said or "authentication" in said.lower():
        return f"the cluster at {settings.address} refuses our token: copy {where.token} from there to here"
    if node != HEAD:
        return (
            f"cannot join {settings.address}:{settings.port}; does the first machine run `threadrunner cluster up`, "
            f"with the same versions of Ray and Python, and is its port open to us? Ray's words are in {where.log}"
        )
    return f"Ray could not start; its words are in {where.log}"


def address_towards(settings: ClusterSettings) -> str:
    """The address by which the first machine sees this one."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(ray_address(settings), settings.port, type=socket.SOCK_DGRAM)[
            0
        ]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # UDP: nothing is sent
            own = str(probe.getsockname()[0])
            return LOCAL if own.startswith("127.") else own
    except OSError as error:
        raise NodeTrouble(f"{settings.address} cannot be reached: {error.strerror or error}") from None


def running(where: Places, node: str = "") -> list[int]:
    """Pids of the cluster's processes on this machine, or those of one node, but for our own."""
    wanted = [f"{MARK}={where.folder}".encode(), *([f"{NODE}={node}".encode()] if node else [])]
    return [pid for pid, variables in _environments() if all(one in variables for one in wanted)]


def _environments() -> Iterator[tuple[int, list[bytes]]]:
    ours = os.getpid()
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != ours:
            # It has ended, or is another user's.
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                yield int(name), file.read().split(b"\0")


def end(where: Places, node: str = "") -> int:
    """End them all; how many there were. Raises NodeTrouble where one will not."""
    if sys.platform != "linux":  # they come no further than cli/commands/cluster.py
        raise NodeTrouble("a cluster needs Linux")
    seen: set[int] = set()
    for number, seconds in (
        (signal.SIGTERM, TERM_WITHIN),
        (signal.SIGKILL, TERM_WITHIN),
        (signal.SIGKILL, TERM_WITHIN),
    ):
        pids = running(where, node)
        if not pids:
            break
        seen.update(pids)
        _signal_and_wait(pids, number, seconds)
    else:
        if left := running(where, node):
            raise NodeTrouble(f"these processes do not end: {', '.join(map(str, left))}")
    if not running(where):
        shutil.rmtree(where.run, ignore_errors=True)
    return len(seen)


def _signal_and_wait(pids: list[int], number: int, seconds: float) -> None:
    """Return when all have ended, or after that long."""
    if sys.platform != "linux":
        raise NodeTrouble("a cluster needs Linux")
    poll, open_ = select.poll(), set()
    for pid in pids:
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(pid)
            signal.pidfd_send_signal(fd, number)
            poll.register(fd, select.POLLIN)
            open_.add(fd)
    until = time.monotonic() + seconds
    waiting = set(open_)
    while waiting and (left := until - time.monotonic()) > 0:
        for fd, _ in poll.poll(left * 1e3):
            poll.unregister(fd)
            waiting.discard(fd)
    for fd in open_:
        os.close(fd)
