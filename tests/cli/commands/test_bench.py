"""`threadrunner bench` measures, whatever the backend; what it finds is for a quiet machine and not for a test."""

import json

from tests.shell import Shell


def test_every_figure_is_there(shell: Shell) -> None:
    done = shell.run("bench", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["model"] == "dummy"
    assert [(figure["what"].split(",")[0], figure["unit"]) for figure in found["figures"]] == [
        ("load", "ms"),
        ("first token", "ms"),
        ("prefill", "tok/s"),
        *[("decode", "tok/s")] * 3,
    ]
    assert all(figure["value"] > 0 for figure in found["figures"])
    assert "decode, 8 clients" in shell.run("bench").stdout
