"""`threadrunner setup` and what belongs to it, at a real terminal, with a hub of the tests' own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends import tiny
from tests.daemon.downloads.hub import Hub, running_hub
from tests.shell import Shell
from threadrunner.daemon.models.known import known


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Of a model that runs, whatever it is called."""
    return tiny.llama(tmp_path_factory.mktemp("weights") / "tiny.gguf").read_bytes()


@pytest.fixture
def hub(weights: bytes) -> Iterator[Hub]:
    with running_hub() as server:
        for entry in known().values():
            server.files.setdefault(entry.repo, {})[entry.file] = weights
        yield server


@pytest.fixture
def online(shell: Shell, hub: Hub, tmp_path: Path) -> Shell:
    shell.env |= {
        "THREADRUNNER_OFFLINE": "", "THREADRUNNER_BACKEND": "llama", "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path),
        "HF_TOKEN": "", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    shell.home.mkdir(mode=0o755)  # as one is that was made by hand, to put a model in
    return shell


def test_recommend_says_why_and_list_fits_says_what_each_needs(shell: Shell) -> None:
    shell.home.mkdir()
    (shell.home / "config.toml").write_text(
        """[catalog."ours:1b"]\nrepo = "us/Ours-GGUF"\nfile = "Ours-Q4_K_M.gguf"\nbytes = 700_000_000\n"""
        """[catalog.broken]\nrepo = "us/Ours-GGUF"\n"""
    )
    said = shell.run("models", "recommend", "--json")
    assert said.returncode == 0, said.stderr
    first, *_ = json.loads(said.stdout)["models"]
    assert first["fits"] and first["tokens_per_second"] > 0 and first["memory_bytes"] > first["size_bytes"]
    assert "best" in first["reason"]
    listed = json.loads(shell.run("models", "list", "--fits", "--json").stdout)["models"]
    assert {model["name"] for model in listed} >= {*known(), "ours:1b"}
    (smallest,) = [model for model in listed if model["name"] == "smollm2:135m"]
    assert (smallest["licence"], smallest["does"], smallest["fits"]) == ("Apache-2.0", ["chat"], True)
    failed = shell.run("models", "show", "broken")
    assert (failed.returncode, '[catalog."broken"]: file is missing' in failed.stderr) == (3, True), failed.stderr
    plain = json.loads(shell.run("models", "list", "--json").stdout)["models"]
    assert not {model["name"] for model in plain} & set(known())


def test_setup_fetches_what_is_chosen_makes_it_the_default_and_asks_it(online: Shell) -> None:
    config = online.home / "config.toml"
    config.write_text("# mine\nthreads = 1\n")
    terminal = online.terminal("setup")
    terminal.read_until("To talk with")
    terminal.read_until("for none [1]: ")
    terminal.type("9\n1\n")  # the first is none of those that are offered
    terminal.read_until("To complete code")
    terminal.type("0\n")
    terminal.read_until("Ask it something")
    terminal.type("hello\n")
    assert terminal.finish() == 0, terminal.text
    text = config.read_text()
    assert text.startswith("# mine\nthreads = 1\nmodel = ")
    name = json.loads(text.rpartition("= ")[2])
    assert name in known()
    listed = json.loads(online.run("models", "list", "--json").stdout)["models"]
    (default,) = [model for model in listed if model["default"]]
    assert (default["name"], default["present"]) == (name, True)
    assert default["licence"] == known()[name].licence


def test_setup_yes_asks_nothing_and_tells_editors(online: Shell, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "kak").write_text("#!/bin/sh\n")
    (programs / "kak").chmod(0o700)
    done = online.run("setup", "--yes", PATH=f"{programs}:{online.env['PATH']}")
    assert done.returncode == 0, done.stderr
    assert "Kakoune, in kakrc:\n  source " in done.stdout
    assert (online.home / "config.toml").read_text().startswith("model = ")


def test_setup_without_a_terminal_says_how(shell: Shell) -> None:
    done = shell.run("setup")
    assert done.returncode == 64 and "--yes" in done.stderr


def test_setup_where_the_network_is_gone_changes_nothing(online: Shell) -> None:
    done = online.run("setup", "--yes", HF_ENDPOINT="http://127.0.0.1:1")
    assert done.returncode == 3
    assert "is there a network?" in done.stderr
    assert not (online.home / "config.toml").exists()


def test_a_model_is_fetched_by_its_short_name_and_known_by_it(online: Shell) -> None:
    said = online.run("-m", "qwen3:0.6b", "-n", "1", "hi")
    assert said.returncode == 0, said.stderr
    shown = json.loads(online.run("models", "show", "qwen3:0.6b", "--json").stdout)
    assert shown["present"] and shown["source"] == "hf:Qwen/Qwen3-0.6B-GGUF" and "tools" in shown["does"]


def test_a_name_that_is_nearly_known_is_proposed(shell: Shell) -> None:
    done = shell.run("-m", "qwen3:0.6", "hi", "--backend", "llama")
    assert done.returncode == 3 and "qwen3:0.6b" in done.stderr


def test_search_asks_the_hub(online: Shell) -> None:
    done = online.run("models", "search", "qwen3-8b")
    assert done.returncode == 0, done.stderr
    assert "hf:Qwen/Qwen3-8B-GGUF" in done.stdout and "1.2M" in done.stdout
    nothing = online.run("models", "search", "nothing", "like", "this")
    assert nothing.returncode == 3 and "no repository" in nothing.stderr


def test_search_offline_asks_no_hub(online: Shell) -> None:
    done = online.run("models", "search", "qwen", THREADRUNNER_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:1")
    assert done.returncode == 3 and "OFFLINE" in done.stderr


def test_the_first_answer_of_the_smallest_model_tells_of_setup_once(shell: Shell, smollm2: Path) -> None:
    folder = shell.home / "models"
    folder.mkdir(parents=True)
    (folder / smollm2.name).symlink_to(smollm2)
    shell.env |= {"THREADRUNNER_BACKEND": "llama", "THREADRUNNER_CONTEXT": "256"}
    assert "threadrunner setup" not in shell.run("-n", "1", "hi").stderr, "no terminal"
    for expected in (True, False):
        terminal = shell.terminal("-n", "1", "hi")
        assert terminal.finish() == 0
        assert ("`threadrunner setup` finds a better one" in terminal.text) is expected
