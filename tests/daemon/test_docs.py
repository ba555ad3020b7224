"""Every command that README.md and docs/ show is run, in order, in a home of each document's own: it must succeed."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from tests.shell import Shell

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "protocol" / "README.md"]

NETWORK = "fetches from the network"
TERMINAL = "needs a terminal"
ANOTHER = "needs a server on another machine; tests/cli/commands/test_remotes.py has one"
NOT_RUN = {
    "threadrunner models pull hf:": NETWORK,
    "threadrunner -m hf:": NETWORK,
    "threadrunner models rm hf:": "removes what an earlier line fetches",
    "threadrunner -m ollama:": "needs a model of Ollama's",
    "threadrunner models show --template smollm2": "needs a model that is fetched",
    "threadrunner chat": TERMINAL,
    "threadrunner status --watch": "goes on until it is interrupted",
    "threadrunner status --metrics >": "writes to a folder of the system's",
    "threadrunner --schema": "the dummy backend knows no schemas",
    "threadrunner --grammar": "nor grammars",
    "threadrunner --vote": "it gives one answer; tests/cli/test_choosing.py has several",
    "threadrunner --n": "likewise",
    "threadrunner setup": TERMINAL,
    "threadrunner models search": NETWORK,
    "threadrunner -m qwen3:4b": NETWORK,
    "threadrunner serve": "goes on until it is interrupted; tests/http starts it",
    "threadrunner completions": "writes to the user's own folders",
    "cat notes.txt | threadrunner rerank": "needs a reranker",
    "threadrunner rerank": "needs a reranker; tests/cli/test_rerank.py has one",
    "threadrunner cluster": "starts Ray; tests/cluster does",
    "threadrunner service": "changes the user's service manager",
    "threadrunner remotes": ANOTHER,
    "threadrunner -m remote:": ANOTHER,
}
"""By how a line begins, and why it is not run."""

PREPARED = """
git init -q . && git -c user.name=n -c user.email=e commit -q --allow-empty -m first
echo "a letter" | tee letter.txt code.py > notes.txt && git add letter.txt && echo "changed" > letter.txt
echo '[{"name": "weather"}]' > tools.json
echo iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg== |
  base64 -d | tee photo.png > other.png
touch model.gguf && threadrunner load
"""


def commands(document: Path) -> list[str]:
    """Of the indented lines, those that run `threadrunner`, without what is said beside them."""
    found = []
    for line in document.read_text().splitlines():
        if match := re.match(r"    (?:\$ )?((?:.*[|] *)?threadrunner (?:[^ ].*)?)$", line):
            said = re.match(r"""(?:"[^"]*"|'[^']*'|\S| (?! ))+""", match[1])
            assert said, line
            found.append(said[0].strip())
    return found


def why_not(command: str) -> str:
    return next((reason for start, reason in NOT_RUN.items() if command.startswith(start)), "")


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if commands(d)], ids=lambda d: str(d.relative_to(ROOT)))
def test_every_command_that_is_shown_succeeds(document: Path) -> None:
    with contextlib.closing(Shell()) as shell:
        shell.bash(PREPARED)
        for command in commands(document):
            if not why_not(command):
                said = shell.bash(f'{command}\necho "exit code $?"')
                assert said.endswith("exit code 0\n"), f"{command}: {said}"


def test_the_table_has_no_line_that_no_document_shows() -> None:
    shown = [command for document in DOCUMENTS for command in commands(document)]
    assert len(shown) > 30
    for start in NOT_RUN:
        assert any(command.startswith(start) for command in shown), start
