"""Let the model ask for a function of yours, run it here, and give it the result.

    .venv/bin/python docs/examples/call_tools.py "How warm is it in Bonn?"

Run it with the Python that ThreadRunner is installed in. ThreadRunner itself never runs anything.
"""

import json
import sys
from typing import Any

from threadrunner.client import autostart

TEMPERATURE = {
    "type": "function",
    "function": {
        "name": "temperature",
        "description": "The temperature in a city at present, in degrees Celsius",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def temperature(city: str) -> str:
    return f"12 degrees in {city}"


def ask(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """One answer: its text is printed as it comes, its calls are in the result."""
    params = {"messages": messages, "tools": [TEMPERATURE], "max_tokens": 200}
    for name, value in autostart.request("generate", params):
        if name == "token" and value.get("kind", "text") == "text":
            print(value["text"], end="", flush=True)
        elif name == "result":
            return value
    raise AssertionError("the result always comes")


def main() -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": " ".join(sys.argv[1:])}]
    for _ in range(5):  # a model may ask again and again
        answer = ask(messages)
        calls = answer.get("tool_calls", [])
        if not calls:
            break
        messages.append({"role": "assistant", "content": answer["text"], "tool_calls": calls})
        for call in calls:
            arguments = json.loads(call["function"]["arguments"])
            print(f"[{call['function']['name']} {arguments}]", file=sys.stderr)
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": temperature(**arguments)})
    print()


if __name__ == "__main__":
    main()
