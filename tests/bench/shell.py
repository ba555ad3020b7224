"""What a person in a shell waits for, beside llama-server in one run.

    python -m tests.bench.shell MODEL.gguf LLAMA_SERVER [ROUNDS]

Prints the median of ROUNDS (default 15) interleaved rounds; single tokens after a rest (see peer.py):
  - `threadrunner "x" -n 1`, the whole process, and curl asking llama-server for one token of the same prompt;
  - the first token of a warm request over the socket, and over HTTP;
  - decode, 128 tokens streamed by one client, both;
  - cold: no daemon at all, to the first token on stdout, and llama-server from its start to its first token;
  - the daemon's memory once the model is unloaded.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.peer import REST, Peer
from tests.support import Daemon, Wire

OPTIONS = ["-t", "2", "-c", "8192", "-np", "1"]
PROMPT = "Write about the sea."


def timed(action: Callable[[], object]) -> float:
    """Milliseconds."""
    time.sleep(REST)
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1e3


def shell(daemon: Daemon, *argv: str) -> None:
    subprocess.run([SCRIPT, *argv], env=daemon.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


SCRIPT = str(Path(sys.executable).with_name("threadrunner"))


def curl(port: int) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "x"}], "max_tokens": 1})
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    command = ["curl", "-sS", "-f", "-o", "/dev/null", "-H", "Content-Type: application/json", "-d", body, url]
    subprocess.run(command, check=True)


def ours(wire: Wire, tokens: int) -> tuple[float, float]:
    """Milliseconds to the first piece, tokens a second from the first to the last."""
    began = time.perf_counter()
    id = wire.begin("generate", prompt=PROMPT, max_tokens=tokens, temperature=0)
    first, count = 0.0, 0
    while "id" not in (message := wire.read()):
        if message["method"] == "token":
            count += 1
            last = time.perf_counter()
            first = first or last
    assert message["id"] == id and "result" in message
    count = message["result"]["usage"]["completion_tokens"]
    return (first - began) * 1e3, (count - 1) / (last - first) if tokens > 1 else 0.0


def theirs(port: int, tokens: int) -> tuple[float, float]:
    """The same over HTTP, on a connection that is made beforehand."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.connect()
    message = {
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
    }
    began = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps(message), {"Content-Type": "application/json"})
    response = connection.getresponse()
    first, count, last = 0.0, 0, 0.0
    while line := response.readline():
        if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
            count += 1
            last = time.perf_counter()
            first = first or last
    connection.close()
    return (first - began) * 1e3, (count - 1) / (last - first) if tokens > 1 else 0.0


def alone(one: Callable[..., tuple[float, float]], where: object) -> tuple[float, float]:
    """One token, after a rest."""
    time.sleep(REST)
    return one(where, 1)


def cold_ours(daemon: Daemon) -> float:
    subprocess.run([SCRIPT, "stop"], env=daemon.env, check=True, capture_output=True)
    began = time.perf_counter()
    with subprocess.Popen(
        [SCRIPT, "x", "-n", "2"], env=daemon.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.read(1)
        return (time.perf_counter() - began) * 1e3


def cold_theirs(binary: str, model: str) -> float:
    began = time.perf_counter()
    with Peer(binary, model, *OPTIONS) as peer:
        theirs(peer.port, 1)
        return (time.perf_counter() - began) * 1e3


def row(what: str, a: list[float], b: list[float], unit: str) -> None:
    x, y = statistics.median(a), statistics.median(b)
    print(f"{what:44} {x:9.1f} {unit:5} peer {y:9.1f} {unit:5} ratio {x / y:5.2f}   ({min(a):.1f} to {max(a):.1f})")


def memory_after_unload(wire: Wire) -> Any:
    wire.call("models.unload")
    return wire.call("status")


def main(model: str, binary: str, rounds: int = 15) -> None:
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=model, THREADRUNNER_LOG="warning")
    try:
        shell(daemon, "x", "-n", "1")
        with Peer(binary, model, *OPTIONS) as peer:
            wire = Wire(daemon.socket)
            ours(wire, 16), theirs(peer.port, 16)
            process = [
                (timed(lambda: shell(daemon, "x", "-n", "1")), timed(lambda: curl(peer.port))) for _ in range(rounds)
            ]
            first = [(alone(ours, wire)[0], alone(theirs, peer.port)[0]) for _ in range(rounds)]
            decode = [(ours(wire, 128)[1], theirs(peer.port, 128)[1]) for _ in range(max(3, rounds // 3))]
        row('threadrunner "x" -n 1 | curl, whole process', *map(list, zip(*process, strict=True)), "ms")
        row("first token, warm", *map(list, zip(*first, strict=True)), "ms")
        row("decode, one client", *map(list, zip(*decode, strict=True)), "tok/s")
        state = memory_after_unload(wire)
        print(f"{'daemon after unload':44} {state['rss_bytes'] / 2**20:9.1f} MB    models {state['models']}")
        wire.close()
        cold = [(cold_ours(daemon), cold_theirs(binary, model)) for _ in range(max(3, rounds // 3))]
        row("cold, to the first token", *map(list, zip(*cold, strict=True)), "ms")
    finally:
        subprocess.run([SCRIPT, "stop"], env=daemon.env, check=False, capture_output=True)
        daemon.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4]))
