"""Thinking in the shell: who sees it, where, and that it is never taken for the answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shell import Shell

DIM, PLAIN = "\x1b[2m", "\x1b[22m"
PROMPT = "think one two; say the answer"


@pytest.fixture(scope="module")
def shell(plugin: Path) -> Iterator[Shell]:
    """One with a daemon whose backend says what the prompt tells it to."""
    made = Shell()
    made.use(plugin, "thinker")
    try:
        assert made.run("say warm").returncode == 0
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("flags", [[], ["--thinking", "hide"], ["--no-stream"], ["--thinking", "off"]])
def test_a_pipe_gets_the_answer_alone(shell: Shell, flags: list[str]) -> None:
    done = shell.run(*flags, PROMPT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the answer\n", "")


@pytest.mark.parametrize("more", [[], ["--no-stream"]])
def test_it_goes_to_standard_error_where_it_is_asked_for(shell: Shell, more: list[str]) -> None:
    done = shell.run("--thinking", "show", *more, PROMPT)
    assert (done.stdout, done.stderr) == ("the answer\n", "one two\n")
    done = shell.run(*more, PROMPT, THREADRUNNER_THINKING="show")
    assert (done.stdout, done.stderr) == ("the answer\n", "one two\n")


def test_on_a_terminal_it_is_dim_and_before_the_answer(shell: Shell) -> None:
    terminal = shell.terminal(PROMPT)
    assert terminal.finish() == 0
    assert terminal.text == f"{DIM}one{PLAIN}{DIM} two{PLAIN}\n\nthe answer\n"


def test_without_colours_it_is_plain(shell: Shell) -> None:
    shell.env["NO_COLOR"] = "1"
    try:
        terminal = shell.terminal(PROMPT)
        assert terminal.finish() == 0
    finally:
        del shell.env["NO_COLOR"]
    assert terminal.text == "one two\n\nthe answer\n"


def test_control_characters_in_a_thought_move_no_cursor(shell: Shell) -> None:
    terminal = shell.terminal("think \x1b[2Jhm; say x")
    assert terminal.finish() == 0
    assert terminal.text == f"{DIM}␛[2Jhm{PLAIN}\n\nx\n"


def test_it_may_think_again_in_the_midst_of_an_answer(shell: Shell) -> None:
    terminal = shell.terminal("think a; say b; think c; say d")
    assert terminal.finish() == 0
    assert terminal.text == f"{DIM}a{PLAIN}\n\nb\n{DIM}c{PLAIN}\n\nd\n"


def test_a_hidden_thought_has_a_line_that_goes_when_the_answer_begins(shell: Shell) -> None:
    """So many words, as many as an argument holds, that it thinks for longer than the line waits."""
    many = "think " + "x " * 60_000
    terminal = shell.terminal("--thinking", "hide", f"{many}; say done")
    terminal.read_until("thinking, ")
    assert terminal.finish() == 0
    assert terminal.text.endswith("\r\x1b[Kdone\n")
    assert "x" not in terminal.text


def test_ctrl_c_in_a_thought_leaves_the_line(shell: Shell) -> None:
    terminal = shell.terminal("think one; hang")
    terminal.read_until(f"one{PLAIN}")
    terminal.type("\x03")
    assert terminal.finish() == 130
    assert terminal.text.replace("^C", "") == f"{DIM}one{PLAIN}\n"


def test_json_tells_what_each_piece_is(shell: Shell) -> None:
    done = shell.run("--json", "--stats", PROMPT)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event.get("kind", "text") for event in events[:-1]] == ["reasoning", "reasoning", "text", "text"]
    assert (events[-1]["text"], events[-1]["reasoning"]) == ("the answer", "one two")


def test_the_counts_tell_what_was_thought(shell: Shell) -> None:
    assert "answer 4 tokens, 2 of them thought (stop)" in shell.run("--stats", PROMPT).stderr
    assert "answer 1 tokens (stop)" in shell.run("--stats", "say x").stderr


def test_off_is_what_the_model_is_told(shell: Shell) -> None:
    assert json.loads(shell.run("--thinking", "off", "shown").stdout)["reasoning"] == "off"
    assert json.loads(shell.run("--thinking", "hide", "shown").stdout)["reasoning"] == "split"


@pytest.mark.parametrize("how", ["loud", "off"])
def test_a_setting_that_means_nothing_is_refused_whether_the_model_thinks_or_not(shell: Shell, how: str) -> None:
    for arguments in (["say x"], ["--json", PROMPT]):
        done = shell.run(*arguments, THREADRUNNER_THINKING=how)
        assert (done.returncode, done.stdout) == (64, "") or "--json" in arguments
        assert f"THREADRUNNER_THINKING: expected show or hide, got {how!r}" in done.stderr


def test_a_call_with_text_loses_nothing(shell: Shell) -> None:
    """Standard output has the text, and a newline; the call, with what no terminal may be told, is on the other one."""
    done = shell.run('think hm; say wait; call weather {"city": "a\\u001bb\\nc"}')
    assert (done.returncode, done.stdout) == (0, "wait\n")
    assert 'the model calls weather {"city":"a\\u001bb\\nc"} (c1)' in done.stderr
    done = shell.run('cut; call weather {"city')
    assert done.stdout == ""
    assert 'the model calls weather {"city (c1) (broken off by the token limit)' in done.stderr
    done = shell.run("--json", 'cut; call weather {"city')
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()].count("call") == 0


def test_many_results_at_once_and_a_large_one_from_a_pipe(shell: Shell) -> None:
    assert shell.run("-S", "many", "call a {}; call b {}").returncode == 0
    large = "word " * 40_000
    done = shell.run("-S", "many", "--result", "c1=first", "--result", "c2", "shown", input=f"{large}\n")
    assert done.returncode == 0, done.stderr
    with shell.wire() as wire:
        (_, turn) = wire.call("sessions.show", session="many")["turns"]
    assert [result["content"] for result in turn["tool_results"]] == ["first", large]
    assert turn["prompt"] == "shown"


def test_results_do_not_eat_what_a_loop_reads(shell: Shell) -> None:
    assert shell.run("-S", "loop", "call a {}").returncode == 0
    command = 'threadrunner -S loop --result c1=x; read line; echo "left: $line"'
    shell.bash("true")  # makes the command
    env = {**shell.env, "PATH": f"{shell.folder / 'bin'}:{shell.env['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command], input="mine\n", env=env, cwd=shell.work, capture_output=True, text=True
    )
    assert done.stdout == "so: x\nleft: mine\n"
