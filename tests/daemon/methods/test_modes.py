"""Presets: ours, those of config.toml, and who wins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Daemon, running
from threadrunner.api.errors import InvalidParams
from threadrunner.api.generation import GenerateParams, InfillParams
from threadrunner.api.sampling import Dry, Mirostat, Xtc
from threadrunner.daemon.methods import modes
from threadrunner.daemon.methods.modes import Modes

LOREM = "lorem ipsum dolor sit amet"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THREADRUNNER_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def _with_modes() -> Iterator[Daemon]:
    daemon = Daemon()
    (daemon.home / "config.toml").write_text(
        '[modes.shout]\ntemplate = "say {input} and {input}"\nmax_tokens = 8\n'
        '[modes.other]\nmodel = "other-model"\nbackend = "dummy"\nsystem = "be other"\ntop_k = 3\n'
    )
    try:
        yield daemon.start()
    finally:
        daemon.close()


def test_built_in_modes_are_there(home: Path) -> None:
    assert {"chat", "code", "commit", "writing"} <= modes.load().keys()


def test_a_mode_gives_what_the_request_leaves_out(home: Path) -> None:
    asked = GenerateParams(prompt="x", mode="code", temperature=0.9)
    params, given, *_ = Modes().applied(asked, frozenset({"prompt", "mode", "temperature"}))
    assert (params.temperature, params.top_p) == (0.9, 0.9)
    assert params.system is not None and "programmer" in params.system
    assert {"top_p", "system", "temperature"} <= given


def test_an_editor_takes_a_modes_sampling_and_model(home: Path) -> None:
    (home / "config.toml").write_text('[modes.code]\nmodel = "coder"\ntemperature = 0.1\nsystem = "x"\n')
    applied = Modes().applied(InfillParams(prefix="def f", mode="code"), frozenset({"prefix", "mode"}))
    assert (applied.preference.model, applied.params.temperature) == ("coder", 0.1)


def test_a_mode_may_set_how_tokens_are_chosen(home: Path) -> None:
    (home / "config.toml").write_text(
        "[modes.wild]\ntypical_p = 0.5\npenalty_window = -1\nmirostat = {version = 2, tau = 3}\n"
        '[modes.wild.dry]\nmultiplier = 0.5\nbreakers = ["\\n"]\n[modes.wild.xtc]\nprobability = 0.25\n'
        "[modes.bad]\nxtc = {probability = 2}\n"
    )
    params = Modes().applied(GenerateParams(prompt="x", mode="wild"), frozenset()).params
    assert (params.typical_p, params.penalty_window, params.mirostat) == (0.5, -1, Mirostat(2, 3.0))
    assert (params.dry, params.xtc) == (Dry(multiplier=0.5, breakers=["\n"]), Xtc(probability=0.25))
    listed = {mode.name: mode for mode in Modes().listing()}
    assert listed["wild"].params["xtc"] == {"probability": 0.25, "threshold": 0.1}
    assert "probability" in str(listed["bad"].problem)


def test_an_edit_counts_at_once(home: Path) -> None:
    with pytest.raises(InvalidParams, match=r"no mode 'mine'.*\[modes.mine\]"):
        Modes().applied(GenerateParams(prompt="x", mode="mine"), frozenset())
    (home / "config.toml").write_text("[modes.mine]\ntop_k = 7\n")
    params = Modes().applied(GenerateParams(prompt="x", mode="mine"), frozenset()).params
    assert params.top_k == 7


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[modes.bad]\ntemprature = 1", r"\[modes.bad\].*temprature"),
        ("[modes.bad]\ntemperature = 1000", r"\[modes.bad\]"),
        ('[modes.bad]\ntemplate = "no place"', r"\{input\}"),
        ("modes = 3", "are tables"),
        ("[modes.bad", "not TOML"),
    ],
)
def test_a_bad_mode_says_which_and_what(home: Path, text: str, says: str) -> None:
    (home / "config.toml").write_text(text)
    with pytest.raises(InvalidParams, match=says):
        Modes().applied(GenerateParams(prompt="x", mode="bad"), frozenset())


def test_a_bad_mode_spoils_no_other(home: Path) -> None:
    (home / "config.toml").write_text("[modes.bad]\ntemprature = 1\n[modes.good]\ntop_k = 3\n")
    current = Modes()
    for name in ("good", "chat"):
        current.applied(GenerateParams(prompt="x", mode=name), frozenset())
    listed = {mode.name: mode for mode in current.listing()}
    assert "temprature" in str(listed["bad"].problem)
    assert listed["good"].problem is None


def test_modes_stay_as_they_were_where_the_file_cannot_be_read_any_more(home: Path) -> None:
    (home / "config.toml").write_text("[modes.mine]\ntop_k = 3\n")
    current = Modes()
    assert current.applied(GenerateParams(prompt="x", mode="mine"), frozenset()).params.top_k == 3
    (home / "config.toml").write_text("[modes.mine\ntop_k = 4\n")
    assert current.applied(GenerateParams(prompt="x", mode="mine"), frozenset()).params.top_k == 3
    (home / "config.toml").write_text("[modes.mine]\ntop_k = 5\n")
    assert current.applied(GenerateParams(prompt="x", mode="mine"), frozenset()).params.top_k == 5


def test_a_template_takes_the_prompt_wherever_it_says(_with_modes: Daemon) -> None:
    text = _with_modes.wire().call("generate", prompt="hi", mode="shout")["text"]
    assert text == f"{LOREM} say. hi. and."


def test_a_mode_switches_the_model_and_a_conversation_stays_with_it(_with_modes: Daemon) -> None:
    wire = _with_modes.wire()
    assert wire.call("generate", prompt="hi", mode="other", default_model="not-this")["model"] == "other-model"
    assert wire.call("generate", prompt="hi", mode="other", session="m")["model"] == "other-model"
    assert wire.call("generate", prompt="hi", session="m", default_model="not-this")["model"] == "other-model"
    info = wire.call("sessions.show", session="m")["session"]
    assert (info["mode"], info["system"], info["params"]) == ("other", "be other", {"top_k": 3})
    assert wire.call("generate", prompt="hi", session="m", model="third")["model"] == "third"
    assert wire.call("generate", prompt="hi", session="m")["model"] == "third"


def info(daemon: Daemon, session: str) -> tuple[str | None, str | None, dict[str, object]]:
    shown = daemon.wire().call("sessions.show", session=session)["session"]
    return shown["mode"], shown["system"], shown["params"]


def test_an_empty_mode_ends_what_a_conversations_mode_has_set(_with_modes: Daemon) -> None:
    wire = _with_modes.wire()
    wire.call("generate", prompt="hi", mode="writing", session="left")
    assert info(_with_modes, "left")[2] == {"temperature": 0.9, "min_p": 0.08, "repeat_penalty": 1.1}
    wire.call("generate", prompt="hi", session="left", min_p=0.2, top_k=5)  # said otherwise, and beside it
    wire.call("generate", prompt="hi", session="left", mode=None)
    assert info(_with_modes, "left")[0] == "writing"
    wire.call("generate", prompt="hi", session="left", mode="")
    assert info(_with_modes, "left") == (None, None, {"min_p": 0.2, "top_k": 5})


def test_what_stays_where_a_mode_is_ended(_with_modes: Daemon) -> None:
    wire = _with_modes.wire()
    assert wire.call("generate", prompt="hi", mode="other", session="stays", system="be mine")["model"] == "other-model"
    assert wire.call("generate", prompt="hi", mode="", session="stays", top_k=3)["model"] == "other-model"
    assert info(_with_modes, "stays") == (None, "be mine", {"top_k": 3})


def test_another_mode_takes_the_place_of_all_that_the_former_has_set(_with_modes: Daemon) -> None:
    wire = _with_modes.wire()
    wire.call("generate", prompt="hi", mode="code", session="changed")
    wire.call("generate", prompt="hi", mode="shout", session="changed")
    assert info(_with_modes, "changed") == ("shout", None, {})


def test_an_empty_mode_is_none_anywhere(home: Path) -> None:
    asked = GenerateParams(prompt="x", mode="")
    assert Modes().applied(asked, frozenset({"prompt", "mode"})).params == asked
    (home / "config.toml").write_text("[modes.bad")
    assert Modes().applied(asked, frozenset({"prompt", "mode"})).modes == {}, "nor does it need a file that can be read"


def test_listing(_with_modes: Daemon) -> None:
    listed = {mode["name"]: mode for mode in _with_modes.wire().call("modes.list")["modes"]}
    assert listed["other"]["model"] == "other-model" and not listed["other"]["built_in"]
    assert listed["code"]["built_in"]


def test_a_file_with_modes_starts_a_daemon_as_any_other() -> None:
    for daemon in running():
        assert daemon.wire().call("modes.list")["modes"]
