"""Any command line, any configuration: an exit code of the table, a line for what is wrong, never a traceback."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.shell import Shell
from threadrunner import config
from threadrunner.cli import arguments, commands, flags, stdin, transcript
from threadrunner.cli.flags import UsageError

pytestmark = pytest.mark.slow


CODES = {0, 1, 2, 3, 4, 64, 130}

odd_numbers = st.sampled_from(
    ["1e10", "1e308", "-1", "nan", "inf", "0", "1", "99999999999999999999", "9" * 5000, "1_0", "0x1", ""]
)  # fmt: skip
names = st.sampled_from([name for flag in flags.FLAGS for name in flag[:2] if name and name not in ("-h", "--help")])
words = st.text(st.characters(blacklist_characters="\0"), max_size=12)
glued = st.builds(lambda name, value: f"{name}={value}", names, odd_numbers | words)
command_lines = st.lists(names | odd_numbers | words | glued | st.sampled_from(["-", "--", "-x"]), max_size=6)


@settings(deadline=None, max_examples=300)
@given(command_lines)
def test_flags(argv: list[str]) -> None:
    try:
        options = flags.read(argv)
    except UsageError as error:
        assert str(error)
        return
    assert options.timeout is None or 0 < options.timeout <= flags.DAY
    assert options.max_tokens is None or 0 <= options.max_tokens < 2**31


of_commands = st.sampled_from(
    ["--json", "-n", "-S", "--at", "--watch", "--turns", "-f", "--print", "--ready-fd", "list", "show", "import", "rm"]
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(flags.COMMANDS)), st.lists(of_commands | names | odd_numbers | words, max_size=6))
def test_arguments_of_commands(name: str, argv: list[str]) -> None:
    try:
        arguments.read(name, commands.import_command(name), [word for word in argv if word not in ("-h", "--help")])
    except UsageError as error:
        assert str(error)


values = (
    st.booleans() | st.floats() | st.text(max_size=8) | st.integers() | st.sampled_from([10**19, -(10**400), 2**63])
)  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "config.toml"


def loads(file: Path, environ: dict[str, str]) -> None:
    try:
        got = config.load(environ, str(file))
        config.mode_tables(str(file))
    except config.ConfigError as error:
        assert str(error) and len(str(error)) < 1000
        return
    assert 0 <= got.threads <= 512 and got.drain >= 0


def as_toml(value: Any) -> str:
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
    return str(value).lower() if isinstance(value, bool | float) else str(value)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from([*config.Config._fields, "modes", "x y"]), values, max_size=4))
def test_values_in_the_file(file: Path, table: dict[str, Any]) -> None:
    file.write_text("".join(f'"{name}" = {as_toml(value)}\n' for name, value in table.items()))
    loads(file, {})


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_a_file_of_anything(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    loads(file, {})


@pytest.mark.parametrize("text", ["a = " + "[" * 10_000, "a = " + "9" * 5000, "[" + "a." * 5000 + "b]", "x" * 100_000])
def test_a_file_of_too_much(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(config.ConfigError):
        config.load({}, str(file))


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(config.Config._fields), odd_numbers | words, max_size=4))
def test_variables(file: Path, variables: dict[str, str]) -> None:
    file.write_bytes(b"")
    loads(file, {f"THREADRUNNER_{name.upper()}": value for name, value in variables.items()})


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60), st.text(max_size=60), st.recursive(values, lambda inner: st.lists(inner, max_size=3)))
def test_input(data: bytes, text: str, value: Any) -> None:
    for attempt in (
        lambda: stdin.decode(data, "it"),
        lambda: transcript.read(text, "x"),
        lambda: transcript.read(f'{{"threadrunner": 1, "session": {{}}, "turns": {as_json(value)}}}', "x"),
        lambda: transcript.read(f"---\nname: {text}\n---\n## User\n\nx\n", "x"),
    ):
        try:
            attempt()
        except UsageError as error:
            assert str(error)


def as_json(value: Any) -> str:
    import json

    return json.dumps(value)


QUIET = [
    "sessions",
    "memory",
    "models",
    "modes",
    "status",
    "load",
    "unload",
    "remember",
    "completions",
    "logs",
    "service",
]
ENDLESS = ("-f", "--follow", "--watch", "install", "uninstall", "pull")
# Bytes as they are in arguments: those that are no UTF-8 too.
raw = st.binary(min_size=1, max_size=8).map(lambda data: data.replace(b"\0", b"?")) | words.map(
    lambda word: word.encode("utf-8", "replace")
)
lines = st.tuples(
    st.sampled_from(["", "", "", *QUIET]),
    st.lists(raw | (names | odd_numbers | of_commands).map(str.encode), max_size=4),
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines, st.binary(max_size=8) | st.none())
def test_whole_processes(busy_shell: Shell, line: tuple[str, list[bytes]], input: bytes | None) -> None:
    command, rest = line
    args: list[Any] = [command] if command else ["--backend", "dummy", "-n", "2"]
    args += [word for word in rest if not word.decode("utf-8", "replace").startswith(ENDLESS)]
    if args[0] not in QUIET and any(word in (b"--timeout", b"--version") for word in args):
        return
    done = busy_shell.run(*args, input=input)
    assert done.returncode in CODES, (args, done)
    assert "Traceback" not in done.stderr and "a defect" not in done.stderr, (args, done)
    assert done.stderr == "" or done.stderr.startswith("threadrunner: "), (args, done)
    if done.returncode:
        assert done.stderr.count("\n") == 1, (args, done)


def test_tomllib_is_the_one_we_know() -> None:
    """config._read names all that it raises."""
    assert issubclass(tomllib.TOMLDecodeError, ValueError)
