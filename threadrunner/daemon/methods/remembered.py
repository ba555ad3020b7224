"""What a conversation remembers of how its turns are answered, and what a turn changes about that: pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from threadrunner.api.conversations import SessionInfo
from threadrunner.api.generation import GenerateParams
from threadrunner.daemon.conversations.sessions import REMEMBERED_PARAMS
from threadrunner.daemon.conversations.turns import SessionUpdate
from threadrunner.daemon.methods.choice import ModelChoice
from threadrunner.daemon.methods.modes import Mode


def without_former_mode(
    info: SessionInfo | None, mode: str | None, modes: Mapping[str, Mode | str]
) -> SessionInfo | None:
    """The conversation as a turn under `mode` finds it (None: it says nothing of modes; empty: none): without what the
    mode of before has made it remember, or a preset's sampling would outlive it. What has been said otherwise since
    stays, and so does the model. `modes` are those in force; of one that is not among them nothing is known to go."""
    if info is None or mode is None or mode == info.mode:
        return info
    former = modes.get(info.mode or "")
    if not isinstance(former, Mode):
        return info
    sets = msgspec.to_builtins(former)
    params = {name: value for name, value in info.params.items() if name not in sets or value != sets[name]}
    system = None if info.system == former.system else info.system
    return msgspec.structs.replace(info, params=params, system=system)


def forgotten(info: SessionInfo | None, kept: SessionInfo | None) -> frozenset[str]:
    """The names of what `kept` has no longer: params, and `system`."""
    if info is None or kept is None:
        return frozenset()
    gone = info.params.keys() - kept.params.keys()
    return frozenset(gone | ({"system"} if info.system != kept.system else set()))


def with_remembered(params: GenerateParams, given: frozenset[str], info: SessionInfo | None) -> GenerateParams:
    """The params with what the conversation remembers where the request says nothing; `info` is None for a new one."""
    if info is None:
        return params
    kept = {name: info.params[name] for name in REMEMBERED_PARAMS if name in info.params and name not in given}
    typed = msgspec.convert(kept, GenerateParams)
    remembered = {name: getattr(typed, name) for name in kept}
    if "system" not in given:
        remembered["system"] = info.system
    if "tools" not in given and info.tools:
        remembered["tools"] = info.tools
        if params.grammar is not None:  # this answer is of another form than a call
            remembered["tool_choice"] = "none"
    changed: GenerateParams = msgspec.structs.replace(params, **remembered)
    return changed


def also_given(given: frozenset[str], info: SessionInfo | None) -> frozenset[str]:
    """What a request gives, and what its conversation remembers: above these a model's own defaults do not go."""
    if info is None:
        return given
    return given | info.params.keys() | ({"system"} if info.system is not None else set())


def to_remember(
    params: GenerateParams, given: frozenset[str], choice: ModelChoice, forgets: frozenset[str] = frozenset()
) -> SessionUpdate:
    """What this turn makes its conversation remember, and no longer remember."""
    return SessionUpdate(
        model=choice.name,
        backend=choice.backend,
        mode=params.mode,
        system=params.system if "system" in given else "" if "system" in forgets else None,
        params={name: msgspec.to_builtins(getattr(params, name)) for name in REMEMBERED_PARAMS if name in given},
        tools=params.tools if "tools" in given else None,
        forgets=forgets,
    )
