"""protocol/ is true: the OpenRPC document is rendered from the code, the examples replay."""

import json
import re
from pathlib import Path

import pytest

from tests.daemon.examples import FOLDER, SCENES, answers, steady
from tests.support import Daemon
from threadrunner.api import errors, openrpc
from threadrunner.api.methods import METHODS, NOTIFICATIONS

PROTOCOL = FOLDER.parent


def test_openrpc_is_in_step() -> None:
    written = (PROTOCOL / "openrpc.json").read_text()
    assert written == json.dumps(openrpc.document(), indent=2, ensure_ascii=False) + "\n", (
        "run: python -m threadrunner.api.openrpc > protocol/openrpc.json"
    )


def test_every_reference_leads_somewhere() -> None:
    document = openrpc.document()
    for target in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert target in document["components"]["schemas"]


def test_the_readme_names_every_method_notification_and_error() -> None:
    text = (PROTOCOL / "README.md").read_text()
    codes = [str(code) for code, cls in errors.BY_CODE.items() if cls not in errors.CLIENT_ONLY]
    assert [name for name in [*METHODS, *NOTIFICATIONS, *codes] if f"`{name}`" not in text] == []


def test_every_scene_is_recorded() -> None:
    assert {file.stem for file in FOLDER.glob("*.jsonl")} == set(SCENES)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.jsonl")), ids=lambda file: file.stem)
def test_examples_replay(daemon: Daemon, file: Path) -> None:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    wire = daemon.wire()
    wire.call("models.load")
    for index, line in enumerate(lines):
        if "client" not in line:
            continue
        wire.send(line["client"])
        following = (index + n for n in range(1, len(lines) - index) if "client" in lines[index + n])
        expected = lines[index + 1 : next(following, len(lines))]
        assert [{"server": steady(said)} for said in answers(wire)] == expected
