"""models list, show, pull and rm; status in its forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.backends import tiny as models
from tests.backends import tiny_sight
from tests.daemon.gguf.ggufs import made
from tests.shell import Shell


@pytest.fixture
def tiny(shell: Shell) -> Path:
    folder = shell.home / "models"
    folder.mkdir(parents=True)
    path = folder / "tiny.gguf"
    path.write_bytes(made({"general.name": "Tiny\x1b[31m"}))
    return path


def test_list(shell: Shell, tiny: Path) -> None:
    head, default, row = shell.run("models", "list").stdout.splitlines()
    assert head.split() == ["NAME", "SIZE", "QUANT", "PARAMS", "CONTEXT", "CAN", "STATE", "USED", "ABOUT"]
    assert default.startswith("smollm2:135m (default)  98 MB")
    assert row.split() == [
        "tiny.gguf", "1.1", "kB", "F32", "128", "64", "infill", "here", "-", "Tiny", "[31m",
    ]  # fmt: skip
    listing = json.loads(shell.run("models", "list", "--json").stdout)
    assert listing["models"][0]["name"] == "smollm2:135m"


def test_list_tells_what_is_wrong_with_one(shell: Shell, tiny: Path) -> None:
    tiny.write_bytes(b"no model")
    assert "it is not a GGUF file" in shell.run("models", "list").stdout


def test_show(shell: Shell, tiny: Path) -> None:
    shell.run("-m", "tiny", "hi")
    lines = dict(line.split(maxsplit=1) for line in shell.run("models", "show", "tiny").stdout.splitlines())
    assert lines["architecture"] == "llama"
    assert lines["quantization"] == "F32"
    assert lines["file"] == str(tiny)
    assert lines["last"].endswith("s ago")
    assert json.loads(shell.run("models", "show", "--json", "tiny").stdout)["parameters"] == 128


def test_show_template(shell: Shell) -> None:
    folder = shell.home / "models"
    folder.mkdir(parents=True)
    call = "<tool_call>{{ m.tool_calls[0].function | tojson }}</tool_call>"
    calls = (
        "{% for m in messages %}[{{ m.role }} {{ m.content }}{% if m.tool_calls %}" + call + "{% endif %}]{% endfor %}>"
    )
    texts = {"tokenizer.chat_template": calls, "tokenizer.chat_template.tool_use": "{{ tools }}" + calls}
    models.llama(folder / "talks.gguf", {**models.bytes_vocabulary(), **texts})
    shown = shell.run("models", "show", "--template", "talks").stdout
    assert f"--- template default\n{calls}\n" in shown
    assert "--- template tool_use\n{{ tools }}" in shown
    assert "tokens)\n[system Be brief.][user Is it cold in Paris?]>\n" in shown
    assert '[{"type": "function", "function": {"name": "get_weather"' in shown
    assert '"arguments": {"place": "Paris"}' in shown
    listed = json.loads(shell.run("models", "show", "--template", "--json", "talks").stdout)
    assert list(listed["templates"]) == ["default", "tool_use"]
    assert listed["samples"]["a conversation"]["prompt"].endswith("Paris?]>")


def test_show_template_of_a_model_that_has_none_or_is_not_here(shell: Shell) -> None:
    folder = shell.home / "models"
    folder.mkdir(parents=True)
    models.llama(folder / "base.gguf")
    shown = shell.run("models", "show", "--template", "base").stdout
    assert "--- template\nit has none\n" in shown
    assert "User: Is it cold in Paris?\n\nAssistant:" in shown
    assert "get_weather" in shown.partition("--- a conversation with a tool")[2], (
        "in words, since nothing else takes it"
    )
    absent = shell.run("models", "show", "--template", "smollm2:135m")
    assert absent.returncode == 3
    assert "threadrunner models pull smollm2:135m" in absent.stderr


def test_rm(shell: Shell, tiny: Path) -> None:
    done = shell.run("models", "rm", "tiny")
    assert (done.returncode, done.stdout) == (0, f"{tiny}: removed\n")
    assert not tiny.exists()
    again = shell.run("models", "rm", "tiny")
    assert again.returncode == 3
    assert "no model is named" in again.stderr


def test_pulling_a_file_and_a_folder_from_where_the_shell_stands(shell: Shell) -> None:
    (shell.work / "given").mkdir()
    (shell.work / "given" / "one.gguf").write_bytes(made())
    assert shell.run("models", "pull", "given").returncode == 0
    assert (shell.home / "models" / "one.gguf").exists()
    again = shell.run("models", "pull", "given/one.gguf")
    assert again.returncode == 3
    assert "has a file one.gguf already" in again.stderr


def test_an_encoder_of_pictures_comes_and_goes_with_its_model_in_words(shell: Shell) -> None:
    given = shell.work / "given"
    given.mkdir()
    (given / "Eye-Q4_0.gguf").write_bytes(made())
    tiny_sight.mmproj(given / "mmproj-model-f16.gguf")
    assert "kB, with its encoder of pictures)" in shell.run("models", "pull", "given").stdout
    encoder = shell.home / "models" / "mmproj-Eye-f16.gguf"
    lines = shell.run("models", "show", "Eye-Q4_0").stdout.splitlines()
    assert ["pictures", "by", str(encoder)] in [line.split() for line in lines]
    assert ["can", "infill,pictures"] in [line.split() for line in lines]
    removed = shell.run("models", "rm", "Eye-Q4_0").stdout
    assert f"{encoder}: removed (its encoder of pictures, which no other model here uses)" in removed
    shell.run("models", "pull", "--no-mmproj", "given")
    assert not encoder.exists()


def test_pulling_a_model_that_nobody_knows(shell: Shell) -> None:
    done = shell.run("models", "pull", "nobody")
    assert (done.returncode, done.stdout) == (3, "")
    assert "nobody" in done.stderr


@pytest.mark.parametrize("name", ["hf:someone/repo:x.gguf", "ollama:a/b.gguf", "lmstudio:a/b:c.gguf"])
def test_a_source_is_no_path_of_the_shells(shell: Shell, name: str) -> None:
    assert str(shell.work) not in shell.run("models", "show", name).stderr


def test_status_reads_like_ps(shell: Shell) -> None:
    assert shell.run("one two three").returncode == 0
    _, head, row = shell.run("status").stdout.splitlines()
    assert head.split() == [
        "MODEL", "BACKEND", "STATE", "PID", "MEMORY", "CONTEXT", "ACTIVE", "QUEUED", "CACHED", "TOK/S", "UNLOADS", "IN",
    ]  # fmt: skip
    assert row.split()[:3] == ["dummy", "dummy", "ready"]


def test_a_name_does_nothing_to_the_terminal(shell: Shell) -> None:
    """A file may be called so, and be a stranger's."""
    name = "e\x1b]0;x\x07vil"
    for args in (("load", name), ("status",), ("unload",)):
        terminal = shell.terminal(*args)
        assert terminal.finish() == 0
        assert "e␛]0;x␇vil" in terminal.text
        assert "\x1b" not in terminal.text


def test_status_again_and_again(shell: Shell) -> None:
    assert shell.run("hi").returncode == 0
    process = shell.start("status", "--watch", "0.1")
    assert process.stdout
    for _ in range(3):
        assert process.stdout.readline().startswith(b"daemon ")
        assert process.stdout.readline().startswith(b"MODEL ")
        assert process.stdout.readline().startswith(b"dummy ")
    screen = shell.terminal("status", "--watch")
    screen.read_until("\x1b[H\x1b[2J")
    screen.read_until("MODEL")


def test_status_for_prometheus(shell: Shell) -> None:
    assert shell.run("one two three").returncode == 0
    assert shell.run("-m", "./nowhere.gguf", "--backend", "llama", "hi").returncode == 3
    lines = shell.run("status", "--metrics").stdout.splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert samples['threadrunner_requests_total{model="dummy"}'] == "1"
    assert int(samples['threadrunner_completion_tokens_total{model="dummy"}']) > 0
    assert samples['threadrunner_model_ready{model="dummy",backend="dummy"}'] == "1"
    assert samples['threadrunner_errors_total{kind="ModelNotFound"}'] == "1"
    for line in lines:
        name = line.split()[2] if line.startswith("#") else line.partition("{")[0].partition(" ")[0]
        assert name.startswith("threadrunner_")
    assert len([line for line in lines if line.startswith("# TYPE")]) == len(set(lines)) - len(samples) - len(
        [line for line in lines if line.startswith("# HELP")]
    )


@pytest.mark.parametrize("args", [["--json", "--metrics"], ["--watch", "0"], ["--watch", "soon"]])
def test_status_does_not_guess(shell: Shell, args: list[str]) -> None:
    assert shell.run("status", *args).returncode == 64
