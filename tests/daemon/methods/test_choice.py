"""Which model answers: the table of precedence."""

from __future__ import annotations

import pytest

from threadrunner.daemon.methods.choice import NOTHING, ModelChoice, Preference, choose_model

CONFIG = Preference("default", "llama")
NAMED = Preference


@pytest.mark.parametrize(
    ("request_", "mode", "session", "client", "expected"),
    [
        # nothing says anything: the daemon's options
        (NOTHING, NOTHING, NOTHING, NOTHING, ModelChoice("llama", "default", "config")),
        # one source alone
        (NAMED("r"), NOTHING, NOTHING, NOTHING, ModelChoice("llama", "r", "request")),
        (NOTHING, NAMED("m"), NOTHING, NOTHING, ModelChoice("llama", "m", "mode")),
        (NOTHING, NOTHING, NAMED("s", "llama"), NOTHING, ModelChoice("llama", "s", "session")),
        (NOTHING, NOTHING, NOTHING, NAMED("c"), ModelChoice("llama", "c", "client")),
        # the first that says something wins
        (NAMED("r"), NAMED("m"), NAMED("s", "llama"), NAMED("c"), ModelChoice("llama", "r", "request")),
        (NOTHING, NAMED("m"), NAMED("s", "llama"), NAMED("c"), ModelChoice("llama", "m", "mode")),
        (NOTHING, NOTHING, NAMED("s", "llama"), NAMED("c"), ModelChoice("llama", "s", "session")),
        # model and backend may come from different sources
        (NAMED("r"), NAMED(None, "dummy"), NOTHING, NOTHING, ModelChoice("dummy", "r", "request")),
        (NAMED(None, "dummy"), NAMED("m"), NOTHING, NOTHING, ModelChoice("dummy", "m", "mode")),
        (NOTHING, NOTHING, NAMED("s", "dummy"), NAMED("c", "llama"), ModelChoice("dummy", "s", "session")),
        # a conversation's model holds only with its backend
        (NAMED(None, "dummy"), NOTHING, NAMED("s", "llama"), NOTHING, ModelChoice("dummy", "dummy", "request")),
        (NAMED(None, "dummy"), NOTHING, NAMED("s", "llama"), NAMED("c"), ModelChoice("dummy", "c", "client")),
        # a backend that needs no model is its own model; llama takes the default one
        (NAMED(None, "dummy"), NOTHING, NOTHING, NOTHING, ModelChoice("dummy", "dummy", "request")),
        (NOTHING, NOTHING, NOTHING, NAMED(None, "shout"), ModelChoice("shout", "shout", "client")),
        (NAMED(None, "llama"), NOTHING, NAMED("s", "dummy"), NOTHING, ModelChoice("llama", "default", "config")),
        # another machine is told by a name alone: `remote` decides no backend, and its conversation keeps its model
        (NAMED(None, "remote"), NOTHING, NOTHING, NOTHING, ModelChoice("llama", "default", "config")),
        (NOTHING, NOTHING, NAMED("s", "remote"), NOTHING, ModelChoice("llama", "s", "session")),
        (NOTHING, NOTHING, NAMED("s", "remote"), NAMED(None, "dummy"), ModelChoice("dummy", "s", "session")),
        (NAMED(None, "dummy"), NOTHING, NAMED("s", "remote"), NOTHING, ModelChoice("dummy", "dummy", "request")),
        (NAMED("r"), NOTHING, NAMED("s", "remote"), NOTHING, ModelChoice("llama", "r", "request")),
    ],
)
def test_who_names_the_model(
    request_: Preference, mode: Preference, session: Preference, client: Preference, expected: ModelChoice
) -> None:
    assert choose_model(request_, mode=mode, session=session, client=client, config=CONFIG) == expected


def test_a_route_comes_before_the_default_and_after_all_else() -> None:
    def chosen(request: Preference = NOTHING, client: Preference = NOTHING) -> ModelChoice:
        return choose_model(request, client=client, route="small", config=CONFIG)

    assert chosen() == ModelChoice("llama", "small", "route")
    assert chosen(NAMED("r")).because == "request"
    assert chosen(client=NAMED("c")).because == "client"
    assert chosen(NAMED(None, "dummy")) == ModelChoice("dummy", "dummy", "request")
