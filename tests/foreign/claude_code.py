"""Claude Code against the dummy backend, without a network: run by hand, since the program has 240 MB.

npm install @anthropic-ai/claude-code && python tests/foreign/claude_code.py node_modules/.bin/claude
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.foreign.running import on_dummy, run
from tests.http.served import Served

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "claude"


def ask(served: Served, prompt: str, *options: str) -> dict[str, Any]:
    """What the program says at its end."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "a.py").write_text("print('hi')\n")
        env = {"PATH": os.environ["PATH"], "HOME": home, "ANTHROPIC_BASE_URL": served.url, "ANTHROPIC_API_KEY": "any"}
        command = [os.path.abspath(PROGRAM), "-p", prompt.replace("HOME", home), "--output-format", "json", *options]
        done = subprocess.run(
            command, cwd=home, env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
        )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def check_an_answer(served: Served) -> None:
    told = ask(served, "hello", "--tools", "")
    assert not told["is_error"] and told["result"].endswith("hello."), told
    assert told["usage"]["output_tokens"] > 5


def check_a_tool_round(served: Served) -> None:
    told = ask(served, 'please\n!think about it\n!call Read {"file_path": "HOME/a.py"}', "--tools", "Read")
    assert told["num_turns"] == 2 and "print('hi" in told["result"], told


def check_all_its_tools(served: Served) -> None:
    told = ask(served, "hello")
    assert not told["is_error"] and told["result"].endswith("hello."), told


def check_what_it_asked(served: Served) -> None:
    """No request of it was one that we do not know."""
    exposed = served.get("/metrics").body.decode()
    counted = [line for line in exposed.splitlines() if line.startswith("threadrunner_http_requests_total")]
    print("\n".join(counted))
    assert not any('status="404"' in line or 'status="500"' in line for line in counted)


if __name__ == "__main__":
    checks = (check_an_answer, check_a_tool_round, check_all_its_tools, check_what_it_asked)
    sys.exit(bool(run(on_dummy(), checks, lambda served: served)))
