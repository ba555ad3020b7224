"""The protocol without ThreadRunner's package: one JSON text a line over the Unix socket.

    python3 docs/examples/plain_socket.py "name three colours"

Other languages can do the same; only the command `threadrunner` has to be in the PATH.
"""

import json
import os
import socket
import subprocess
import sys

if sys.platform == "win32":
    sys.exit("there are no Unix sockets here; protocol/README.md has the other way in")

home = os.environ.get("THREADRUNNER_HOME") or os.path.expanduser("~/.threadrunner")
runtime = os.environ.get("XDG_RUNTIME_DIR")
default = f"{runtime}/threadrunner/daemon.sock" if runtime else f"{home}/run/daemon.sock"

subprocess.run(["threadrunner", "load"], check=True, stdout=subprocess.DEVNULL)  # starts the daemon where there is none
connection = socket.socket(socket.AF_UNIX)
connection.connect(os.environ.get("THREADRUNNER_SOCKET") or default)

request = {"jsonrpc": "2.0", "id": 1, "method": "generate", "params": {"prompt": " ".join(sys.argv[1:])}}
connection.sendall(json.dumps(request).encode() + b"\n")

for line in connection.makefile("rb"):
    message = json.loads(line)
    if message.get("method") == "token" and "kind" not in message["params"]:  # with one it is no text, but a thought
        print(message["params"]["text"], end="", flush=True)
    elif message.get("id") == 1:  # the result or the error, which comes last
        print()
        sys.exit(message["error"]["message"] if "error" in message else 0)
sys.exit("the daemon ended before it had answered")
