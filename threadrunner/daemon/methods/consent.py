"""What may leave this machine: decided, from a remote's table and what a request would send. Pure.

A remote answers only where it was named, and gets only what its table allows. There is no other way out of the daemon:
every request to a remote's worker passes `ModelInUse`, which asks here.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from threadrunner.api.errors import InvalidParams, ModelNotFound
from threadrunner.api.generation import InfillParams
from threadrunner.remote_settings import PREFIX, RemoteSettings

_WHAT = {
    "prompt": "prompts",
    "history": "what was said in a conversation with other models",
    "memory": "notes and passages of other conversations",
    "completions": "text around an editor's cursor",
}


def check(remote: RemoteSettings, what: str) -> None:
    """Raises InvalidParams unless the remote's table allows it."""
    if what not in remote.allow:
        allow = ", ".join(f'"{word}"' for word in (*remote.allow, what))
        raise InvalidParams(
            f"{_WHAT[what]} would be sent to {remote.host}, which [remotes.{remote.name}] does not allow; if they may "
            f"leave this machine, set allow = [{allow}] there",
            remote=remote.name, not_allowed=what,
        )  # fmt: skip


def of_method(method: str) -> str:
    """What a request of this method sends of its own."""
    return "completions" if method == "infill" else "prompt"


def without_forbidden(remote: RemoteSettings, params: msgspec.Struct) -> msgspec.Struct:
    """A completion without passages of other files, where only the text around the cursor may be sent: it is an answer
    all the same."""
    if isinstance(params, InfillParams) and params.context and "context" not in remote.allow:
        return msgspec.structs.replace(params, context=[])
    return params


def check_online(name: str, *, offline: bool) -> None:
    """Raises ModelNotFound where no other machine may be asked."""
    if offline:
        raise ModelNotFound(f"{name} is on another machine, and `offline` forbids to ask one", model=name)


def is_history(remote: str, models: Iterable[str | None], remembered: str | None) -> bool:
    """Whether a conversation's turns were said to others: `models` are those that answered them, None for a turn
    without an answer, which counts as said to the model that the conversation remembers."""
    return any(not _is_of(remote, model or remembered) for model in models)


def _is_of(remote: str, model: str | None) -> bool:
    return model == f"{PREFIX}{remote}" or (model is not None and model.startswith(f"{PREFIX}{remote}/"))
