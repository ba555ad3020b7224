"""What `status` and `doctor` say of GPUs, by what the daemon and the engine tell them."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

import pytest

from threadrunner.cli.commands import doctor_gpus, status

GB = 10**9


def model(**facts: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("rss_bytes", "context", "active", "queued", "cached_tokens", "idle_s"), 0)
    return {"name": "m", "backend": "llama", "state": "ready", "pid": 7, **counts, "facts": facts}


DEVICE = {"name": "CUDA0", "description": "a card", "kind": "gpu", "total_bytes": 24 * GB, "free_bytes": 6 * GB}
ON_IT = model(devices=[{**DEVICE, "model_bytes": 17 * GB}], warnings=["failed to mlock 5-byte buffer"])
DAEMON = {"version": "1", "pid": 1, "uptime_s": 1, "rss_bytes": 1, "clients": 1, "backend": "llama", "model": "m"}


def test_status_has_a_line_for_what_a_model_has_of_each_gpu() -> None:
    shown = status.text({**DAEMON, "models": [ON_IT, model()]})
    assert "m: 17 GB on CUDA0 (a card), 6.0 GB of 24 GB free\n" in shown
    assert "m: failed to mlock 5-byte buffer\n" in shown
    assert shown.count("CUDA0") == 1


def test_metrics_have_it_by_device() -> None:
    lines = status.metrics({**DAEMON, "models": [ON_IT, model()]}).splitlines()
    assert 'threadrunner_model_device_bytes{model="m",backend="llama",device="CUDA0"} 17000000000' in lines


def listed(*devices: dict[str, Any]) -> str:
    return json.dumps({"devices": [{"name": "CPU", "description": "", "kind": "cpu", "free": 1, "total": 1}, *devices]})


GPU = {"name": "CUDA0", "description": "a card", "kind": "gpu", "free": 6 * GB, "total": 24 * GB}


def test_doctor_lists_those_that_the_engine_sees() -> None:
    assert [*doctor_gpus.found(listed(GPU), "1.2")] == [("ok", "gpu", "CUDA0: a card, 6.0 GB of 24 GB free")]


@pytest.mark.parametrize(
    ("sign", "flag"), [("/dev/nvidia0", "CUDA"), ("/dev/kfd", "HIP"), ("/dev/dri/renderD128", "VULKAN")]
)
def test_doctor_says_how_to_build_for_one_that_is_here(monkeypatch: pytest.MonkeyPatch, sign: str, flag: str) -> None:
    monkeypatch.setattr(doctor_gpus.this_process, "NAME", "linux")
    monkeypatch.setattr(doctor_gpus.glob, "glob", lambda pattern: [sign] if fnmatch.fnmatch(sign, pattern) else [])
    monkeypatch.setenv("THREADRUNNER_BACKEND", "llama")
    ((mark, what, text),) = doctor_gpus.found(listed(), "1.2")
    assert (mark, what) == ("note", "gpu")
    assert f'CMAKE_ARGS="-DGGML_{flag}=ON" pip install --force-reinstall' in text
    assert "llama-cpp-python==1.2" in text
    assert doctor_gpus.unused()[:2] in ("A ", "An")


def test_doctor_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_gpus.this_process, "NAME", "linux")
    monkeypatch.setattr(doctor_gpus.glob, "glob", lambda pattern: [])
    assert [mark for mark, _, _ in doctor_gpus.found(listed(), "1.2")] == ["ok"]
    assert doctor_gpus.unused() == ""


def test_an_engine_that_does_not_say() -> None:
    assert [mark for mark, _, _ in doctor_gpus.found("", "1.2")] == ["note"]
