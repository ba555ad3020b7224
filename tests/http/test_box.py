"""`serve` for a team: keys and their limits, the audit, TLS, readiness, and a proxy in front."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http.served import JSON, Reply, Served, listening
from tests.http.test_metrics import samples
from tests.support import PATIENCE, Daemon
from threadrunner.cli.commands import doctor_places
from threadrunner.client import named_keys
from threadrunner.client.named_keys import NamedKey
from threadrunner.http import serve
from threadrunner.http.certificate import Certificate
from threadrunner.http.sockets import CannotListen

PATH = "/v1/chat/completions"
HELLO = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}
KEYS = {name: f"{name}-key-of-the-test-suite" for name in ("alice", "bob", "carol", "watch")}
PROXIED = ["--trusted-proxy", "127.0.0.0/8", "--allow-host", "box.example", "--base-path", "/llm"]


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


@pytest.fixture(scope="module")
def box() -> Iterator[Served]:
    daemon = Daemon()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THREADRUNNER_HOME", str(daemon.home))
        digests = {name: named_keys.digest(key) for name, key in KEYS.items()}
        named_keys.add(NamedKey("alice", "2026-01-01", digests["alice"]))
        named_keys.add(NamedKey("bob", "2026-01-01", digests["bob"], requests=1))
        named_keys.add(NamedKey("carol", "2026-01-01", digests["carol"], tokens=3))
        named_keys.add(NamedKey("watch", "2026-01-01", digests["watch"], may=("metrics", "conversations")))
        yield from listening(daemon, "--audit", str(daemon.home / "audit.jsonl"), *PROXIED)


def test_keys_are_asked_for_and_the_models_are_all_that_one_reaches(box: Served) -> None:
    for headers in ({}, {"x-api-key": "alice"}, {"Authorization": "Bearer x"}):
        assert box.post(PATH, HELLO, **headers).status == 401
    assert box.post(PATH, HELLO, **bearer("alice")).status == 200
    for path, body in (
        ("/ui/api/sessions.list", {}), ("/ui/api/turn", {"prompt": "x"}), ("/metrics", None),
        (PATH, {**HELLO, "threadrunner": {"session": "mine"}}),
        ("/api/chat", {**HELLO, "threadrunner": {"memory": True}}),
    ):  # fmt: skip
        answer = box.ask("GET" if body is None else "POST", path, body, bearer("alice"))
        assert answer.status == 403 and b"not for" in answer.body, path
    assert box.post("/ui/api/sessions.list", {}, **bearer("watch")).status == 200


def test_one_key_is_over_its_limit_and_another_is_not(box: Served) -> None:
    assert [box.post(PATH, HELLO, **bearer("bob")).status for _ in range(2)] == [200, 429]
    over = box.post("/v1/messages", HELLO, **bearer("bob"))
    assert over.status == 429 and 0 < int(over.headers["retry-after"]) <= 60
    assert over.json["error"]["type"] == "rate_limit_error" and "1 requests a minute" in over.json["error"]["message"]
    assert box.post(PATH, HELLO, **bearer("alice")).status == 200
    streamed = box.post(PATH, {**HELLO, "stream": True, "max_tokens": 40}, **bearer("carol"))
    assert streamed.status == 200 and streamed.events[-1] == "[DONE]"
    over = box.post(PATH, HELLO, **bearer("carol"))
    assert over.status == 429 and "3 tokens a minute" in over.json["error"]["message"]


def test_what_keys_have_used_is_counted(box: Served) -> None:
    told = samples(box.get("/metrics", **bearer("watch")).body.decode())
    assert told['threadrunner_http_key_requests_total{key="bob",status="429"}'] == 2
    assert told['threadrunner_http_key_requests_total{key="alice",status="403"}'] == 5
    assert told['threadrunner_http_key_tokens_total{key="carol",kind="completion"}'] > 5
    assert told['threadrunner_http_key_tokens_total{key="carol",kind="prompt"}'] > 0


def noted(file: Path, *parts: str) -> str:
    """What the audit says once these are in it: a line is written when its answer has been sent."""
    end = time.monotonic() + PATIENCE
    while not file.exists() or not all(part in file.read_text() for part in parts):
        assert time.monotonic() < end, file.read_text()
    return file.read_text()


def test_the_audit_says_who_and_what_and_never_a_word(box: Served) -> None:
    asked = {"model": "default", "messages": [{"role": "user", "content": "a-secret-word"}]}
    assert box.post(f"/llm{PATH}", asked, **bearer("alice"), **{"X-Forwarded-For": "203.0.113.9"}).status == 200
    assert box.post("/v1/models?a-secret-word", asked, **{"x-api-key": "a-secret-word"}).status == 401
    file = box.daemon.home / "audit.jsonl"
    text = noted(file, '"request":"POST /v1/models","status":401', '"from":"203.0.113.9"')
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "secret" not in text and KEYS["alice"] not in text
    *_, last = (line for line in map(json.loads, text.splitlines()) if line["from"] == "203.0.113.9")
    *_, without = (line for line in map(json.loads, text.splitlines()) if line["status"] == 401)
    told = {name: last[name] for name in ("key", "from", "request", "status", "model", "completion_tokens")}
    assert told == {
        "key": "alice", "from": "203.0.113.9", "request": f"POST {PATH}", "status": 200, "model": "dummy",
        "completion_tokens": 6,
    }  # fmt: skip
    assert (without["key"], without["status"], without["from"], without["model"]) == (None, 401, "127.0.0.1", None)
    file.rename(file.with_suffix(".1"))  # as logrotate does
    assert box.get("/v1/models", **bearer("alice")).status == 200
    assert len(noted(file, "GET /v1/models").splitlines()) == 1


def test_a_key_that_is_added_or_taken_back_is_known_at_once(box: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREADRUNNER_HOME", str(box.daemon.home))
    headers = {"x-api-key": "one-more-key-of-the-suite"}
    assert box.get("/v1/models", **headers).status == 401
    named_keys.add(NamedKey("more", "", named_keys.digest(headers["x-api-key"])))
    assert box.get("/v1/models", **headers).status == 200
    named_keys.revoke("more")
    assert box.get("/v1/models", **headers).status == 401


def test_below_a_path_and_by_another_name(box: Served) -> None:
    named = {"Host": "box.example", "Accept": "text/html"}
    for path in ("/llm/", "/llm", "/"):  # the proxy may take the base off, or not
        page = box.get(path, **named)
        assert page.status == 200 and b'src="/llm/page/' in page.body, path
    manifest = box.get("/llm/manifest.webmanifest", **named).json
    assert manifest["start_url"] == manifest["scope"] == "/llm/"
    assert all(
        icon["src"].startswith("/llm/page/") and box.get(icon["src"]).status == 200 for icon in manifest["icons"]
    )
    forwarded = {"X-Forwarded-Host": "box.example", "Origin": "https://box.example"}
    assert box.post("/llm/ui/api/sessions.list", {}, **forwarded, **bearer("watch")).status == 200
    assert box.get("/llm/health", **{"X-Forwarded-Host": "evil.example"}).status == 421
    assert box.get("/llm/health", **{**forwarded, "Origin": "https://evil.example"}).status == 403


def test_ready_needs_no_key_and_no_daemon(box: Served) -> None:
    assert box.get("/ready").json == {"status": "ok"}


def ask(connection: http.client.HTTPConnection) -> Reply:
    connection.request("POST", PATH, json.dumps(HELLO), {**JSON, **bearer("alice")})
    response = connection.getresponse()
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


@pytest.fixture
def no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREADRUNNER_HOME", str(tmp_path))


def cannot(**options: Any) -> str:
    """Why a `serve` of these options does not begin."""
    with pytest.raises(CannotListen) as error:
        serve._prepared(serve.ServeOptions(port=0, **options))
    return str(error.value)


def test_a_proxy_needs_keys_and_other_words_that_do_not_fit(no_keys: None) -> None:
    assert "so it needs a key" in cannot(proxies=["127.0.0.1"])
    assert "no address of a proxy" in cannot(proxies=["all"])
    assert "add --tls-cert" in cannot(certificate_key="x")


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two certificates for localhost, each with its key."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("one", "two"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem", "-subj", f"/CN={name}",
             "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            check=True, capture_output=True,
        )  # fmt: skip
    return folder


def test_tls(box: Served, certificates: Path) -> None:
    file, key = certificates / "used.pem", certificates / "used.key"
    shutil.copy(certificates / "one.pem", file), shutil.copy(certificates / "one.key", key)
    other = Served(box.daemon, "--tls-cert", str(file), "--tls-key", str(key))
    try:
        assert other.url.startswith("https://127.0.0.1:")
        port = int(other.url.rpartition(":")[2])
        context = ssl.create_default_context(cafile=str(file))
        connection = http.client.HTTPSConnection("localhost", port, timeout=PATIENCE, context=context)
        assert ask(connection).json["choices"][0]["message"]["content"]
        connection.request("POST", PATH, json.dumps({**HELLO, "stream": True}), {**JSON, **bearer("alice")})
        assert connection.getresponse().read().endswith(b"data: [DONE]\n\n")
        assert connection.sock.version() in ("TLSv1.2", "TLSv1.3")
        connection.close()
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" not in plain.recv(99)
        assert doctor_places._says_ok(other.url) and not doctor_places._says_ok(f"http://127.0.0.1:{port}")
    finally:
        assert other.close() == 0


def test_a_renewed_certificate_is_taken_and_half_a_pair_is_not(certificates: Path) -> None:
    file, key = certificates / "renewed.pem", certificates / "renewed.key"
    shutil.copy(certificates / "one.pem", file), shutil.copy(certificates / "one.key", key)
    certificate = Certificate(str(file), str(key))
    assert _shown(certificate) == "one"
    shutil.copy(certificates / "two.pem", file)
    certificate.look()
    assert _shown(certificate) == "one"
    shutil.copy(certificates / "two.key", key)
    certificate.look()
    assert _shown(certificate) == "two"


def _shown(certificate: Certificate) -> str:
    """Whose the certificate is that a client is shown."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    ends = [
        context.wrap_bio(to_client, to_server),
        certificate.context.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    shown = ends[0].getpeercert(binary_form=True) or b""
    return "one" if b"\x03one" in shown else "two"


def test_certificates_that_cannot_be_used(no_keys: None, certificates: Path) -> None:
    one = str(certificates / "one.pem")
    locked = str(certificates / "locked.key")
    command = ["openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", f"{certificates}/one.key", "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    assert "is encrypted" in cannot(certificate=one, certificate_key=locked)
    assert "is not the key of the certificate" in cannot(certificate=one, certificate_key=str(certificates / "two.key"))
    assert "No such file" in cannot(certificate="/no/such.pem")
    assert "must be PEM files" in cannot(certificate=one)
