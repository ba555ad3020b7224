"""The table of commands and the files that declare them."""

from __future__ import annotations

import pytest

from threadrunner.cli import commands
from threadrunner.cli.arguments import Parser
from threadrunner.cli.flags import COMMANDS, PROCESSES
from threadrunner.cli.request import as_defaults


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_a_file_of_its_name(name: str) -> None:
    command = commands.import_command(name)
    parser = Parser(prog=name)
    command.arguments(parser)
    assert callable(command.run)
    assert f"usage: {name}" in parser.format_help()


def test_programs_of_their_own_are_commands() -> None:
    assert set(PROCESSES) <= set(COMMANDS)


@pytest.mark.parametrize(
    ("model", "backend", "sent"),
    [
        (None, None, {"default_model": "m", "default_backend": "b", "offline": True}),
        ("m", None, {"model": "m", "default_backend": "b", "offline": True}),
        ("m", "b", {"model": "m", "backend": "b", "offline": True}),
    ],
)
def test_the_environment_gives_way_to_a_conversation(
    model: str | None, backend: str | None, sent: dict[str, object]
) -> None:
    assert as_defaults({"model": "m", "backend": "b", "offline": True}, model, backend) == sent
