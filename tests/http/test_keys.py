"""Keys with names: the file they are kept in, what they may have of a minute, and who is believed behind a proxy."""

from __future__ import annotations

import errno
import os
import stat
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import PATIENCE
from threadrunner import exits
from threadrunner.cli import arguments, commands
from threadrunner.client import named_keys
from threadrunner.client.named_keys import BadKey, NamedKey
from threadrunner.http import asking, keys, proxies
from threadrunner.http.allowance import KeyLimits
from threadrunner.http.asking import Asking
from threadrunner.http.failures import HttpFailure
from threadrunner.http.keys import Holder, Keys
from threadrunner.http.reading import Fields
from threadrunner.http.sampling import read_ours
from threadrunner.system import locks, private_files

KEY = "a-key-of-twenty-letters"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THREADRUNNER_HOME", str(tmp_path))
    monkeypatch.setenv("THREADRUNNER_SOCKET", str(tmp_path / "no.sock"))
    return tmp_path


def run(*argv: str) -> int:
    command = commands.import_command("serve")
    return int(command.run(arguments.read("serve", command, list(argv))))


def test_a_key_is_made_shown_once_and_taken_back(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        run("keys", "add", "alice", "--requests", "60", "--tokens", "9000", "--at-once", "7", "--may", "metrics")
        == exits.OK
    )
    key = capfd.readouterr().out.strip()
    file = home / "serve.keys"
    assert key.startswith("tr-") and len(key) > 30 and key not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    known = Keys(None, named_keys.file())
    assert known.asked and len(known) == 1
    holder = known.holder(key)
    assert holder and holder.name == "alice" and holder.may == {"metrics"} and known.holder(key + "x") is None
    run("keys", "list")
    shown = capfd.readouterr().out
    assert "alice" in shown and "9000" in shown and key not in shown
    assert "AT ONCE" in shown and "  7  " in shown
    assert run("keys", "revoke", "alice") == exits.OK
    assert known.holder(key) is None and known.asked, "at once, and the door does not open for all"
    assert run("keys", "revoke", "alice") == exits.USAGE and "there is no key 'alice'" in capfd.readouterr().err


def test_a_full_disk_leaves_no_empty_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be in the way of the next try."""
    opened = os.open

    def full(path: str, flags: int, mode: int) -> int:
        os.close(opened(path, flags, mode))
        return opened("/dev/full", os.O_WRONLY)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        with pytest.raises(OSError, match=r"No space left on device: .*serve\.key'"):
            keys.read("auto")
    assert keys.read("auto") == keys.read("auto")

    def never(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", never)
    with pytest.raises(OSError, match=r"No space left on device: .*serve\.keys'"):
        named_keys.add(NamedKey("ci", "2026-01-01", "x"))


def test_two_that_start_at_the_same_time_have_the_key_that_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one found the file of the first while it was empty, and refused to start."""
    arrived, second = threading.Event(), ThreadPoolExecutor(1)
    waiting: list[Future[str | None]] = []
    first = threading.get_ident()

    def read() -> str | None:
        try:
            return keys.read("auto")
        finally:
            arrived.set()

    def hold(lock: Any) -> None:
        if threading.get_ident() != first:
            arrived.set()
        held(lock)

    def written(path: str, text: str, lasting: bool = False) -> None:
        waiting.append(second.submit(read))
        assert arrived.wait(PATIENCE)
        write(path, text, lasting)

    held, write = locks.hold, private_files.write
    monkeypatch.setattr(locks, "hold", hold)
    monkeypatch.setattr(private_files, "write", written)
    key = keys.read("auto")
    assert key == waiting[0].result(PATIENCE) == (home / "serve.key").read_text().strip()


def test_names_limits_and_keys_that_cannot_be(
    home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("keys", "add", "alice")
    for name, says in (
        ("alice", "there is a key"),
        ("a b", "cannot be a name"),
        ("owner", "cannot be"),
        ("", "cannot be"),
    ):
        assert run("keys", "add", name) == exits.USAGE
        assert says in capfd.readouterr().err
    for words in (("--requests", "0"), ("--tokens", "-1"), ("--at-once", "0"), ("--may", "all")):
        with pytest.raises(arguments.UsageError):
            run("keys", "add", "bob", *words)
    assert run("keys", "add", "bob", "--from", "elsewhere") == exits.USAGE
    parts = iter([b"sh", b"ort\n", b""])
    monkeypatch.setattr("os.read", lambda _descriptor, _size: next(parts))  # pytest has taken standard input away
    assert run("keys", "add", "bob", "--from", "-") == exits.USAGE
    assert "at least 20" in capfd.readouterr().err
    assert [key.name for key in named_keys.load(named_keys.file())] == ["alice"]


def test_a_file_that_others_can_read_or_that_is_broken(home: Path) -> None:
    named_keys.add(NamedKey("alice", "2026-01-01", named_keys.digest(KEY)))
    file = home / "serve.keys"
    file.chmod(0o640)
    with pytest.raises(BadKey, match="others can read"):
        Keys(None, str(file))
    file.chmod(0o600)
    known = Keys(None, str(file))
    for text in ("{", '{"name": "x"}', '{"name": "x", "made": "", "digest": "a", "tokens": -1}', '["x"]',
                 '{"name": "x", "made": "", "digest": "a", "may": ["all"]}', '{"name": "x", "made": ""}'):  # fmt: skip
        file.write_text(text)
        with pytest.raises(BadKey, match="cannot be read"):
            Keys(None, str(file))
        assert known.holder(KEY), "one that runs goes on with what it knew"


def test_keys_by_reference(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = home / "ci.key"
    secret.write_text(f"{KEY}\n")
    secret.chmod(0o600)
    monkeypatch.setenv("CI_KEY", f"{KEY}-of-the-environment")
    run("keys", "add", "ci", "--from", f"file:{secret}")
    run("keys", "add", "env", "--from", "env:CI_KEY")
    assert KEY not in (home / "serve.keys").read_text()
    known = Keys(None, named_keys.file())
    assert known.holder(KEY) and known.holder(f"{KEY}-of-the-environment")
    assert "CI_KEY" not in os.environ, "no process that is started from here on has it"
    assert (
        keys.read(f"file:{secret}") == KEY == keys.read(KEY) and keys.read("env:CI_KEY") == f"{KEY}-of-the-environment"
    )
    with pytest.raises(BadKey, match="NO_SUCH has no key"):
        keys.read("env:NO_SUCH")
    secret.write_text("short")
    with pytest.raises(BadKey, match=r"the key of ci.*is no key.*serve keys revoke ci"):
        Keys(None, named_keys.file())
    secret.unlink()
    with pytest.raises(BadKey, match="No such file"):
        Keys(None, named_keys.file())


def test_two_that_add_at_once_lose_no_key(home: Path) -> None:
    pids = []
    for number in range(20):
        pids.append(os.fork())
        if not pids[-1]:
            try:
                named_keys.add(NamedKey(f"key{number}", "", named_keys.digest(f"{KEY}{number}")))
            finally:
                os._exit(0)
    for pid in pids:
        os.waitpid(pid, 0)
    assert len(named_keys.load(named_keys.file())) == 20


# what a key may have of a minute


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_requests_of_a_minute() -> None:
    clock = _Clock()
    limits = KeyLimits(clock)
    limits.allow(3, 0)
    assert [limits.ask() for _ in range(3)] == [None] * 3
    refused = limits.ask()
    assert refused and refused.limit == "requests" and refused.size == 3 and refused.seconds == pytest.approx(20)
    clock.now += 20
    assert limits.ask() is None and limits.ask() is not None
    clock.now += 3600
    assert [limits.ask() is None for _ in range(4)] == [True, True, True, False], "an hour saves up one minute"
    limits.allow(0, 0)
    assert limits.ask() is None


def test_tokens_are_taken_when_they_are_known() -> None:
    clock = _Clock()
    limits = KeyLimits(clock)
    limits.allow(0, 600)
    assert limits.ask() is None
    limits.used(900)  # one answer may cost more than a minute has
    refused = limits.ask()
    assert refused and refused.limit == "tokens" and refused.seconds == pytest.approx(30.1)
    limits.allow(0, 1200)
    assert limits.ask() is None
    limits.allow(0, 300)
    still = limits.ask()
    assert still and still.seconds == pytest.approx(120.2), "what was used stays used"
    clock.now += 121
    assert limits.ask() is None


def test_requests_at_once() -> None:
    limits = KeyLimits(_Clock())
    limits.allow(3, 0, 2)
    assert limits.ask() is None
    limits.began(), limits.began()
    refused = limits.ask()
    assert refused and (refused.limit, refused.size, refused.seconds) == ("at_once", 2, 1.0)
    assert limits.ask(takes_place=False) is None
    limits.allow(3, 0, 3)
    assert limits.ask() is None and limits.ask() is not None, "one that is refused takes none of the minute's"
    limits.allow(0, 0, 1)
    limits.ended()
    assert limits.ask() is not None, "what is under way stays so under another limit"
    limits.ended()
    assert limits.ask() is None


def test_a_place_is_taken_once_for_all_that_is_under_way_of_a_request() -> None:
    limits = KeyLimits(_Clock())
    limits.allow(0, 0, 1)
    now = Asking(place=limits)
    now.hold()
    now.hold()
    now.release()
    assert limits.ask() is not None
    now.release()
    assert limits.ask() is None
    now.hold()  # an answer that begins when its client has hung up already
    assert limits.ask() is not None
    now.release()
    assert limits.ask() is None


def test_what_a_key_was_charged_for() -> None:
    counted: list[tuple[str, str, int]] = []
    limits = KeyLimits(_Clock())
    limits.allow(0, 100)
    now = Asking(counted=lambda *what: counted.append(what), holder=Holder("alice", frozenset(), limits))
    now.charge(90, 80, 50)
    assert counted == [("alice", "prompt", 90), ("alice", "cached", 80), ("alice", "completion", 50)]
    assert limits.ask() is None, "60 of 100: what comes from the cache is free"
    now.charge(40, 0, 0)
    assert limits.ask() is not None and (now.prompt, now.cached, now.completion) == (130, 80, 50)


def test_conversations_and_memory_need_a_key_for_them() -> None:
    asked = [{"session": "trip"}, {"memory": True}, {"session": "@new"}]
    token = asking.CURRENT.set(Asking(holder=Holder("alice", frozenset())))
    try:
        for ours in asked:
            with pytest.raises(HttpFailure, match="'alice' is not for conversations") as failure:
                read_ours(Fields({"threadrunner": ours}))
            assert failure.value.status == 403
        assert read_ours(Fields({"threadrunner": {"mode": "code"}})) == {"mode": "code", "memory": False}
        assert read_ours(Fields({"threadrunner": {"priority": "normal"}})) == {"priority": "normal"}
        asking.CURRENT.get().holder = Holder("bob", frozenset({"conversations"}))
        for ours in asked:
            assert read_ours(Fields({"threadrunner": ours})) == ours
    finally:
        asking.CURRENT.reset(token)


# behind a proxy

NEAR = proxies.read(["10.0.0.0/8", "::1"])


@pytest.mark.parametrize(
    ("peer", "noted", "client"),
    [
        ("10.1.2.3", ["203.0.113.9"], "203.0.113.9"),
        ("10.1.2.3", ["1.1.1.1, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
        ("10.1.2.3", ["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
        ("::ffff:10.1.2.3", ["203.0.113.9:4711"], "203.0.113.9"),
        ("::1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("198.51.100.1", ["203.0.113.9"], "198.51.100.1"),
        ("unix", ["203.0.113.9"], "unix"),
        ("10.1.2.3", ["no address"], "no address"),
    ],
)
def test_who_asks_by_way_of_a_proxy(peer: str, noted: list[str], client: str) -> None:
    """Of what was noted only that counts which a proxy of ours has written."""
    assert proxies.client(NEAR, peer, noted) == client


def test_what_is_no_proxy_and_the_base() -> None:
    assert proxies.read(["unix"]).trusts("unix") and not proxies.read([]).trusts("127.0.0.1")
    for text in ("*", "proxy.example", "10.0.0.0/99", ""):
        with pytest.raises(ValueError, match="no address of a proxy"):
            proxies.read([text])
    for base, path, rest in (
        ("/llm", "/llm/v1/models", "/v1/models"), ("/llm", "/llm", "/"), ("/llm", "/llm/", "/"),
        ("/llm", "/v1/models", "/v1/models"), ("/llm", "/llmx/a", "/llmx/a"), ("", "/v1", "/v1"),
    ):  # fmt: skip
        assert proxies.below(base, path) == rest
    for path in ("llm", "/a b", "/a//b", "/é", '/"', "/a?b"):
        with pytest.raises(arguments.UsageError):
            run("--base-path", path)
