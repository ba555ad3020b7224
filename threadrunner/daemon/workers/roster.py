"""Which resident answers for which name. Two names of one file, by a link or an alias, share one.

A name keeps its resident while that runs, also when the file behind the name is exchanged: reload.py moves the name
once the new file's worker works. Files are compared by fingerprint, which tells what is behind any number of links.
"""

from __future__ import annotations

from typing import NamedTuple

from threadrunner.daemon.models.reference import ModelRef
from threadrunner.daemon.workers.lifecycle import State
from threadrunner.daemon.workers.resident import Resident, ResidentHost

_RUNNING = (State.STARTING, State.READY)


class _Entry(NamedTuple):
    model: ModelRef
    resident: Resident


class Roster:
    """By backend and path, or by backend and name where there is no file."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    @property
    def residents(self) -> list[Resident]:
        """Those that new requests go to, each once."""
        return list(dict.fromkeys(entry.resident for entry in self._entries.values()))

    def resident(self, model: ModelRef, backend: str, host: ResidentHost) -> Resident:
        """The one for this name: its own if that runs, else one that has the same file, else a new one."""
        key = _key(model, backend)
        known = self._entries.get(key)
        if known and known.resident.lifecycle.state in _RUNNING:
            return known.resident
        found = self.holder(model, backend)
        if not found and known and _same_load(known.resident.model, model):
            found = known.resident
        self._entries[key] = _Entry(model, found or Resident(model, backend, host))
        return self._entries[key].resident

    def runs(self, model: ModelRef, backend: str) -> bool:
        """Whether new requests for this name go to a worker that is there, or on its way."""
        known = self._entries.get(_key(model, backend))
        return known is not None and known.resident.lifecycle.state in _RUNNING

    def holder(self, model: ModelRef, backend: str) -> Resident | None:
        """The resident that has the model's file loaded, or is loading it, under any name."""
        if not model.path or not (now := model.fingerprint).strip("+"):
            return None
        same = (r for r in self.residents if r.backend == backend and _file_of(r) == now)
        return next(same, None)

    def names(self, resident: Resident) -> list[ModelRef]:
        """The models that lead to this resident."""
        return [entry.model for entry in self._entries.values() if entry.resident is resident]

    def move(self, old: Resident, to: Resident, fingerprint: str) -> bool:
        """Have names of `old` whose file is now that one lead to `to`. Returns whether none is left with `old`."""
        for key, entry in self._entries.items():
            if entry.resident is old and (entry.model.path == to.model.path or entry.model.fingerprint == fingerprint):
                self._entries[key] = entry._replace(resident=to)
        return not self.names(old)


def _same_load(one: ModelRef, other: ModelRef) -> bool:
    return (one.files, one.adapters, one.template) == (other.files, other.adapters, other.template)


def _file_of(resident: Resident) -> str | None:
    """The fingerprint of what it has loaded or is about to load; None if it does neither."""
    match resident.lifecycle.state:
        case State.READY:
            return resident.fingerprint
        case State.STARTING:
            return resident.model.fingerprint
    return None


def _key(model: ModelRef, backend: str) -> str:
    return f"{backend} {model.path or model.name}"
