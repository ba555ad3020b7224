"""Runs transcripts/*.txt: what is typed after `$ ` is run by bash, what it shows (both streams) must follow.

Each file is one visit: a new home, no daemon at first. `[N]` ends what a command shows when its exit code is N, not 0.
To add a case, write the commands into a file.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shell import Shell

FILES = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_transcript(shell: Shell, file: Path) -> None:
    shown = []
    for line in file.read_text().splitlines():
        if line.startswith("#"):
            shown.append(line)
        elif line.startswith("$ "):
            output = shell.bash(f'{line[2:]}\ncode=$?; [ $code = 0 ] || echo "[$code]"')
            shown += [line, *output.replace(str(shell.folder), "~").splitlines()]
    assert "\n".join(shown) == file.read_text().rstrip("\n")
