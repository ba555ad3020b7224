"""Ask from Python: finds the daemon, starts it if needed, prints the answer as it is written.

    .venv/bin/python docs/examples/ask.py "name three colours"

Run it with the Python that ThreadRunner is installed in. Leaving the loop early cancels the request.
"""

import sys

from threadrunner.api.errors import ApiError
from threadrunner.client import autostart


def main() -> int:
    params = {"prompt": " ".join(sys.argv[1:]), "max_tokens": 200}
    try:
        for name, value in autostart.request("generate", params):
            if name == "token" and "kind" in value:  # what it thinks, or a call: docs/examples/tool_loop.py
                continue
            if name == "token":
                print(value["text"], end="", flush=True)
            elif name == "progress":  # loading or downloading a model, or reading a long prompt
                print(f"{value['stage']}: {value['done']} of {value['total']}", file=sys.stderr)
            else:  # "result" comes once, last
                print()
                print(f"[{value['model']}: {value['usage']['completion_tokens']} tokens]", file=sys.stderr)
    except ApiError as error:  # its class says which error it is; the text says what to do
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
