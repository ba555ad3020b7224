"""--n, --vote and --check: which of several answers is printed, and what becomes of the command that judges them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shell import Shell
from tests.support import PATIENCE, wait_for_exit


@pytest.fixture(scope="module")
def several(plugin: Path) -> Iterator[Shell]:
    """A shell whose backend is told by the prompt what its answers are."""
    shell = Shell()
    shell.use(plugin, "several")
    try:
        assert shell.run("warm").returncode == 0
        yield shell
    finally:
        shell.close()


def test_the_answer_that_most_agree_with(several: Shell) -> None:
    done = several.run("--n", "4", "--vote", "--stats", "8 | 7 | 7. | hold")
    assert (done.returncode, done.stdout) == (0, "7\n")
    assert "2 of 3 answers agree (0.67), 1 was not needed" in done.stderr


def test_their_keys(several: Shell) -> None:
    said = "I say 7 | 8, no: 7 | it is 8"
    assert several.run("--n", "3", "--vote", "--key-pattern", r"\d$", said).stdout == "I say 7\n"
    said = '{"n": 1, "why": "x"} | {"n": 2} | {"n": 1.0}'
    assert several.run("--n=3", "--vote", "--key-field", "n", said).stdout == '{"n": 1, "why": "x"}\n'


def test_too_little_agreement(several: Shell) -> None:
    done = several.run("--n", "2", "--vote", "--least", "0.6", "7 | 8")
    assert (done.returncode, done.stdout) == (5, "")
    kept = several.home / "cache" / "unchosen.txt"
    assert done.stderr == (
        f"threadrunner: the answers agree by 0.50 (1 of 2), and 0.6 is the least; they are in {kept}\n"
    )
    assert kept.read_text() == "==> answer 1 <==\n7\n\n==> answer 2 <==\n8\n\n"
    assert kept.stat().st_mode & 0o077 == 0


def test_a_larger_model_is_asked_then(several: Shell) -> None:
    done = several.run("--n", "2", "--vote", "--least", "0.6", "--otherwise", "large", "--stats", "7 | 8")
    assert (done.returncode, done.stdout) == (0, "large: 7 | 8\n")
    assert "the answers agree by 0.50 only, so large was asked" in done.stderr
    assert "asked since only 1 of 2 answers agree (0.50), after 2 tokens of theirs" in done.stderr


def test_the_first_answer_that_passes_the_check(several: Shell) -> None:
    done = several.run("--n", "3", "--check", "grep -qx 9", "--stats", "7 | 9 | hold")
    assert (done.returncode, done.stdout) == (0, "9\n")
    assert "answer 2 of 3 passed (2 were complete)" in done.stderr


def test_none_passes(several: Shell) -> None:
    done = several.run("--n", "2", "--check", "false", "7 | 9")
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith("threadrunner: none of 2 answers passes the check; they are in ")


def test_the_check_sees_which_answer_it_has_and_is_heard_with_v(several: Shell) -> None:
    check = "echo out; echo $THREADRUNNER_ANSWER; cat >&2; false"
    done = several.run("--n", "2", "-v", "--check", check, "7 | 9")
    assert done.stderr.startswith(
        "threadrunner: answer 1 of 2:\n7\nout\n1\n7\nthreadrunner: the check of answer 1: exit code 1\n"
        "threadrunner: answer 2 of 2:\n9\nout\n2\n9\n"
    )
    assert done.stdout == ""


def test_a_check_need_not_read_its_answer(several: Shell) -> None:
    long = "x" * 100_000
    assert several.run("--n", "2", "--check", "exec 0<&-", input=f"{long} | hold").stdout == f"{long}\n"


@pytest.mark.parametrize("command", ["no-such-command", "/etc/passwd"])
def test_a_check_that_cannot_be_run_ends_the_command(several: Shell, command: str) -> None:
    done = several.run("--n", "2", "--check", command, "7 | hold")
    assert (done.returncode, done.stdout) == (64, "")
    assert f"--check: the shell cannot run '{command}'" in done.stderr


@pytest.mark.parametrize(("end", "code", "within"), [("wait", 5, 1), ("exit 0", 0, 60)], ids=["hangs", "ends"])
def test_what_a_check_has_started_ends_with_it(several: Shell, end: str, code: int, within: int) -> None:
    check = f"sleep 1000 & echo $! > child; {end}"
    done = several.run("--n", "2", "--check", check, "--check-timeout", str(within), "-v", "7 | 9")
    assert done.returncode == code
    assert (f"not done within {within} s (--check-timeout)" in done.stderr) == bool(code)
    wait_for_exit(int((several.work / "child").read_text()))


@pytest.mark.parametrize("args", [[], ["--json"]], ids=["text", "json"])
def test_ctrl_c_ends_the_check_too(several: Shell, args: list[str]) -> None:
    fifo = several.work / "fifo"
    os.mkfifo(fifo)
    try:
        process = several.start("--n", "2", *args, "--check", "echo $$ > fifo; sleep 1000", "7 | hold")
        check = int(fifo.read_text())
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert not args or json.loads(out.splitlines()[-1])["exit"] == 130
        wait_for_exit(check)
    finally:
        fifo.unlink()


def test_timeout_holds_for_checks_too(several: Shell) -> None:
    done = several.run("--n", "2", "--timeout", "2", "--check", "echo $$ > child; sleep 1000", "7 | hold")
    assert (done.returncode, done.stdout) == (4, "")
    wait_for_exit(int((several.work / "child").read_text()))


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_for_programs(several: Shell) -> None:
    done = several.run("--json", "--n", "3", "--check", "grep -qx 9", "7 | 9 | hold")
    told = [
        {k: v for k, v in e.items() if k not in ("usage", "timings", "choices", "model")} for e in events(done.stdout)
    ]
    assert told == [
        {"event": "candidate", "index": 0, "text": "7", "finish_reason": "stop", "key": "7"},
        {"event": "check", "index": 0, "passed": False, "exit": 1},
        {"event": "candidate", "index": 1, "text": "9", "finish_reason": "stop", "key": "9"},
        {"event": "check", "index": 1, "passed": True, "exit": 0},
        {"event": "result", "text": "9", "finish_reason": "stop", "session": None,
         "vote": {"by": "client", "n": 3, "answers": 2, "chosen": 1}},
    ]  # fmt: skip


def test_for_programs_where_none_is_chosen(several: Shell) -> None:
    done = several.run("--json", "--n", "2", "--check", "false", "7 | 9")
    last = events(done.stdout)[-1]
    assert (done.returncode, last["event"], last["exit"]) == (5, "error", 5)
    assert last["message"] == "none of 2 answers passes the check"
    assert last["data"] == {"kind": "NoneChosen", "choices": ["7", "9"]}


def test_all_of_them(several: Shell) -> None:
    result = events(several.run("--json", "--n", "2", "7 | 9").stdout)[-1]
    assert result["choices"] == [{"text": "7", "finish_reason": "stop"}, {"text": "9", "finish_reason": "stop"}]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--n", "9", "--vote"], "--n: expected 2 to 8 answers, got 9"),
        (["--n", "1", "--check", "true"], "--n: expected 2 to 8 answers, got 1"),
        (["--n", "0", "--json"], "--n: expected 1 to 8 answers, got 0"),
        (["--n", "x", "--vote"], "--n"),
        (["--n", "3"], "choose one with --vote or --check COMMAND, or see all with --json"),
        (["--vote", "--check", "true"], "give one of them"),
        (["--key-field", "n"], "--key-field belongs to a vote: give --vote too"),
        (["--check", "true", "--least", "0.5"], "--least belongs to a vote"),
        (["--vote", "--otherwise", "m"], "give --least too"),
        (["--vote", "--least", "0"], "above 0 and at most 1"),
        (["--vote", "--least", "60%"], "--least"),
        (["--vote", "--key-field", "a", "--key-pattern", "b"], "at most one of --key-field and --key-pattern"),
        (["--vote", "--key-pattern", "("], "--key-pattern is no regular expression: missing )"),
        (["--vote", "--key-pattern", "x" * 257], "--key-pattern"),
        (["--vote", "-t", "0"], "with -t 0 all answers are the same"),
        (["--check", " "], "--check needs a command"),
        (["--check-timeout", "3"], "--check-timeout belongs to a check"),
        (["--vote", "-v", "--check-timeout", "3"], "--check-timeout belongs to a check"),
        (["--check", "true", "--check-timeout", "0"], "--check-timeout"),
        (["-v"], "give one of them too"),
        (["--set", "n=2"], "it has a flag of its own, --n"),
        (["--vote", "--least", "0.6", "--otherwise", ""], "the model's name is empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_flags_refuse(several: Shell, args: list[str], says: str) -> None:
    done = several.run(*args, "7 | 8")
    assert (done.returncode, done.stdout) == (64, "" if "--json" not in args else done.stdout)
    assert says in done.stderr


def test_a_model_that_gives_one_answer_says_so(busy_shell: Shell) -> None:
    done = busy_shell.run("--vote", "x")
    assert done.returncode == 3
    assert "leave out --n" in done.stderr
