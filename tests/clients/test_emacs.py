"""Emacs: our package's ghost text, and eglot's completion at point, keys typed through the command loop."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.support import CASES, EDITORS, IDS, Case, clean_env, program
from tests.lsp.nursery import forked
from tests.lsp.standin import Standin

HERE = Path(__file__).parent


def run(standin: Standin, file: Path, script: str, case: Case, *more: str) -> str:
    emacs = program("emacs")
    env = clean_env(TEST_SERVER="\t".join(forked("lsp")), HOME=str(file.parent), LC_ALL="C.UTF-8")
    where = [str(file), str(case.line), str(case.column), case.keys, case.says, *more]
    # -q without --batch's usual -Q: Debian's own packages (eglot) have to be found.
    command = [emacs, "--batch", "-L", str(EDITORS / "emacs"), "-l", str(HERE / script), *where]
    done = subprocess.run(
        command, env={**env, **standin.env, **env}, capture_output=True, timeout=120, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_ghost_text_is_exact(standin: Standin, tmp_path: Path, case: Case) -> None:
    standin.says = case.answer
    file = tmp_path / "a.py"
    file.write_bytes(case.before)
    run(standin, file, "emacs_ghost.el", case)
    assert file.read_bytes() == case.after


def test_word_line_dismiss(standin: Standin, tmp_path: Path) -> None:
    case = Case("parts", "x =|\n", " ", "compute(one, two)\ny = 2")
    standin.says = case.answer
    file = tmp_path / "a.py"
    file.write_bytes(case.before)
    said = run(standin, file, "emacs_ghost.el", case, "parts")
    assert 'word: "(one, two)\ny = 2"' in said and 'line: "\ny = 2"' in said
    assert file.read_bytes() == b"x = compute(one, two)\n"
    counted = (standin.home / "suggestions.jsonl").read_text()
    assert '"taken": 1' in counted and '"word": 1' in counted


def test_undo_the_users_keys_and_a_dead_server(standin: Standin, tmp_path: Path) -> None:
    standin.says = lambda params: "lpha(beta)" if str(params["prefix"]).endswith("a") else ""
    file = tmp_path / "a.txt"
    file.write_text("x\n")
    said = run(standin, file, "emacs_keys.el", Case("", "|", "", ""))
    assert "temporary: nil" in said
    assert 'taken: "x\ny alpha(beta)"' in said and 'undone: "x\ny a"' in said and 'mine: "x\ny aUSER"' in said
    assert "deaths: 1\n" in said and "ThreadRunner: the server ended; it is started again after 0 s" in said
    (last,) = [line for line in said.splitlines() if line.startswith("deaths: ")][1:]
    assert 2 <= int(last.partition(" ")[2]) <= 4, "twenty keys are not twenty starts"
    assert len(re.findall("there is no program .nowhere.; say [(]setq threadrunner-command", said)) == 1


@pytest.mark.parametrize("case", [case for case in CASES if case.keys.isalpha()], ids=lambda case: case.name)
def test_eglot_is_exact(standin: Standin, tmp_path: Path, case: Case) -> None:
    if not list(Path("/usr/share").glob("emacs/site-lisp/elpa*/eglot-*")):
        pytest.skip("eglot is not installed (tests/clients/install_editors.sh)")
    standin.says = case.answer
    file = tmp_path / "a.py"
    file.write_bytes(case.before)
    run(standin, file, "emacs_eglot.el", case)
    assert file.read_bytes() == case.after


def test_the_package_compiles_without_a_warning(tmp_path: Path) -> None:
    """Each file in an Emacs of its own, which knows no more of the others than what the file requires."""
    sources = [
        shutil.copy(source, tmp_path) for source in (EDITORS / "emacs").glob("*.el") if "eglot" not in source.name
    ]
    assert len(sources) == 4
    strictly = ["--batch", "-L", str(tmp_path), "--eval", "(setq byte-compile-error-on-warn t)"]
    for source in sources:
        command = [program("emacs"), *strictly, "-f", "batch-byte-compile", source]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False, text=True)
        assert done.returncode == 0, done.stderr
