"""The tables [remotes.NAME]: what they may have, where keys are kept; names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from threadrunner import config, remote_keys, remote_settings
from threadrunner.config import Config, ConfigError
from threadrunner.daemon.workers import launch
from threadrunner.remote_keys import KeyMissing
from threadrunner.remote_settings import RemoteModel, RemoteSettings, find, parse

URL = "https://box.example/v1"


def table(**options: Any) -> RemoteSettings:
    return find(Config(remotes={"box": {"url": URL, **options}}), "box")


def test_a_table_and_its_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[remotes.box]\nurl = "{URL}/"\nallow = ["prompt", "history"]\n[remotes.other]\nurl = 3\n')
    known = config.load({}, str(file))  # a mistake in one spoils no other
    found = find(known, "box")
    assert (found.url, found.host, found.key, found.models) == (URL, "box.example", "", ())
    assert (found.allow, table().allow) == (("prompt", "history"), ("prompt",))
    problems = [str(one) for one in remote_settings.every(known) if isinstance(one, ConfigError)]
    assert len(problems) == 1
    assert "[remotes.other]" in problems[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "box.example"}, "it needs a url"),
        ({"url": "ftp://box.example"}, "it needs a url"),
        ({"url": "https://"}, "it needs a url"),
        ({"url": "https://[::1"}, "cannot be read"),
        ({"url": "https://box:99999/v1"}, "cannot be read"),
        ({"url": "https://key@box.example/v1"}, "no key, password or question"),
        ({"url": "https://box.example/v1?key=x"}, "no key, password or question"),
        ({"url": "http://93.184.216.34/v1"}, "use https"),
        ({"key": "sk-pasted-by-mistake"}, "never the key"),
        ({"key": "env:"}, "never the key"),
        ({"key": "env:BOX"}, "ending in KEY"),
        ({"key": "file:keys/box"}, "full path"),
        ({"key": 3}, "key must be a text"),
        ({"models": "m"}, "models must be a list"),
        ({"models": [""]}, "models must be a list"),
        ({"allow": ["everything"]}, "allow knows no 'everything'; it may be prompt, history"),
        ({"dialect": "klingon"}, "dialect knows no 'klingon'; it may be openai"),
        ({"fim": "gpt"}, "fim knows no 'gpt'"),
        ({"read_timeout": -1}, "read_timeout must be"),
        ({"read_timeout": True}, "read_timeout must be"),
        ({"ulr": "x"}, "no option 'ulr'; it may have url"),
    ],
)
def test_a_bad_table_is_refused_with_its_place(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=r"\[remotes\.box\]") as refused:
        table(**options)
    assert says in str(refused.value)
    assert "sk-pasted" not in str(refused.value)


def test_bad_names_and_tables_that_are_none() -> None:
    for name, value in (("", {}), ("a/b", {"url": URL}), ("x" * 65, {"url": URL}), ("box", 3)):
        with pytest.raises(ConfigError, match="remote"):
            find(Config(remotes={name: value}), name)
    with pytest.raises(ConfigError, match="there are: box"):
        find(Config(remotes={"box": {}}), "bax")


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.3", "192.168.1.9", "[::1]", "[fd00::1]", "localhost", "box.lan"])
def test_http_in_our_own_network(host: str) -> None:
    """What a name leads to is looked at when it is asked."""
    assert table(url=f"http://{host}:8080/v1").url


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("remote:box/a/b:c", RemoteModel("box", "a/b:c")),
        ("remote:box", RemoteModel("box")),
        ("smollm2:135m", None),
        ("hf:a/b", None),
    ],
)
def test_names(name: str, model: RemoteModel | None) -> None:
    assert parse(name) == model
    assert model is None or str(model) == name


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THREADRUNNER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_key_in_a_file_is_private_and_replaced_whole(home: Path) -> None:
    remote = table(key="file")
    with pytest.raises(KeyMissing, match="remotes login box"):
        remote_keys.read(remote)
    for key in ("sk-1", "sk-2"):
        assert remote_keys.store(remote, key) == f"in {home}/keys/box"
        assert remote_keys.read(remote) == key
    file = home / "keys" / "box"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert list(file.parent.iterdir()) == [file]
    file.chmod(0o640)
    with pytest.raises(KeyMissing, match="chmod 600"):
        remote_keys.read(remote)
    other = table(key=f"file:{home}/elsewhere")
    remote_keys.store(other, "sk-3")
    assert (home / "elsewhere").read_text() == "sk-3\n"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("false", "exit code 1"),
        ("true", "prints nothing"),
        ("/no/such/program", "cannot be run"),
        ("sh -c 'echo \"two words\"'", "cannot be one"),
        ("'", "cannot be run"),
    ],
)
def test_a_command_that_gives_no_key(command: str, says: str) -> None:
    with pytest.raises(KeyMissing, match=says) as missing:
        remote_keys.read(table(key=f"command:{command}"))
    assert "two words" not in str(missing.value)


def test_a_command_has_no_shell_and_its_first_line_counts() -> None:
    assert remote_keys.read(table(key="command:printf 'sk-$HOME\\nmore'")) == "sk-$HOME"


def test_a_variable_is_taken_so_that_no_process_inherits_it() -> None:
    known = Config(remotes={"box": {"url": URL, "key": "env:BOX_TEST_KEY"}, "odd": 3})
    environ = {"BOX_TEST_KEY": "sk-1", "OTHER": "x"}
    remote_keys.take_from_environment(remote_settings.environment_names(known), environ)
    assert environ == {"OTHER": "x"}
    assert remote_keys.read(find(known, "box")) == "sk-1"
    with pytest.raises(KeyMissing, match="NEVER_SET_KEY is not set"):
        remote_keys.read(table(key="env:NEVER_SET_KEY"))


def test_a_worker_begun_ahead_has_no_secret_that_could_be_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is begun before config.toml is read: what a table may name is what is kept from it."""
    for name in ("BOX_API_KEY", "box_token", "A_SECRET", "MY_PASSWORD"):
        assert remote_settings.is_secret(name)
        monkeypatch.setenv(name, "x")
        assert name not in launch._environment(launch.AHEAD)
        assert name in launch._environment("a-plugin")
    assert "PATH" in launch._environment(launch.AHEAD)


def test_a_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    kept: dict[tuple[str, str], str] = {}
    fake = types.ModuleType("keyring")
    fake.get_password = lambda service, name: kept.get((service, name))  # type: ignore[attr-defined]
    fake.set_password = lambda service, name, key: kept.update({(service, name): key})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", fake)
    remote = table(key="keyring")
    with pytest.raises(KeyMissing, match="remotes login box"):
        remote_keys.read(remote)
    assert remote_keys.store(remote, "sk-1") == "in the keyring"
    assert (remote_keys.read(remote), kept) == ("sk-1", {("threadrunner", "box"): "sk-1"})

    def locked(*_: str) -> str:
        raise RuntimeError("sk-1 is locked")

    fake.get_password = locked  # type: ignore[attr-defined]
    with pytest.raises(KeyMissing, match="does not answer") as missing:
        remote_keys.read(remote)
    assert "sk-1" not in str(missing.value)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(KeyMissing, match="pip install keyring"):
        remote_keys.read(remote)


@pytest.mark.parametrize("key", ["", "env:A_KEY", "command:true"])
def test_a_key_that_is_kept_elsewhere_cannot_be_stored(key: str) -> None:
    with pytest.raises(KeyMissing, match='Set key = "file"'):
        remote_keys.store(table(key=key), "sk-1")
