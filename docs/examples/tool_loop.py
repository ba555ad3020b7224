"""A tool loop around the command line: the model asks for calls, this program makes them and gives the results.

    python3 docs/examples/tool_loop.py "how many lines has README.md?"

ThreadRunner itself never calls anything: which functions there are, and what they may do, is up to you. Only the
command `threadrunner` has to be in the PATH.
"""

import json
import subprocess
import sys
import tempfile
from typing import Any

ROUNDS = 8  # a small model may call for ever


def count_lines(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return str(sum(1 for _ in file))


FUNCTIONS = {"count_lines": count_lines}
TOOLS = [
    {
        "name": "count_lines",
        "description": "How many lines a text file has",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    }
]


def ask(*arguments: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The calls of an answer, and the whole result."""
    # Standard input is ours, not the prompt's.
    done = subprocess.run(
        ["threadrunner", "--json", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode:
        sys.exit(events[-1]["message"] if events else done.returncode)
    return [event for event in events if event["event"] == "call"], events[-1]


def made(call: dict[str, Any]) -> str:
    """The call's result. What goes wrong is told to the model, which may try again."""
    try:
        return FUNCTIONS[call["name"]](**call["arguments"])
    except (KeyError, TypeError, OSError, ValueError) as error:
        return f"error: {error!r}"


def main() -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as tools:
        json.dump(TOOLS, tools)
        tools.flush()
        # @new begins a conversation: it keeps the tools, and the calls that wait for results.
        calls, result = ask("-S", "@new", "--tools", tools.name, *sys.argv[1:])
    for _ in range(ROUNDS):
        if not calls:
            break
        for call in calls:
            print(f"[{call['name']} {call['arguments']}]", file=sys.stderr)
        results = [f"--result={call['id']}={made(call)}" for call in calls]
        calls, result = ask("-S", result["session"], *results)
    print(result["text"])


if __name__ == "__main__":
    main()
