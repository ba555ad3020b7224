"""Which model answers, and why: pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from threadrunner.remote_settings import BACKEND as REMOTE

Reason = Literal["request", "mode", "session", "client", "route", "config"]


class Preference(NamedTuple):
    """What one source says: a model's name, a backend's, both or neither."""

    model: str | None = None
    backend: str | None = None


class ModelChoice(NamedTuple):
    """The answer: `name` is a model's name or path, or the backend's own where the backend needs no model."""

    backend: str
    name: str
    because: Reason
    """The source that named the model, or, for a backend that needs none, the one that named the backend."""


NOTHING = Preference()


def choose_model(
    request: Preference,
    *,
    config: Preference,
    mode: Preference = NOTHING,
    session: Preference = NOTHING,
    client: Preference = NOTHING,
    route: str | None = None,
) -> ModelChoice:
    """The first source that says something wins, for the backend and for the model each:

        request   `model`, `backend` of the params
        mode      the mode that the request names
        session   what the conversation remembers; its model only with the backend that it was for
        client    `default_model`, `default_backend`: what the client's environment says
        route     `[route]`: the model for what is asked; for the backend llama only
        config    the daemon's options; its model only for the backend llama, another one's name is its model's

    `config` must name both. tests/daemon/methods/test_choice.py has the table.
    """
    sources: tuple[tuple[Reason, Preference], ...] = (
        ("request", request), ("mode", mode), ("session", session), ("client", client), ("config", config),
    )  # fmt: skip
    # Whether a model is on another machine is told by its name alone, so `remote` as a backend decides nothing.
    because, backend = next(
        (reason, source.backend) for reason, source in sources if source.backend not in (None, "", REMOTE)
    )
    fitting = (backend,) if because in ("request", "mode") else (backend, REMOTE)
    for reason, source in sources[:-1]:
        if source.model and (reason != "session" or source.backend in fitting):
            return ModelChoice(str(backend), source.model, reason)
    if backend == "llama" and route:
        return ModelChoice(backend, route, "route")
    if backend == "llama":
        return ModelChoice(backend, str(config.model), "config")
    return ModelChoice(str(backend), str(backend), because)
