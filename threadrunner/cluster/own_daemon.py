"""The daemon of one replica: in a folder of its own, with the machine's models, and gone with the replica."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from threadrunner import config, paths
from threadrunner.api.errors import Unreachable
from threadrunner.client.aio import AsyncConnection
from threadrunner.system import streams

RUN = "THREADRUNNER_CLUSTER_RUN"
"""Where a machine's replicas have their folders; as short as a socket's path must be."""

READY_WITHIN = 30.0
END_WITHIN = 5.0


def environment(ours: Mapping[str, str], home: str, model: str, options: Mapping[str, Any]) -> dict[str, str]:
    """The daemon's. Nothing of Ray's, whose token opens the whole cluster, and no option that this machine's user has
    set for a daemon of theirs; but `offline` is the machine's, and no file of the cluster's lifts it."""
    dropped = ("RAY_", "THREADRUNNER_", "OMP_")
    kept = {name: value for name, value in ours.items() if not name.startswith(dropped)}
    kept |= {name: value for name, value in ours.items() if name.startswith("THREADRUNNER_CLUSTER")}
    mine = {"home": home, "socket": os.path.join(home, "run", "d.sock"), "keep_alive": "-1", "model": model}
    mine |= {name: text(value) for name, value in options.items()}
    if config.readable(ours)[0].offline:
        mine["offline"] = "1"
    return {**kept, **{f"THREADRUNNER_{name.upper()}": value for name, value in mine.items()}, "PYTHONUTF8": "1"}


def text(value: Any) -> str:
    """An option's value as an environment variable has it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return ",".join(map(text, value)) if isinstance(value, list) else str(value)


class OwnDaemon:
    """Started by the first `dial`, and again by one that finds it gone."""

    def __init__(self, model: str, options: Mapping[str, Any]) -> None:
        """Raises OSError; ConfigError for this machine's environment."""
        # Not in our folder: a socket's path has 107 bytes at most, and a home may be on a network.
        self.home = tempfile.mkdtemp(prefix="r-", dir=os.environ.get(RUN))
        models = paths.models_dir()
        os.makedirs(models, mode=0o700, exist_ok=True)
        os.symlink(models, os.path.join(self.home, "models"))
        self._env = environment(os.environ, self.home, model, options)
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = asyncio.Lock()

    @property
    def offline(self) -> bool:
        """Whether it fetches nothing."""
        return self._env.get("THREADRUNNER_OFFLINE") == "1"

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def dial(self) -> AsyncConnection:
        """A connection to it. Raises Unreachable."""
        async with self._starting:
            if self._process is None or self._process.poll() is not None:
                await self._start()
        try:
            return await streams.create_connection(AsyncConnection, self._env["THREADRUNNER_SOCKET"])
        except OSError as error:
            raise Unreachable(f"the replica's daemon cannot be reached: {error.strerror}") from None

    async def end(self) -> None:
        """End it and remove its folder."""
        if self._process is not None:
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, END_WITHIN)
            except subprocess.TimeoutExpired:
                self._process.kill()
        await asyncio.to_thread(shutil.rmtree, self.home, ignore_errors=True)

    async def _start(self) -> None:
        """Begun by this thread, the event loop's: the kernel ends a leashed process with the thread that began it."""
        read, write = os.pipe()
        argv = [sys.executable, "-P", "-m", "threadrunner.cluster.leashed", str(os.getpid()), str(write)]
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=self._env,
                umask=0o077,
                pass_fds=[write],
            )
        finally:
            os.close(write)
        with contextlib.closing(os.fdopen(read, "rb")) as pipe:
            try:
                said = await asyncio.wait_for(asyncio.to_thread(pipe.read), READY_WITHIN)
            except TimeoutError:
                self._process.kill()
                raise Unreachable(f"the replica's daemon was not ready in {READY_WITHIN:.0f} s") from None
        if said != b"ready\n":
            raise Unreachable(f"the replica's daemon could not start: {said.decode(errors='replace').strip()}")
