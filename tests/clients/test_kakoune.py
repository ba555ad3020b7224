"""Kakoune without a screen: our commands, keys executed, the file compared."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.clients.support import CASES, EDITORS, Case, clean_env, program
from tests.lsp.nursery import forked
from tests.lsp.standin import Failure, Standin

# Kakoune ends every file with a line end, and an empty buffer is one empty line.
CASES_HERE = [case for case in CASES if case.end == "\n"]


def run(standin: Standin, folder: Path, commands: str) -> None:
    command = shlex.join(forked()).replace("'", "''")
    script = f"""
source '{EDITORS / "kakoune" / "threadrunner.kak"}'
set-option global threadrunner_command '{command}'
edit '{folder / "a.py"}'
{commands}
write
quit
"""
    done = subprocess.run(
        [program("kak"), "-n", "-ui", "dummy", "-e", script],
        env={**clean_env(), **standin.env, "LC_ALL": "C.UTF-8", "XDG_RUNTIME_DIR": str(folder), "TMPDIR": str(folder)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.glob("threadrunner.*")) == [], "what was written for the server is gone"


@pytest.mark.parametrize("case", CASES_HERE, ids=[case.name for case in CASES_HERE])
def test_accepting_is_exact(standin: Standin, tmp_path: Path, case: Case) -> None:
    standin.says = case.answer
    file = tmp_path / "a.py"
    file.write_bytes(case.before)
    keys = case.keys.replace("<", "<lt>").replace("'", "''")
    at = f"{case.line + 1}.{case.column + 1}"
    run(
        standin,
        tmp_path,
        f"select {at},{at}\nexecute-keys 'i{keys}<a-;>: threadrunner-suggest<ret><a-;>: threadrunner-accept<ret><esc>'",
    )
    expected = case.after if case.after.endswith(b"\n") else case.after + b"\n"
    assert file.read_bytes() == expected


def test_a_dash_a_large_file_and_an_undo(standin: Standin, tmp_path: Path) -> None:
    """`-` began a switch of `info`; a text of 128 KiB did not fit into a variable; and `u` took what was typed."""
    standin.says = lambda params: "-1"
    large = "y = 'é😀'\n" * 20_000
    (tmp_path / "a.py").write_text(large)
    run(standin, tmp_path, "execute-keys 'gjOx = <a-;>: threadrunner-suggest<ret><a-;>: threadrunner-accept<ret><esc>'")
    assert (tmp_path / "a.py").read_text().endswith("\nx = -1\ny = 'é😀'\n")
    params = standin.of()[-1].params
    assert params["prefix"].endswith("'é😀'\nx = ") and params["suffix"] == "\ny = 'é😀'\n"
    (tmp_path / "a.py").write_text("y\n")
    run(standin, tmp_path, "execute-keys 'Ox = <a-;>: threadrunner-suggest<ret><a-;>: threadrunner-accept<ret><esc>u'")
    assert (tmp_path / "a.py").read_text() == "x = \ny\n"


def test_what_is_wrong_is_shown(standin: Standin, tmp_path: Path) -> None:
    standin.says = lambda params: Failure(-32009, "NotSupported", "the model's vocabulary has no tokens for it")
    (tmp_path / "a.py").write_text("y\n")
    said = f"echo -to-file '{tmp_path / 'said'}' -- %opt{{threadrunner_problem}}"
    run(standin, tmp_path, f"execute-keys 'Ox = <a-;>: threadrunner-suggest<ret><esc>'\n{said}")
    assert (tmp_path / "said").read_text().strip() == "threadrunner: the model's vocabulary has no tokens for it"


def test_nothing_is_inserted_where_it_was_not_suggested(standin: Standin, tmp_path: Path) -> None:
    standin.says = lambda params: "1"
    (tmp_path / "a.py").write_text("y\n")
    run(standin, tmp_path, "execute-keys 'Ox = <a-;>: threadrunner-suggest<ret>2<a-;>: threadrunner-accept<ret><esc>'")
    assert (tmp_path / "a.py").read_text() == "x = 2\ny\n"
