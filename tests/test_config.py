"""Options: where they come from, what is refused, and that their documentation is theirs."""

from pathlib import Path

import pytest

from threadrunner import config, paths
from threadrunner.config import Config, ConfigError, load

ROOT = Path(__file__).parent.parent


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_defaults_without_a_file(file: Path) -> None:
    assert load({}, str(file)) == Config()


def test_the_environment_wins_over_the_file(file: Path) -> None:
    file.write_text('model = "a.gguf"\nkeep_alive = 60\noffline = true\n')
    got = load({"THREADRUNNER_KEEP_ALIVE": "-1", "THREADRUNNER_OFFLINE": "0"}, str(file))
    assert (got.model, got.keep_alive, got.offline) == ("a.gguf", -1.0, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("modle = 'x'", "no option is named 'modle'"),
        ("keep_alive = 'x'", "keep_alive must be of type float"),
        ("context = -1", "context must be 0 or more, not -1"),
        ("keep_alive = -2", "keep_alive must be -1 or more, not -2"),
        (f"drain = {10**400}", "drain must be below 2"),
        ("offline = 1", "offline must be of type bool"),
        ("aliases = {small = 1}", "aliases must be lines such as"),
        ("threads = true", "threads must be of type int"),
        ("= 3", "not TOML"),
        ("log = 'loud'", "'loud' is not a level"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load({}, str(file))


@pytest.mark.parametrize("value", ["soon", "nan", "-2", "1e99"])
def test_a_bad_variable_is_refused_by_name(file: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="KEEP_ALIVE"):
        load({"THREADRUNNER_KEEP_ALIVE": value}, str(file))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LOG", "loud", "'loud' is not a level; use one of debug"),
        ("ALIASES", "small", "dict, such as small=smollm2:135m"),
        ("TENSOR_SPLIT", "a", "list, such as 3,1"),
    ],
)
def test_what_a_bad_variable_may_be_is_told(file: Path, name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^THREADRUNNER_{name}.*{says}"):
        load({f"THREADRUNNER_{name}": value}, str(file))


@pytest.mark.parametrize("name", config.options())
def test_no_variable_takes_what_it_cannot_mean(file: Path, name: str) -> None:
    """A word that is a number of no kind and no level: it is a name or a path, or refused by the variable's name."""
    try:
        load({f"THREADRUNNER_{name.upper()}": "1e999"}, str(file))
    except ConfigError as error:
        assert str(error).startswith(f"THREADRUNNER_{name.upper()}")
    else:
        assert name in (*config.FILES, "backend", "devices", "adapters")


def test_values_of_variables(file: Path) -> None:
    got = load(
        {"THREADRUNNER_OFFLINE": "Yes", "THREADRUNNER_ALIASES": "a=b.gguf, c=hf:d/e", "THREADRUNNER_CONTEXT": "1_024"},
        str(file),
    )
    assert (got.offline, got.aliases, got.context) == (True, {"a": "b.gguf", "c": "hf:d/e"}, 1024)


def test_log_levels_per_module() -> None:
    levels = config.log_levels("info,threadrunner.daemon=debug")
    assert levels == {"threadrunner": 20, "threadrunner.daemon": 10}


def test_the_documentation_has_every_option() -> None:
    """docs/configuration.md's table is config.describe(), to the letter."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = [
        f"| `{name}` | `THREADRUNNER_{name.upper()}` | {kind} | `{default!r}` | {what} |"
        for name, kind, default, what in config.describe()
    ]
    assert "\n".join(rows) in text


def test_an_overlong_socket_path_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREADRUNNER_SOCKET", "/tmp/" + "x" * 200)
    with pytest.raises(paths.PathError, match="the kernel takes"):
        paths.socket_path()


def test_a_folder_that_others_can_enter_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(paths.PathError, match="chmod 700"):
        paths.private_dir(str(folder))
    assert folder.stat().st_mode & 0o777 == 0o755
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(paths.PathError, match="not a real folder"):
        paths.private_dir(str(link))
    made = paths.private_dir(str(tmp_path / "a" / "b"))
    assert Path(made).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("text", ["1", "true", "Yes", "y", "T", "ON", "enabled", " 1 "])
def test_words_for_yes(file: Path, text: str) -> None:
    assert load({"THREADRUNNER_OFFLINE": text}, str(file)).offline


@pytest.mark.parametrize("text", ["0", "false", "No", "n", "F", "OFF", "disabled"])
def test_words_for_no(file: Path, text: str) -> None:
    assert not load({"THREADRUNNER_OFFLINE": text}, str(file)).offline


@pytest.mark.parametrize("text", ["perhaps", "TRUE1", "2", "ja"])
def test_other_words_are_refused_with_those_that_are_not(file: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="THREADRUNNER_OFFLINE: expected 1, true, yes or on"):
        load({"THREADRUNNER_OFFLINE": text}, str(file))
    with pytest.raises(ConfigError, match=r"bool \(true or false, without quotes\)"):
        file.write_text(f'offline = "{text}"')
        load({}, str(file))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("threads = 100000", "threads must be at most 512, not 100000"),
        ("context = 1", "context must be 0, or 16 or more, not 1"),
        (f"context = {2**40}", "context must be at most 2147483647"),
        ("keep_alive = nan", "keep_alive must be -1 or more, not nan"),
        (f"idle_exit = -{10**400}", "idle_exit must be 0 or more"),
        ("log_days = 99999999", "log_days must be at most 36500"),
    ],
)
def test_numbers_have_a_range(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load({}, str(file))
