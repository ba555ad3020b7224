"""The whole way on the real model: shell, daemon, worker, llama.cpp and back."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import PATIENCE, Daemon, Wire, running

CAPITAL = "What is the capital of France? Answer in one short sentence."


@pytest.fixture(scope="module")
def _real(smollm2: Path) -> Iterator[Daemon]:
    yield from running(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=str(smollm2), THREADRUNNER_CONTEXT="2048")


@pytest.fixture
def real(_real: Daemon) -> Iterator[Daemon]:
    yield _real
    _real.hang_up()


def shell(daemon: Daemon, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "threadrunner", *argv]
    return subprocess.run(
        command, env=daemon.env, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_a_prompt_is_answered(real: Daemon) -> None:
    done = shell(real, CAPITAL, "-t", "0", "-n", "30", "--stats")
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    assert done.stdout.endswith("\n")
    assert "tok/s" in done.stderr


def test_piped_text_is_what_the_prompt_is_about(real: Daemon, tmp_path: Path) -> None:
    grammar = tmp_path / "g.gbnf"
    grammar.write_text('root ::= "Oslo" | "Paris" | "Rome"')
    for city in ("Oslo", "Paris", "Rome"):
        letter = f"Dear Ada, greetings from {city}! {city} is lovely in spring."
        done = shell(real, "Which city is this letter from?", "-t", "0", "--grammar", str(grammar), stdin=letter)
        assert done.stdout == f"{city}\n", done.stderr


def test_the_same_seed_says_the_same_and_greedy_always_does(real: Daemon) -> None:
    seeded = [shell(real, "Tell me a story", "-n", "24", "--seed", "7").stdout for _ in range(2)]
    greedy = [shell(real, "Tell me a story", "-n", "24", "-t", "0").stdout for _ in range(2)]
    assert seeded[0] == seeded[1]
    assert greedy[0] == greedy[1]
    assert seeded[0] != greedy[0]


def test_a_schema_is_kept(real: Daemon, tmp_path: Path) -> None:
    schema = tmp_path / "s.json"
    schema.write_text(
        json.dumps(
            {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
                "required": ["name", "age"],
                "additionalProperties": False,
            }
        )
    )
    done = shell(real, "Invent a person.", "--schema", str(schema), "-n", "80")
    assert done.returncode == 0, done.stderr
    person = json.loads(done.stdout)
    assert set(person) == {"name", "age"}
    assert isinstance(person["age"], int)


def test_a_bad_grammar_is_an_error_and_not_an_answer(real: Daemon, tmp_path: Path) -> None:
    grammar = tmp_path / "g.gbnf"
    grammar.write_text('root ::= "yes" | other')
    done = shell(real, "x", "--grammar", str(grammar))
    assert (done.returncode, done.stdout) == (3, "")
    assert "grammar" in done.stderr
    grammar.write_text('root ::= "yes" | "no"')
    assert shell(real, "Is water wet?", "--grammar", str(grammar)).stdout in ("yes\n", "no\n")


def test_a_prompt_that_does_not_fit_is_an_error_with_both_counts(real: Daemon) -> None:
    error = real.wire().fail("generate", prompt="many words " * 3000)
    assert error["data"]["kind"] == "ContextOverflow"
    assert error["data"]["limit"] == 2048
    assert error["data"]["prompt_tokens"] > 5000
    done = shell(real, stdin="many words " * 3000)
    assert (done.returncode, done.stdout) == (3, "")
    assert "2048" in done.stderr


def test_a_stop_text_is_not_said(real: Daemon) -> None:
    result = real.wire().call(
        "generate", prompt="Count from one to ten.", stop=["five", "5"], temperature=0, max_tokens=60
    )
    assert result["finish_reason"] == "stop"
    assert "five" not in result["text"].lower() and "5" not in result["text"]


def test_eight_clients_each_get_their_own_whole_answer(real: Daemon) -> None:
    """Each may say one word only, so that a single token of a neighbour's would show."""
    words = ["apple", "bridge", "candle", "desert", "engine", "forest", "garden", "harbor"]
    got: dict[str, str] = {}

    def client(word: str) -> None:
        wire = Wire(real.socket)
        grammar = f'root ::= "{word}" (" {word}"){{9}}'
        id = wire.begin("generate", prompt=f"Write {word} many times.", grammar=grammar, max_tokens=60)
        response, before = wire.until(id)
        got[word] = "".join(m["params"]["text"] for m in before if m["method"] == "token")
        assert got[word] == response["result"]["text"]
        wire.close()

    threads = [threading.Thread(target=client, args=(word,)) for word in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.keys() == set(words)
    for word, text in got.items():
        assert text == " ".join([word] * 10)


def test_a_cancelled_answer_leaves_the_model_free(real: Daemon) -> None:
    wire = real.wire()
    id = wire.begin("generate", prompt="Write a very long story.", temperature=0, max_tokens=1500)
    while wire.read().get("method") != "token":
        pass
    wire.send({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id}})
    assert wire.until(id)[0]["error"]["code"] == -32800
    assert "Paris" in wire.call("generate", prompt=CAPITAL, temperature=0, max_tokens=30)["text"]
    model = wire.call("status")["models"][0]
    assert (model["active"], model["queued"]) == (0, 0)


def test_unloading_gives_all_memory_back(real: Daemon) -> None:
    wire = real.wire()
    wire.call("models.load")
    (pid,) = real.workers()
    assert wire.call("status")["models"][0]["rss_bytes"] > 100 << 20
    wire.call("models.unload")
    assert not Path(f"/proc/{pid}").exists()
    assert wire.call("status")["rss_bytes"] < 60 << 20
    assert "Paris" in wire.call("generate", prompt=CAPITAL, temperature=0, max_tokens=30)["text"]


def test_a_worker_killed_in_the_middle_of_an_answer(real: Daemon) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "threadrunner", "Write a very long story.", "-n", "1500"],
        env=real.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as talking:
        assert talking.stdout and talking.stderr
        talking.stdout.read(1)
        (pid,) = real.workers()
        os.kill(pid, signal.SIGKILL)
        assert talking.wait(PATIENCE) == 3
        assert b"SIGKILL" in talking.stderr.read()
    assert "Paris" in shell(real, CAPITAL, "-t", "0", "-n", "30").stdout


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "header"])
def test_a_file_that_is_no_model_is_explained(real: Daemon, smollm2: Path, tmp_path: Path, damage: str) -> None:
    bad = tmp_path / "bad.gguf"
    whole = smollm2.read_bytes()
    bad.write_bytes(
        {"empty": b"", "text": b"hello", "truncated": whole[: len(whole) // 2], "header": whole[:4] + b"\xff" * 4000}[
            damage
        ]
    )
    done = shell(real, "-m", str(bad), "hello")
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert "bad.gguf" in done.stderr
    assert real.wire().call("status")["pid"] == real.pid
