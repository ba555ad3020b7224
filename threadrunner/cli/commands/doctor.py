"""doctor: looks at everything that a prompt needs, and says what it found and what to do about it."""

from __future__ import annotations

import os
import sys

import threadrunner
from threadrunner import catalog_settings, config, exits, model_settings, paths, routes
from threadrunner.api.errors import ApiError
from threadrunner.cli import render
from threadrunner.cli.arguments import Parser
from threadrunner.cli.commands import doctor_gpus, doctor_models, doctor_places, doctor_remotes
from threadrunner.cli.commands.doctor_models import BAD, bad, note, ok
from threadrunner.cli.flags import UsageError
from threadrunner.client import autostart
from threadrunner.system import this_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator

    from threadrunner.cli.commands.doctor_models import Finding

_PYTHON = (3, 11)
_ENGINE_SECONDS = 60

# In a process of its own: a library built for another CPU ends it with a signal, which must be reported, not shared.
_ENGINE_PROBE = """
import llama_cpp
version = getattr(llama_cpp, "llama_version", bytes)
print(llama_cpp.__version__)
print(llama_cpp.llama_print_system_info().decode())
print(version().decode() if callable(version) else "", flush=True)
from threadrunner.engine.llama import devices
devices.main()
"""


def arguments(parser: Parser) -> None:
    pass


def run(_options: Namespace) -> int:
    findings: list[Finding] = []
    of_places = (doctor_places.home, doctor_places.disk, doctor_places.sessions, doctor_places.socket)
    of_models = (doctor_models.found, doctor_models.memory, doctor_models.reading, doctor_remotes.found)
    for check in (
        _python,
        _engine,
        _cores,
        _config,
        *of_places,
        doctor_places.lock,
        _daemon,
        doctor_places.served,
        *of_models,
    ):
        for finding in _findings(check):
            findings.append(finding)
            mark, what, text = finding
            render.out(f"{mark:5}{what}: {text}\n")
    failed = [what for mark, what, _ in findings if mark == BAD]
    if not failed:
        render.put(1, "All is well.\n")
        return exits.OK
    render.put(1, f"{len(failed)} of {len(findings)} checks failed: {', '.join(failed)}\n")
    return exits.MODEL if set(failed) <= {"model", "engine"} else exits.UNKNOWN


def _findings(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What it finds, and as one more finding why it could not look any further: the other checks go on."""
    try:
        yield from check()
    except (BrokenPipeError, GeneratorExit):
        raise
    except (ApiError, UsageError, paths.PathError) as error:
        yield bad(check.__name__.strip("_"), str(error))
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        yield bad(check.__name__.strip("_"), f"{where}{error.strerror}; change that, or set THREADRUNNER_HOME")


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _PYTHON:
        yield bad("python", f"{version}; threadrunner needs 3.11 or newer")
    yield ok("python", f"{version} ({sys.executable}), threadrunner {threadrunner.__version__}")


def _engine() -> Iterator[Finding]:
    import subprocess

    if (backend := doctor_models.options().backend) != "llama":
        yield note("engine", f"not looked at: the backend is {backend}")
        return
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _ENGINE_PROBE],
            capture_output=True,
            text=True,
            timeout=_ENGINE_SECONDS,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        yield bad("engine", f"importing llama_cpp took more than {_ENGINE_SECONDS} s; is the disk or the machine busy?")
        return
    if done.returncode < 0 and done.stdout:
        yield bad(
            "gpu",
            f"the driver of a GPU ended the process with signal {-done.returncode}; mend the driver, or set "
            "`gpu_layers = 0`, and no model asks for one",
        )
    elif done.returncode < 0:
        yield bad(
            "engine",
            f"importing llama_cpp ended with signal {-done.returncode}: it was built for another CPU; build it here: "
            "pip install --force-reinstall --no-cache-dir --no-binary llama-cpp-python llama-cpp-python",
        )
    elif done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield bad("engine", f"cannot import llama_cpp ({last}); run: pip install --force-reinstall llama-cpp-python")
        if not any(map(_installed, ("c++", "g++", "clang++"))):
            yield bad(
                "compiler",
                "no C++ compiler found; llama.cpp is built from source when it is installed. Run: apt install g++",
            )
    else:
        version, features, build, listed = (*done.stdout.strip().splitlines(), "", "", "")[:4]
        yield ok("engine", f"llama-cpp-python {version}{build and f' (llama.cpp {build})'}; {features.strip(' |')}")
        yield from doctor_gpus.found(listed, version)


def _installed(tool: str) -> bool:
    return any(os.access(os.path.join(folder, tool), os.X_OK) for folder in os.get_exec_path())


def _cores() -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    total = os.cpu_count() or usable
    load = this_process.load()
    text = f"{usable} of {total} logical cores may be used" if usable < total else f"{total} logical cores"
    yield ok("cores", text)
    if load > 1.5 * usable:
        yield note("cores", f"other programs are using the CPU (load {load:.1f}); answers will be slower")
    threads = doctor_models.options().threads
    if threads > usable:
        yield note(
            "threads",
            f"{threads} are configured for {usable} cores, which is slower than {usable} would be: they wait for each "
            "other in every layer; `threads = 0` chooses the right number",
        )


def _config() -> Iterator[Finding]:
    try:
        loaded = config.load()
    except config.ConfigError as error:
        yield bad("config", str(error))
        return
    faults = [*_of_models(loaded), *routes.faults(loaded), *catalog_settings.faults(loaded)]
    yield from (bad("config", fault) for fault in faults)
    if faults:
        return
    file = paths.config_file()
    yield ok("config", file if os.path.exists(file) else f"all defaults, there is no {file}")


def _of_models(loaded: config.Config) -> Iterator[str]:
    found = list(model_settings.faults(loaded))
    yield from found
    if loaded.models and not found:  # what has one fault would be told twice
        from threadrunner import model_defaults  # only now: it imports the types of all params

        yield from model_defaults.faults(loaded)


def _daemon() -> Iterator[Finding]:
    try:
        connection = autostart.find()
        if connection is None:
            yield ok("daemon", "none is running; the first prompt starts one")
            return
        facts = connection.call("status", {})
    except ApiError as error:
        yield bad("daemon", error.message)
        return
    loaded = render.counted(len(facts["models"]), "model")
    yield ok("daemon", f"version {facts['version']}, pid {facts['pid']}, {loaded} loaded")
    if facts["version"] != threadrunner.__version__:
        yield note("daemon", f"it has version {facts['version']}; an older one is replaced by the next prompt")
    for model in facts["models"]:
        if model.get("error"):
            yield bad("model", f"{model['name']}: {model['error']}")
