"""Kakoune without a screen: our commands, keys executed, the file compared."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.clients.support import CASES, EDITORS, SERVER, Case, clean_env, program
from tests.lsp.standin import Standin

# Kakoune ends every file with a line end, and an empty buffer is one empty line.
CASES_HERE = [case for case in CASES if case.end == "\n"]


@pytest.mark.parametrize("case", CASES_HERE, ids=[case.name for case in CASES_HERE])
def test_accepting_is_exact(standin: Standin, tmp_path: Path, case: Case) -> None:
    standin.says = case.answer
    file = tmp_path / "a.py"
    file.write_bytes(case.before)
    command = shlex.join(SERVER[:-1]).replace("'", "''")
    keys = case.keys.replace("<", "<lt>").replace("'", "''")
    script = f"""
source '{EDITORS / "kakoune" / "threadrunner.kak"}'
set-option global threadrunner_command '{command}'
edit '{file}'
select {case.line + 1}.{case.column + 1},{case.line + 1}.{case.column + 1}
execute-keys 'i{keys}<a-;>: threadrunner-suggest<ret><a-;>: threadrunner-accept<ret><esc>'
write
quit
"""
    done = subprocess.run(
        [program("kak"), "-n", "-ui", "dummy", "-e", script],
        env={**clean_env(), **standin.env, "LC_ALL": "C.UTF-8", "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = case.after if case.after.endswith(b"\n") else case.after + b"\n"
    assert file.read_bytes() == expected
