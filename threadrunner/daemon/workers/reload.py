"""A loaded model's file has changed: bring up the new one's worker beside the old, or end a worker whose file is wrong.

file_change.py decides, this carries it out.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Protocol

from threadrunner.api.errors import ApiError, Timeout, WorkerCrashed
from threadrunner.api.generation import GenerateParams
from threadrunner.daemon.models.reference import ModelRef
from threadrunner.daemon.workers import file_change
from threadrunner.daemon.workers.file_change import Reaction
from threadrunner.daemon.workers.lifecycle import State
from threadrunner.daemon.workers.resident import Lease, Resident, ResidentHost
from threadrunner.daemon.workers.roster import Roster
from threadrunner.daemon.workers.sink import SilentSink

log = logging.getLogger("threadrunner.daemon.fleet")

PROBE_WITHIN = 300.0
"""Seconds from the new model's load to its first token: more than any machine takes for one pass over the weights that
it has just read. Meanwhile the old model answers."""

_PROBE = GenerateParams(prompt="Hello", max_tokens=1, temperature=0.0)


class ReloadHost(ResidentHost, Protocol):
    """What reloading needs of the fleet."""

    @property
    def current(self) -> list[Resident]:
        """The residents that new requests go to."""

    @property
    def every(self) -> list[Resident]:
        """Those, and the ones that have been replaced and are still busy."""

    @property
    def roster(self) -> Roster:
        """Which names lead to which resident."""

    def fits(self, model: ModelRef) -> bool:
        """Whether there is memory for another worker of this model."""

    def replace(self, old: Resident, successor: Resident, fingerprint: str) -> None:
        """New requests for the names whose file is now that one go to the successor; the old one ends after its last
        request unless another name leads to it."""


class Reloads:
    """The reloads under way, at most one for each resident, and the new files that turned out to be unusable."""

    def __init__(self, host: ReloadHost) -> None:
        self._host = host
        self._tasks: dict[Resident, asyncio.Task[None]] = {}
        self._rejected: dict[str, str] = {}  # backend and path -> fingerprint

    def look(self) -> None:
        """Something has changed in the folder of a loaded model: find out what, and act on it."""
        for resident in self._host.every:
            self.look_at(resident)

    def look_at(self, resident: Resident) -> None:
        """The same for one of them. It costs a few stat calls, and begins what is to be done in the background."""
        if not resident.process or resident.lifecycle.state is State.STOPPING or not resident.real_files:
            return
        if resident.overwritten:
            self._discard(resident)
            return
        for model in self._host.roster.names(resident):
            match file_change.react(
                resident.fingerprint,
                model.fingerprint,
                reloading=resident in self._tasks,
                rejected=self._rejected.get(_key(resident, model)),
            ):
                case Reaction.DISCARD:
                    self._discard(resident)
                    return
                case Reaction.SUCCEED:
                    task = asyncio.create_task(self._reload(resident, model), name=f"reload {model.name}")
                    self._tasks[resident] = task
                    task.add_done_callback(functools.partial(self._done, resident))

    def _discard(self, resident: Resident) -> None:
        log.warning("%s was written in place while in use", resident.model.shown_path)
        self._host.announce("model.reloading", resident.model.name, {"how": "rewritten"})
        resident.discard(_overwritten(resident.model))

    def close(self) -> None:
        """Cancel what is under way."""
        for task in self._tasks.values():
            task.cancel()

    def _done(self, old: Resident, task: asyncio.Task[None]) -> None:
        del self._tasks[old]
        if not task.cancelled() and (error := task.exception()):
            log.error("reloading %s: a defect in the daemon", old.model.name, exc_info=error)
            return
        self.look()  # the file may have been replaced once more meanwhile

    async def _reload(self, old: Resident, model: ModelRef) -> None:
        """The successor takes over once it has generated a real token."""
        host, fingerprint = self._host, model.fingerprint
        if holder := host.roster.holder(model, old.backend):  # a link that leads to another model that is loaded
            host.replace(old, holder, fingerprint)
            return
        host.announce("model.reloading", old.model.name, {"how": "replaced"})
        successor = Resident(model, old.backend, host)
        early = not host.fits(model)
        if early:
            # No room for both. What runs ends on the old one, what arrives from now on waits for the new one.
            self._take_over(old, successor, fingerprint)
            if old not in host.current:
                await old.gone.wait()
        try:
            async with successor.lease(old.lifecycle.keep_alive, SilentSink()) as lease:
                await self._probe(lease)
                if not early and old in host.current:
                    self._take_over(old, successor, successor.fingerprint)
        except ApiError as error:
            log.error("the new %s cannot be used, the old one stays: %s", model.shown_path, error.message)
            self._rejected[_key(old, model)] = fingerprint
            await successor.close()

    async def _probe(self, lease: Lease) -> None:
        """Raises ApiError where the model gives no token."""
        try:
            async with asyncio.timeout(PROBE_WITHIN):
                await lease.request("generate", "normal", _PROBE, SilentSink())
        except TimeoutError:
            raise Timeout(f"it was loaded and gave no token within {PROBE_WITHIN:g} s") from None

    def _take_over(self, old: Resident, successor: Resident, fingerprint: str) -> None:
        self._rejected.pop(_key(old, successor.model), None)
        self._host.replace(old, successor, fingerprint)
        self._host.announce("model.reloaded", old.model.name, {})


def _key(resident: Resident, model: ModelRef) -> str:
    return f"{resident.backend} {model.path}"


def _overwritten(model: ModelRef) -> WorkerCrashed:
    return WorkerCrashed(
        f"the file of {model.name} was overwritten while it was in use, so the rest of this answer cannot be trusted. "
        "Ask again: the new file is loaded once it is complete. Replacing a file by rename (mv) interrupts no request.",
        signal=None,
        exit_code=None,
        cause="file overwritten",
    )
