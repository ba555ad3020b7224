"""What a model's table says of answers: which values a request gets, from where, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import get_type_hints

import pytest

from threadrunner import model_defaults
from threadrunner.api.chat import Message
from threadrunner.api.generation import ApplyTemplateParams, GenerateParams, InfillParams
from threadrunner.api.sampling import CHOICE, Dry, SamplingParams, TokenChoice
from threadrunner.config import Config, ConfigError, load
from threadrunner.engine.llama.recommended import _KEYS
from threadrunner.engine.llama.sampling import Sampling
from threadrunner.model_defaults import FILE_NAMES, NONE, USUAL, ModelDefaults, applied, defaults, in_force
from threadrunner.model_settings import ANSWERS, ModelSettings, settings

TABLE = """
[models.m]
system = "Be brief."
temperature = 1
top_k = 7
dry = { multiplier = 0.5 }
max_tokens = 99
stop = ["END"]
reasoning = "off"
template_vars = { reasoning_effort = "low" }
threads = 3
[models.n]
context = 4096
"""

OWN = ModelDefaults(
    system="Be brief.",
    temperature=1.0,
    top_k=7,
    dry=Dry(multiplier=0.5),
    max_tokens=99,
    stop=["END"],
    reasoning="off",
    template_vars={"reasoning_effort": "low"},
)


def read(folder: Path, text: str) -> Config:
    file = folder / "config.toml"
    file.write_text(text)
    return load({}, str(file))


def test_a_table_is_read_by_the_types_of_params(tmp_path: Path) -> None:
    options = read(tmp_path, TABLE)
    assert defaults(options, ["other", "m"]) == OWN
    assert defaults(options, ["n"]) is NONE and defaults(options, ["x"]) is NONE
    assert settings(options, ["m"]).threads == 3, "what is for loading is read beside it"


def test_each_name_is_known_where_no_param_is() -> None:
    assert set(ModelDefaults.__struct_fields__) == set(ANSWERS)
    assert set(CHOICE) < set(ANSWERS) and not set(ANSWERS) & set(ModelSettings._fields)


def test_the_choice_of_tokens_is_the_same_in_requests_and_in_what_is_set_for_them() -> None:
    said, asked = (get_type_hints(each, include_extras=True) for each in (TokenChoice, SamplingParams))
    assert {name: asked.get(name) for name in CHOICE} == said
    assert list(CHOICE) == [name for name in SamplingParams.__struct_fields__ if name in CHOICE]


def test_they_fill_what_is_not_given() -> None:
    params = applied(OWN, GenerateParams(prompt="x", top_k=1, stop=[]), {"prompt", "top_k", "stop"})
    assert (params.top_k, params.stop) == (1, []), "what is given stays, an empty list too"
    assert (params.system, params.temperature, params.max_tokens) == ("Be brief.", 1.0, 99)
    assert (params.reasoning, params.template_vars, params.dry) == ("off", {"reasoning_effort": "low"}, OWN.dry)
    assert params.top_p is None, "for the file, and for us, to say"
    assert applied(NONE, params, set()) is params


@pytest.mark.parametrize(
    "params",
    [
        GenerateParams(prompt="x", raw=True),
        GenerateParams(prompt_tokens=[1]),
        GenerateParams(messages=[Message("system", "Other."), Message("user", "x")]),
        GenerateParams(messages=[Message("user", "x"), Message("developer", "Other.")]),
    ],
)
def test_no_second_system_prompt(params: GenerateParams) -> None:
    made = applied(OWN, params, set())
    assert (made.system, made.temperature) == (None, 1.0)


def test_a_completion_takes_the_choice_of_tokens_only() -> None:
    params = applied(OWN, InfillParams(prefix="x"), {"prefix"})
    assert (params.temperature, params.top_k, params.max_tokens, params.stop) == (1.0, 7, None, [])
    assert applied(OWN, InfillParams(prefix="x", temperature=0.0), {"prefix", "temperature"}).temperature == 0.0


def test_what_is_shown_of_a_conversation_has_the_templates_variables() -> None:
    params = ApplyTemplateParams(messages=[Message("user", "x")])
    assert model_defaults.shown(OWN, params).template_vars == OWN.template_vars
    assert model_defaults.shown(NONE, params) is params


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("temperatur = 1", "a model has no option 'temperatur'; it may have context, .*temperature"),
        ("'' = 1", "a model has no option ''"),
        ("temperature = 101", r"temperature: Expected `float` <= 100"),
        ("temperature = nan", "temperature: "),
        ("temperature = 'hot'", "temperature: Expected `float"),
        ("temperature = true", "temperature: Expected `float"),
        ("top_k = 1.5", "top_k: Expected `int"),
        ("top_k = -1", "top_k: Expected `int` >= 0"),
        ("min_p = 2", "min_p: Expected `float` <= 1"),
        ("repeat_penalty = 0", "repeat_penalty: Expected `float` > 0"),
        ("dry = { base = 0.5 }", r"dry\.base: Expected `float` >= 1"),
        ("xtc = { p = 0.5 }", "xtc: Object contains unknown field `p`"),
        ("stop = 'END'", "stop: Expected `array"),
        ("stop = ['']", r"stop\[0\]: Expected `str` of length >= 1"),
        ("max_tokens = -1", "max_tokens: Expected `int` >= 0"),
        ("reasoning = 'no'", "reasoning: Invalid enum value 'no'"),
        ("template_vars = { a = [] }", r"template_vars\[...\]: Expected"),
        ("system = 3", "system: Expected `str"),
        ("template = ''", "template: Expected `str` of length >= 1"),
    ],
)
def test_what_a_request_may_not_have_is_an_error_of_this_model(tmp_path: Path, line: str, says: str) -> None:
    options = read(tmp_path, f"[models.m]\n{line}\n[models.n]\ntop_k = 2\n")
    with pytest.raises(ConfigError, match=rf'\[models\."m"\]: {says}'):
        defaults(options, ["m"])
    assert defaults(options, ["n"]).top_k == 2
    assert len(list(model_defaults.faults(options))) == 1


def test_a_model_elsewhere_has_no_template_of_ours(tmp_path: Path) -> None:
    options = read(tmp_path, '[models."remote:box/m"]\ntemplate = "{{ x }}"\n[models."remote:box/n"]\nsystem = "a"\n')
    with pytest.raises(ConfigError, match="a model on another machine has its server's template; remove `template`"):
        defaults(options, ["remote:box/m"], elsewhere=True)
    assert defaults(options, ["remote:box/n"], elsewhere=True).system == "a"
    (fault,) = model_defaults.faults(options)
    assert fault.startswith('[models."remote:box/m"]')


def test_where_each_value_comes_from() -> None:
    file = {"temp": 0.3, "top_k": 20, "top_p": 7.0, "penalty_repeat": 1.1, "mirostat": 0, "sequence": 3}
    found = in_force(ModelDefaults(top_k=7, system="a", dry=Dry(), template="x.jinja"), file)
    assert (found["temperature"], found["repeat_penalty"]) == ((0.3, "file"), (1.1, "file"))
    assert (found["top_k"], found["system"]) == ((7, "config.toml"), ("a", "config.toml"))
    assert found["template"] == ("x.jinja", "config.toml")
    assert found["dry"].value["multiplier"] == 0.8 and found["dry"].origin == "config.toml"
    assert found["top_p"] == (0.95, "default"), "no probability: not believed, as the engine does not"
    assert "mirostat" not in found
    assert set(in_force(ModelDefaults(top_k=7), {}, usual=False)) == {"top_k"}
    groups = in_force(NONE, {"xtc_probability": 0.5, "mirostat": 2, "mirostat_tau": 4.0})
    assert groups["xtc"] == ({"probability": 0.5}, "file")
    assert groups["mirostat"] == ({"version": 2, "tau": 4.0}, "file")


def test_the_engine_means_the_same() -> None:
    assert {name: getattr(Sampling(), name) for name in USUAL} == USUAL
    of_one_number = {key: name for key, (name, *_) in _KEYS.items() if name in USUAL}
    assert of_one_number == FILE_NAMES


@pytest.mark.parametrize("text", ["{{ messages }}", "{% for m in messages %}", "one\ntwo"])
def test_a_template_itself_is_no_path(text: str) -> None:
    assert model_defaults.is_text(text)
    assert not model_defaults.is_text("~/chatml.jinja")
