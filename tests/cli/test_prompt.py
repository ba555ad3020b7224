"""threadrunner "prompt": arguments, pipes, flags, what goes to which stream and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.shell import COMMAND, Shell
from tests.support import PATIENCE

LOREM = "lorem ipsum dolor sit amet"


def test_the_contract_line(busy_shell: Shell) -> None:
    done = busy_shell.run("Hello, how are you?")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{LOREM} Hello. how. are. you.\n", "")


@pytest.mark.parametrize(
    "args",
    [
        ["-n", "7", "one", "two", "three"],
        ["one", "two", "three", "-n", "7"],
        ["one", "-n7", "two", "three"],
        ["one", "--max-tokens=7", "two three"],
        ["-n", "7", "--", "one", "two", "three"],
    ],
    ids=" ".join,
)
def test_words_are_joined_and_flags_stand_anywhere(busy_shell: Shell, args: list[str]) -> None:
    assert busy_shell.run(*args).stdout == f"{LOREM} one. two.\n"


@pytest.mark.parametrize(
    ("args", "input", "words"),
    [
        ([], "from a pipe\n", "from. a. pipe."),
        (["about", "this"], "the text\n", "about. this. the. text."),
        (["-"], "from a pipe\n", "from. a. pipe."),
        (["--", "status"], "", "status."),
        (["--", "-n", "3"], "", "n. 3."),
        (["what is", "-5", "plus 3"], "", "what. is. 5. plus. 3."),
        (["- a list"], "", "a. list."),
        (["naïve", "日本"], "", "naïve. 日本."),
    ],
)
def test_what_becomes_the_prompt(busy_shell: Shell, args: list[str], input: str, words: str) -> None:
    assert busy_shell.run(*args, input=input).stdout == f"{LOREM} {words}\n"


def test_what_the_daemon_is_told(shell: Shell) -> None:
    """A blank line separates argument and pipe; the shell's environment is sent too."""
    (shell.work / "a.gguf").touch()
    env = {**shell.env, "THREADRUNNER_KEEP_ALIVE": "7"}
    with shell.listening() as listener:
        process = subprocess.Popen(
            [*COMMAND, "about", "this", "-m", "a.gguf", "--stop", "x", "--stop", "y", "-s", "be brief", "-t0"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, cwd=shell.work,
        )  # fmt: skip
        assert process.stdin
        process.stdin.write(b"the text\nin lines\n\n")
        process.stdin.close()
        process.stdin = None
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as lines:
            request = json.loads(lines.readline())
            answer = {"jsonrpc": "2.0", "id": request["id"], "result": {"text": ""}}
            peer.sendall(json.dumps(answer).encode() + b"\n")
            out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, b"", b"")
    assert request["method"] == "generate"
    assert request["params"] == {
        "prompt": "about this\n\nthe text\nin lines",
        "stream": True,
        "priority": "normal",
        "temperature": 0.0,
        "stop": ["x", "y"],
        "system": "be brief",
        "model": str(shell.work / "a.gguf"),
        "backend": "dummy",
        "offline": True,
        "keep_alive": 7.0,
    }


def test_json_events(busy_shell: Shell) -> None:
    events = [json.loads(line) for line in busy_shell.run("--json", "hi", "-n", "2").stdout.splitlines()]
    *tokens, result = events
    assert "".join(event["text"] for event in tokens) == "lorem ipsum"
    assert {event["event"] for event in tokens} == {"token"}
    assert result["event"] == "result"
    assert result["usage"]["completion_tokens"] == 2
    assert result["finish_reason"] == "length"


def test_json_error(busy_shell: Shell) -> None:
    done = busy_shell.run("--json", "hi", "-m", "nobody", "--backend", "llama")
    event = json.loads(done.stdout)
    assert (event["event"], event["data"]["kind"], event["exit"]) == ("error", "ModelNotFound", 3)
    assert done.returncode == 3
    assert done.stderr.startswith("threadrunner: ")


def test_undo_says_where_there_is_no_turn(busy_shell: Shell) -> None:
    assert busy_shell.run("-S", "short", "hi").returncode == 0
    assert busy_shell.run("sessions", "undo", "short").stdout == "deleted: hi\n"
    done = busy_shell.run("sessions", "undo", "short")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "threadrunner: short has no turn, so nothing was deleted\n"


def test_no_stream_and_stats(busy_shell: Shell) -> None:
    done = busy_shell.run("--no-stream", "--stats", "hi")
    assert done.stdout == f"{LOREM} hi.\n"
    assert done.stderr.startswith("threadrunner: dummy: prompt 1 tokens (0 cached), answer 6 tokens (stop), ")
    assert "tok/s" in done.stderr


@pytest.mark.parametrize(
    ("args", "input", "says"),
    [
        (["--top-p", "4", "hi"], None, "--top-p: Expected"),
        (["--topp", "4", "hi"], None, "there is no flag --topp"),
        (["-n", "x", "hi"], None, "-n: expected a whole number (0 or more), got 'x'"),
        (["-n", "-1", "hi"], None, "-n: expected a whole number (0 or more), got '-1'"),
        (["-t", "nan", "hi"], None, "-t: expected a number, got 'nan'"),
        (["--raw=1", "hi"], None, "--raw takes no value"),
        (["hi", "--seed"], None, "--seed needs a value: --seed N"),
        (["--schema", "nowhere.json", "hi"], None, "cannot read nowhere.json: No such file"),
        (["-m", "", "hi"], None, "the model's name is empty"),
        (["-S", "", "hi"], None, "the conversation's name is empty"),
        ([], None, "the prompt is empty"),
        ([], " \n", "the prompt is empty"),
        ([], b"ab\xffc", "standard input is not UTF-8 text: byte 0xff at offset 2"),
        ([b"ab\xff"], None, "the argument is not UTF-8 text: byte 0xff at offset 2"),
        (["-s", b"a\xe4", "hi"], None, "the argument is not UTF-8 text: byte 0xe4 at offset 1"),
        ([], b"a" * ((16 << 20) + 1), "standard input has more than 16777216 bytes (16 MiB)"),
        ([], b"\n" * 9_000_000 + b"a", "the request has 18000"),
        (["status", "of", "the", "union"], None, "If that was to be a prompt: threadrunner -- status of the union"),
        (["--json", "status"], None, "'status' is a command and comes first"),
        (["models"], None, "required: list|recommend|search|show|pull|rm"),
        (["status", "--jsn"], None, "there is no flag --jsn of `threadrunner status`"),
        (["load", "--backend"], None, "expected one argument"),
        (["sessions", "show", ""], None, "threadrunner: session: Expected"),
    ],
)
def test_usage_errors(busy_shell: Shell, args: list[str], input: str | bytes | None, says: str) -> None:
    done = busy_shell.run(*args, input=input)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("threadrunner: ")
    assert says in done.stderr


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_request_that_is_too_large_starts_no_daemon(shell: Shell, flags: list[str]) -> None:
    done = shell.run(*flags, input=b"\n" * 9_000_000 + b"a")
    assert done.returncode == 64
    assert [json.loads(line)["exit"] for line in done.stdout.splitlines()] == [64] * len(flags)
    assert "(16 MiB); send less text" in done.stderr
    assert shell.starts == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--lora a=1000", "--lora: Expected `float` <= 100.0"),
        (f"--lora {'a' * 200}", "--lora: Expected `str` of length <= 128"),
        ("--set logit_bias.a=1", "--set logit_bias: Expected `str` matching regex"),
        ("--set dry.multiplier=x", "--set dry.multiplier: Expected `float`"),
        ("--tool-choice required", "--tool-choice is `required` and there are no --tools"),
        ("--raw -s x", "--raw continues a `prompt` as it is; leave out --result, --system, --memory and --tools"),
        ("--raw -S s", "leave out --raw, and --n where no --vote chooses among them"),
        ("--set echo=true", "--set echo and `special` are for a prompt that is continued as it is: give --raw too"),
        ("--vote", "leave out --n, --grammar and --schema"),
    ],
)
def test_what_the_daemon_refuses_is_told_by_its_flags(busy_shell: Shell, args: str, says: str) -> None:
    done = busy_shell.run(*args.split(), "hi")
    assert done.returncode and not done.stdout
    assert done.stderr.startswith("threadrunner: ")
    assert says in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "s.json: not JSON: "), ("[1]", "s.json: a JSON Schema is an object"), ("[" * 500, "s.json: ")],
)
def test_a_bad_schema_file(busy_shell: Shell, text: str, says: str) -> None:
    (busy_shell.work / "s.json").write_text(text)
    done = busy_shell.run("--schema", "s.json", "hi")
    assert (done.returncode, done.stdout) == (64, "")
    assert says in done.stderr


@pytest.mark.parametrize("value", ["soon", "inf"])
def test_a_bad_environment(busy_shell: Shell, value: str) -> None:
    done = busy_shell.run("hi", THREADRUNNER_KEEP_ALIVE=value)
    assert done.returncode == 64
    assert f"THREADRUNNER_KEEP_ALIVE: expected a number, got '{value}'" in done.stderr


@pytest.mark.parametrize("model", ["nobody", "./nowhere.gguf", "/nowhere.gguf"])
def test_a_missing_model(busy_shell: Shell, model: str) -> None:
    done = busy_shell.run("hi", "-m", model, "--backend", "llama")
    assert (done.returncode, done.stdout) == (3, "")
    assert (str(busy_shell.work / "nowhere.gguf") if model.startswith("./") else model) in done.stderr


def test_a_model_path_in_the_environment_is_sent(busy_shell: Shell) -> None:
    done = busy_shell.run("hi", THREADRUNNER_MODEL_PATH="here.gguf", THREADRUNNER_BACKEND="llama")
    assert done.returncode == 3
    assert str(busy_shell.work / "here.gguf") in done.stderr


def test_a_timeout(troubled: Shell) -> None:
    assert troubled.run("warm").returncode == 0
    done = troubled.run("drip", "--timeout", "0.3")
    assert done.returncode == 4
    assert done.stderr.startswith("threadrunner: ")


def test_a_daemon_that_hangs_is_timed_out_too(shell: Shell) -> None:
    assert shell.run("warm").returncode == 0
    os.kill(shell.daemon_pid() or 0, 19)
    code = "import sys; from threadrunner.cli import prompt, main; prompt._GRACE_SECONDS = 0.1; sys.exit(main.main())"
    command = [COMMAND[0], "-c", code, "hi", "--timeout", "2"]
    done = subprocess.run(command, env=shell.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (4, b"")
    assert b"no answer within 2 s" in done.stderr


def test_a_worker_that_crashes(troubled: Shell) -> None:
    done = troubled.run("crash SIGKILL")
    assert (done.returncode, done.stdout) == (3, "")
    assert "SIGKILL" in done.stderr
    assert troubled.run("hello").returncode == 0


def test_a_closed_pipe_ends_quietly_and_stops_the_generation(troubled: Shell) -> None:
    """`| head`: the reader takes a little and goes."""
    process = troubled.start("drip")
    assert process.stdout and process.stderr
    assert process.stdout.read(4) == b"drip"
    process.stdout.close()
    process.stdout = None
    assert process.wait(PATIENCE) == 0
    assert process.stderr.read() == b""
    assert troubled.run("how many").stdout == "1 cancelled, 0 others\n"


def test_a_closed_pipe_is_noticed_in_silence(shell: Shell) -> None:
    """No token comes, so no write can fail: here the daemon is stopped."""
    assert shell.run("warm").returncode == 0
    os.kill(shell.daemon_pid() or 0, 19)
    process = shell.start("hi")
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    assert process.wait(PATIENCE) == 0


def test_head_in_a_shell(shell: Shell) -> None:
    words = "w " * 50_000
    (shell.work / "long").write_text(words)
    assert shell.bash("threadrunner < long | head -c 5; echo; echo ${PIPESTATUS[0]}") == "lorem\n0\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_is_an_error(busy_shell: Shell) -> None:
    shown = busy_shell.bash("threadrunner hi > /dev/full; echo $?")
    assert shown == "threadrunner: cannot write: No space left on device\n1\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_files(busy_shell: Shell, closed: str) -> None:
    """Their numbers must not fall to the socket."""
    shown = busy_shell.bash(f"threadrunner hi {closed}; echo $?")
    assert shown == ("0\n" if ">&-" in closed and closed != "2>&-" else f"{LOREM} hi.\n0\n")


def test_bytes_to_a_pipe_are_as_the_model_wrote_them(busy_shell: Shell) -> None:
    assert busy_shell.run("a\x1b[31mb").stdout == f"{LOREM} a\x1b[31mb.\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_teaches_with_examples(busy_shell: Shell, flag: str) -> None:
    done = busy_shell.run(flag)
    assert done.returncode == 0
    assert "examples:" in done.stdout and "exit codes:" in done.stdout and "--max-tokens N" in done.stdout
    assert done.stderr == ""


def test_version(busy_shell: Shell) -> None:
    import threadrunner

    assert busy_shell.run("--version").stdout == f"threadrunner {threadrunner.__version__}\n"
