"""Programs that write code, against the dummy backend and without a network of their own: run by hand, since together
they have 3 GB.

    npm install opencode-ai @continuedev/cli cline @github/copilot @openai/codex
    python tests/foreign/agents.py node_modules

Each is asked for an answer, and for one with a call of its own tool that reads a file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.foreign.running import on_dummy, run
from tests.http.served import Served

MODULES = Path(sys.argv[1] if len(sys.argv) > 1 else "node_modules").resolve()
OPENCODE = MODULES / f"opencode-linux-{'arm64' if os.uname().machine == 'aarch64' else 'x64'}" / "bin/opencode"
"""Without npm's scripts its launcher has not found this."""


class Workshop:
    """A home and a folder of work for one program, in front of a server."""

    def __init__(self, served: Served) -> None:
        self.url = served.url
        self._folder = tempfile.TemporaryDirectory()
        self.home = Path(self._folder.name)
        self.work = self.home / "work"
        self.work.mkdir()
        (self.work / "a.py").write_text("print('hi')\n")
        subprocess.run(["git", "init", "-q", "."], cwd=self.work, check=True)

    def write(self, name: str, text: str) -> None:
        file = self.home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def call(self, tool: str, **arguments: object) -> str:
        """A prompt that the dummy backend answers by this call."""
        return f"please now\n!call {tool} {json.dumps(arguments)}"

    def ask(self, command: Sequence[str | Path], prompt: str = "", env: Mapping[str, str] | None = None) -> str:
        """What it prints; the prompt on standard input."""
        around = {"PATH": os.environ["PATH"], "HOME": str(self.home), "NO_COLOR": "1", **(env or {})}
        done = subprocess.run(
            list(command), input=prompt, cwd=self.work, env=around, capture_output=True, text=True, timeout=180
        )
        return done.stdout + done.stderr

    def expect(self, said: str, word: str) -> None:
        assert "lorem ipsum" in said and word in said, said


def check_opencode(shop: Workshop) -> None:
    options = {"baseURL": f"{shop.url}/v1", "apiKey": "any"}
    provider = {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {"default": {}}}
    settings = {"provider": {"threadrunner": provider}, "model": "threadrunner/default", "autoupdate": False}
    shop.write("work/opencode.json", json.dumps(settings))
    shop.expect(shop.ask([OPENCODE, "run"], "hello"), "hello")
    shop.expect(shop.ask([OPENCODE, "run"], shop.call("read", filePath=str(shop.work / "a.py"))), "print('hi")


def check_continue(shop: Workshop) -> None:
    model = f"{{name: default, provider: openai, model: default, apiBase: '{shop.url}/v1', apiKey: any}}"
    shop.write("cn.yaml", f"name: local\nversion: 1.0.0\nschema: v1\nmodels: [{model}]\n")
    command = [MODULES / ".bin/cn", "--config", shop.home / "cn.yaml", "--allow", "Read", "-p"]
    shop.expect(shop.ask([*command, "hello"]), "hello")
    shop.expect(shop.ask([*command, shop.call("Read", filepath=str(shop.work / "a.py"))]), "print('hi")


def check_cline(shop: Workshop) -> None:
    cline = MODULES / ".bin/cline"
    shop.ask([cline, "auth", "openai-compatible", "-k", "any", "-m", "default", "-b", f"{shop.url}/v1"])
    shop.expect(shop.ask([cline, "--timeout", "90", "hello there"]), "hello")
    files = [{"path": str(shop.work / "a.py")}]
    shop.expect(shop.ask([cline, "--timeout", "90", shop.call("read_files", files=files)]), "print('hi")


def check_copilot(shop: Workshop) -> None:
    """In its three dialects."""
    openai, anthropic = f"{shop.url}/v1", shop.url
    command = [MODULES / ".bin/copilot", "--allow-all-tools", "-p"]
    prompt = shop.call("view", path=str(shop.work / "a.py"))
    for kind, wire, url in (
        ("openai", "completions", openai),
        ("openai", "responses", openai),
        ("anthropic", "completions", anthropic),
    ):
        env = {
            "COPILOT_OFFLINE": "true",
            "COPILOT_PROVIDER_BASE_URL": url,
            "COPILOT_PROVIDER_TYPE": kind,
            "COPILOT_PROVIDER_WIRE_API": wire,
            "COPILOT_PROVIDER_API_KEY": "any",
            "COPILOT_MODEL": "default",
        }
        shop.expect(shop.ask([*command, "hello"], env=env), "hello")
        shop.expect(shop.ask([*command, prompt], env=env), "print('hi")


def check_codex(shop: Workshop) -> None:
    provider = f'name = "ThreadRunner"\nbase_url = "{shop.url}/v1"\nwire_api = "responses"\n'
    settings = f'model = "default"\nmodel_provider = "threadrunner"\n[model_providers.threadrunner]\n{provider}'
    shop.write(".codex/config.toml", settings)
    command = [MODULES / ".bin/codex", "exec", "--skip-git-repo-check"]
    shop.expect(shop.ask([*command, "hello"]), "hello")
    shop.expect(shop.ask([*command, shop.call("exec_command", cmd="cat a.py")]), "print('hi")


if __name__ == "__main__":
    checks = (check_opencode, check_continue, check_cline, check_copilot, check_codex)
    sys.exit(bool(run(on_dummy(), checks, Workshop)))
