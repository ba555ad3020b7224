"""A loaded model's file has changed: bring up the new one's worker beside the old, or end a worker whose file is wrong.

file_change.py decides, this carries it out.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Protocol

from threadrunner.api.errors import ApiError, WorkerCrashed
from threadrunner.api.generation import GenerateParams
from threadrunner.daemon.models.catalog import ModelRef
from threadrunner.daemon.workers import file_change
from threadrunner.daemon.workers.file_change import Reaction
from threadrunner.daemon.workers.lifecycle import State
from threadrunner.daemon.workers.resident import Resident, ResidentHost
from threadrunner.daemon.workers.sink import SilentSink

log = logging.getLogger("threadrunner.daemon.fleet")

_PROBE = GenerateParams(prompt="Hello", max_tokens=1, temperature=0.0)


class ReloadHost(ResidentHost, Protocol):
    """What reloading needs of the fleet."""

    @property
    def current(self) -> list[Resident]:
        """The residents that new requests go to."""

    def fits(self, model: ModelRef) -> bool:
        """Whether there is memory for another worker of this model."""

    def replace(self, old: Resident, successor: Resident) -> None:
        """New requests go to the successor; the old one ends after its last request."""


class Reloads:
    """The reloads under way, at most one for each resident, and the new files that turned out to be unusable."""

    def __init__(self, host: ReloadHost) -> None:
        self._host = host
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._rejected: dict[str, str] = {}  # key -> fingerprint

    def look(self) -> None:
        """Something has changed in the folder of a loaded model: find out what, and act on it."""
        for resident in self._host.current:
            if not resident.process or resident.lifecycle.state is State.STOPPING:
                continue
            key, now = resident.key, resident.model.fingerprint
            match file_change.react(
                resident.fingerprint, now, reloading=key in self._tasks, rejected=self._rejected.get(key)
            ):
                case Reaction.DISCARD:
                    log.warning("%s was written in place while in use", resident.model.path)
                    self._host.announce("model.reloading", resident.model.name, {"how": "rewritten"})
                    resident.discard(_overwritten(resident.model))
                case Reaction.SUCCEED:
                    task = asyncio.create_task(self._reload(resident), name=f"reload {resident.model.name}")
                    self._tasks[key] = task
                    task.add_done_callback(functools.partial(self._done, key))

    def close(self) -> None:
        """Cancel what is under way."""
        for task in self._tasks.values():
            task.cancel()

    def _done(self, key: str, _: object) -> None:
        del self._tasks[key]
        self.look()  # the file may have been replaced once more meanwhile

    async def _reload(self, old: Resident) -> None:
        """The successor takes over once it has generated a real token."""
        host, fingerprint = self._host, old.model.fingerprint
        host.announce("model.reloading", old.model.name, {"how": "replaced"})
        successor = Resident(old.model, old.backend, host)
        if not host.fits(old.model):
            # No room for both. What runs ends on the old one, what arrives from now on waits for the new one.
            self._take_over(old, successor)
            await old.gone.wait()
        try:
            async with successor.lease(old.lifecycle.keep_alive, SilentSink()) as lease:
                await lease.request("generate", "normal", _PROBE, SilentSink())
                if old in host.current:
                    self._take_over(old, successor)
        except ApiError as error:
            log.error("the new %s cannot be used, the old one stays: %s", old.model.path, error.message)
            self._rejected[old.key] = fingerprint
            await successor.close()

    def _take_over(self, old: Resident, successor: Resident) -> None:
        self._rejected.pop(old.key, None)
        self._host.replace(old, successor)
        self._host.announce("model.reloaded", old.model.name, {})


def _overwritten(model: ModelRef) -> WorkerCrashed:
    return WorkerCrashed(
        f"the file of {model.name} was overwritten while it was in use, so the rest of this answer cannot be trusted. "
        "Ask again: the new file is loaded once it is complete. Replacing a file by rename (mv) interrupts no request.",
        signal=None,
        exit_code=None,
        cause="file overwritten",
    )
