"""The transcripts of protocol/examples: how they are recorded, and how a replay is compared.

A line is {"client": message} or {"server": message}, in the order in which they went over the wire. Record anew
after the wire has changed: `python -m tests.daemon.examples`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support import Wire, running

FOLDER = Path(__file__).parent.parent.parent / "protocol" / "examples"
VOLATILE = {
    "timings",
    "pid",
    "rss_bytes",
    "uptime_s",
    "idle_s",
    "expires_s",
    "socket",
    "log",
    "path",
    "load_ms",
    "facts",
    "work",
    "errors",
    "created",
    "used",
    "began",
    "ended",
    "score",
}


def call(id: int | str, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "the weather of a city, now",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

# What the client says; each is sent once the one before has its last message.
SCENES: dict[str, list[Any]] = {
    "generate": [call(1, "generate", prompt="Hello, how are you?")],
    "generate-without-stream": [call(1, "generate", prompt="Hello!", stream=False, max_tokens=3)],
    "conversation": [
        call("a", "generate", stream=False, messages=[
            {"role": "user", "content": "My name is Ada."},
            {"role": "assistant", "content": "Hello Ada."},
            {"role": "user", "content": "What is my name?"},
        ]),
    ],
    "batch": [
        [
            call(1, "generate", prompt="one", stream=False),
            {"jsonrpc": "2.0", "method": "status"},
            call(2, "generate", prompt="two", stream=False),
        ]
    ],
    "errors": [
        call(1, "no.such.method"),
        call(2, "generate", prompt="x", max_token=1),
        call(3, "generate", prompt="x", top_p=2),
        call(4, "generate"),
        call(5, "embed", input="x"),
        [],
    ],
    "session": [
        call(1, "generate", prompt="My name is Ada.", session="ada", stream=False),
        call(2, "generate", prompt="What is my name?", session="@last", stream=False, temperature=0.2),
        call(3, "sessions.show", session="ada"),
        call(4, "sessions.fork", session="ada", turns=1),
        call(5, "sessions.search", query="name"),
        call(6, "sessions.delete", session="ada-2"),
        call(7, "sessions.show", session="ada-2"),
        call(8, "sessions.delete", session="ada"),
    ],
    "tools": [
        call(1, "generate", prompt="Porto", session="trip", tools=[WEATHER], tool_choice="required"),
        call(2, "generate", session="trip", messages=[
            {"role": "tool", "tool_call_id": "call_1", "content": "24 degrees"},
        ]),
        call(3, "generate", session="trip", messages=[{"role": "tool", "tool_call_id": "call_1", "content": "25"}]),
        call(4, "sessions.show", session="trip"),
        call(5, "sessions.delete", session="trip"),
        call(6, "generate", stream=False, tools=[WEATHER], messages=[
            {"role": "user", "content": "How warm is it in Porto?"},
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "weather", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "24 degrees"},
        ]),
    ],
    "memory": [
        call(1, "memory.add", text="The wifi password is sesame."),
        call(2, "generate", prompt="the wifi password?", memory=True, stream=False),
        call(3, "memory.delete", note=1),
        call(4, "memory.list"),
    ],
    "models": [call(1, "models.load"), call(2, "status"), call(3, "models.unload")],
    "v1": [{"v": 1, "prompt": "Hi!", "stream": True}, {"v": 1, "prompt": "Hi!", "stream": False}, {"v": 1}],
}  # fmt: skip


def answers(wire: Wire) -> list[Any]:
    """All that the server sends for one message, up to its last one."""
    said = []
    while True:
        said.append(wire.read())
        last = said[-1]
        if isinstance(last, list) or "id" in last or last.get("eos"):
            return said


def steady(value: Any) -> Any:
    """The value without what differs between two runs."""
    if isinstance(value, dict):
        return {k: "…" if k in VOLATILE else steady(v) for k, v in value.items()}
    return [steady(item) for item in value] if isinstance(value, list) else value


def record() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, scene in SCENES.items():
        for daemon in running():
            wire, lines = daemon.wire(), []
            wire.call("models.load")
            for message in scene:
                wire.send(message)
                lines.append({"client": message})
                lines += [{"server": said} for said in answers(wire)]
            text = "".join(json.dumps(steady(line), ensure_ascii=False) + "\n" for line in lines)
            (FOLDER / f"{name}.jsonl").write_text(text)


if __name__ == "__main__":
    record()
