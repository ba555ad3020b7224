"""What config.toml says of a model's answers, from the file to the worker and to `models show`: a real model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.backends import tiny
from tests.shell import COMMAND
from tests.support import Daemon, Wire

TEMPLATE = "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
OWN = "{% for m in messages %}[{{ m.role }}|{{ m.content }}]{% endfor %}{% if add_generation_prompt %}>{% endif %}"
ASK: dict[str, Any] = {"model": "tiny", "prompt": "Hi.", "max_tokens": 12, "seed": 1}


class Kitchen:
    """A daemon with one model, whose table can be changed."""

    def __init__(self) -> None:
        self.daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_THREADS="1")
        models = self.daemon.home / "models"
        models.mkdir(parents=True)
        words = {**tiny.bytes_vocabulary(), "tokenizer.chat_template": TEMPLATE}
        tiny.untied(models / "tiny.gguf", words)
        self.daemon.start()

    def configure(self, table: str, more: str = "") -> Wire:
        (self.daemon.home / "config.toml").write_text(f"[models.tiny]\n{table}\n{more}")
        self.daemon.hang_up()
        os.kill(self.daemon.pid, signal.SIGHUP)  # heard before the next request of a connection is read
        wire = self.daemon.wire()
        wire.call("status")
        return wire


@pytest.fixture(scope="module")
def kitchen() -> Iterator[Kitchen]:
    made = Kitchen()
    try:
        yield made
    finally:
        made.daemon.close()


def prompt_tokens(wire: Wire, **params: Any) -> int:
    """Each character of a prompt is a token of this model's."""
    return int(wire.call("generate", **{**ASK, "max_tokens": 1, **params})["usage"]["prompt_tokens"])


def session(wire: Wire, name: str) -> dict[str, Any]:
    return next(one for one in wire.call("sessions.list")["sessions"] if one["name"] == name)


def test_a_system_prompt_where_the_request_has_none(kitchen: Kitchen) -> None:
    wire = kitchen.configure('system = "Be brief."', '[modes.long]\nsystem = "Be as long as you like."')
    plain, own = len("user:Hi.;a:"), len("system:Be brief.;")
    assert prompt_tokens(wire) == plain + own, "of the next request, the model loaded or not"
    assert prompt_tokens(wire, system="No.") == plain + len("system:No.;")
    assert prompt_tokens(wire, mode="long") == plain + len("system:Be as long as you like.;")
    told = [{"role": "system", "content": "No."}, {"role": "user", "content": "Hi."}]
    assert prompt_tokens(wire, prompt=None, messages=told) == plain + len("system:No.;")
    assert prompt_tokens(wire, raw=True) == len("Hi.")
    assert prompt_tokens(wire, session="talk") == plain + own
    assert prompt_tokens(wire, session="other", system="No.") == plain + len("system:No.;")
    assert prompt_tokens(wire, session="other", replace=1) == plain + len("system:No.;"), "it is remembered"
    assert session(wire, "talk")["system"] is None, "a model's is not"
    wire = kitchen.configure("")
    assert prompt_tokens(wire) == plain


def test_sampling_stop_and_length(kitchen: Kitchen) -> None:
    wire = kitchen.configure("")
    greedy = wire.call("generate", **ASK, temperature=0)["text"]
    varied = wire.call("generate", **ASK)["text"]
    assert greedy != varied
    wire = kitchen.configure("temperature = 0", "[modes.hot]\ntemperature = 0.8\n")
    assert wire.call("generate", **ASK)["text"] == greedy
    assert wire.call("generate", **ASK, temperature=0.8)["text"] == varied
    assert wire.call("generate", **ASK, mode="hot")["text"] == varied
    assert wire.call("generate", **ASK, session="cold")["text"] == greedy
    assert wire.call("generate", **ASK, session="hot", temperature=0.8)["text"] == varied
    assert wire.call("generate", **ASK, session="hot", replace=1)["text"] == varied, "the conversation's comes first"
    assert session(wire, "cold")["params"] == {}
    wire = kitchen.configure(f"temperature = 0\nmax_tokens = 3\nstop = [{json.dumps(greedy[5])}]")
    short = wire.call("generate", model="tiny", prompt="Hi.")
    assert (short["usage"]["completion_tokens"], short["finish_reason"]) == (3, "length")
    assert wire.call("generate", **ASK)["text"] == greedy[: greedy.index(greedy[5])]
    assert wire.call("generate", **ASK, stop=[])["text"] == greedy


def test_a_template_counts_from_the_next_load(kitchen: Kitchen) -> None:
    old, new = len("user:Hi.;a:"), len("[user|Hi.]>")
    wire = kitchen.configure("")
    assert prompt_tokens(wire, prompt="Hello") == old + 2
    (kitchen.daemon.home / "own.jinja").write_text(OWN + "!!")
    for table, more in (('template = "own.jinja"', 2), (f"template = {json.dumps(OWN)}", 0)):
        before = prompt_tokens(wire)
        wire = kitchen.configure(table)
        assert prompt_tokens(wire) == before, "the worker has its template"
        wire.call("models.unload")
        assert prompt_tokens(wire) == new + more
    shown = wire.call("models.show", model="tiny", templates=True)
    assert shown["templates"] == {"default": OWN}
    assert shown["origins"]["template"] == "config.toml"
    seen = wire.call("apply_template", model="tiny", messages=[{"role": "user", "content": "Hi."}])
    assert seen["prompt"] == "[user|Hi.]>"


def test_a_mistake_is_an_error_of_this_model_until_it_is_mended(kitchen: Kitchen) -> None:
    wire = kitchen.configure("temperature = 101")
    for _ in range(2):
        error = wire.fail("generate", **ASK)
        assert error["data"]["kind"] == "InvalidParams"
        assert '[models."tiny"]: temperature: Expected `float` <= 100' in error["message"]
    assert "temperature: Expected" in wire.call("models.show", model="tiny")["problem"]
    assert wire.call("generate", prompt="x", backend="dummy")["model"] == "dummy"
    wire.call("models.unload")
    wire = kitchen.configure('template = "gone.jinja"')
    assert '[models."tiny"]: template: there is no file' in wire.fail("generate", **ASK)["message"]
    wire = kitchen.configure('template = "{% for m in %}"')
    error = wire.fail("generate", **ASK)
    assert error["data"]["kind"] == "ModelLoadFailed"
    assert "the template that config.toml gives tiny is not valid" in error["message"]
    wire = kitchen.configure("temperature = 0")
    assert wire.call("generate", **ASK)["text"], "at once: no load of the mended one has failed yet"


def test_show_says_where_each_comes_from(kitchen: Kitchen) -> None:
    wire = kitchen.configure('temperature = 0.25\nsystem = "Be\\nbrief."\nkeep_alive = 60')
    shown = wire.call("models.show", model="tiny")
    assert (shown["defaults"]["temperature"], shown["origins"]["temperature"]) == (0.25, "config.toml")
    assert (shown["defaults"]["top_k"], shown["origins"]["top_k"]) == (40, "default")
    assert (shown["origins"]["keep_alive"], shown["origins"]["threads"]) == ("config.toml", "all models")
    said = subprocess.run(
        [*COMMAND, "models", "show", "tiny"], env=kitchen.daemon.env, stdout=subprocess.PIPE, check=True
    ).stdout.decode()
    rows = dict(line.split("  ", 1) for line in said.splitlines())
    assert rows["sampling"].strip().startswith("temperature 0.25 (config.toml), top_k 40 (default)")
    assert rows["system"].strip() == "Be brief. (config.toml)"
    assert rows["option threads"].strip() == "1 (all models)"
