"""The manual page: every flag and command is in it, and troff has nothing to complain of."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from threadrunner.cli.commands.completions import rendered
from threadrunner.cli.flags import COMMANDS, FLAGS


@pytest.fixture(scope="module")
def page() -> str:
    return rendered("man")


def test_every_flag_and_command_is_there(page: str) -> None:
    plain = page.replace("\\-", "-")
    assert all(f"{long} {metavar}".rstrip() in plain for _, long, metavar, _, _ in FLAGS)
    assert all(f".SS threadrunner {name}\n{summary}" in plain for name, summary in COMMANDS.items())
    assert ".B threadrunner models show MODEL\nall that is known of one\n.RS" in plain
    assert "%(" not in page and "%%" not in page


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_troff_takes_it_without_a_warning(page: str) -> None:
    done = subprocess.run(["groff", "-man", "-ww", "-z"], input=page.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
