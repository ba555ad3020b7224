"""Who may import whom. The walls are what lets each process load only what it needs."""

from __future__ import annotations

import ast
import functools
import graphlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "threadrunner"

COMMON = {
    "activation", "catalog_settings", "config", "exits", "learning", "machine", "model_defaults", "model_settings",
    "paths", "processes", "remote_keys", "remote_settings", "routes", "system", "threadrunner",
}  # fmt: skip
"""Modules that every process may use; `threadrunner` is the package itself, for its version."""

# A package, or a module where it differs from its package -> what it may import beside itself.
MAY_IMPORT: dict[str, set[str]] = {
    "activation": set(),
    "exits": set(),
    "machine": {"system"},
    "paths": {"system"},
    "processes": {"system"},
    "config": {"paths"},
    "catalog_settings": {"config"},
    "model_settings": {"config"},
    "model_defaults": {"api", "config", "model_settings"},
    "routes": {"config"},
    "remote_settings": {"config", "syntax"},
    "remote_keys": {"paths", "remote_settings", "system"},
    "syntax": set(),
    "system": set(),
    "learning": {"config", "paths", "system"},
    "wire": set(),
    "api": {"wire"},
    "client": {"api", "wire", *COMMON},
    "cli": {"client", "api", "wire", *COMMON},
    "cli.commands": {"cli", "client", "api", "wire", *COMMON},
    "cli.chat": {"cli", "client", "api", "wire", *COMMON},
    "lsp.suggest": {"client", "api", "syntax", *COMMON},
    "lsp.learning": {"lsp.suggest", "learning", "syntax", *COMMON},
    "lsp": {"client", "api", "syntax", "wire", *COMMON},
    "http": {"client", "api", "syntax", "wire", *COMMON},
    "cluster": {"http", "client", "api", *COMMON},
    "daemon.gguf": {"api", "system"},
    "daemon.models": {
        "daemon.gguf", "api", "catalog_settings", "config", "model_defaults", "paths", "remote_settings", "system",
    },
    "daemon.downloads": {"daemon.gguf", "daemon.models", "api", "system"},
    "daemon.conversations": {"api", "system"},
    "daemon.workers": {
        "daemon.gguf", "daemon.models", "worker.messages", "worker.vitals", "backends.base", "api", *COMMON,
    },
    "daemon.methods": {
        "daemon.conversations", "daemon.downloads", "daemon.gguf", "daemon.live_config", "daemon.models",
        "daemon.tally", "daemon.workers",
        "api", *COMMON,
    },
    "daemon": {"api", "wire", *COMMON},
    "worker": {"backends", "api", *COMMON},
    "worker.messages": {"backends.base", "api.chat", "api.names"},
    "worker.vitals": {"system.files"},
    "backends": {"engine", "api", "syntax", *COMMON},
    "backends.base": {"api"},
    "engine": set(),
    "engine.constraints": {"engine.llama.errors", "system.alarms"},
    "engine.drafting": set(),
    "engine.kv": {"engine.llama", "engine.pictures", "engine.scheduler", "engine.sequence"},
    "engine.llama": {"engine.constraints", "system.c_library"},
    "engine.prompts": {"engine.llama", "engine.errors", "engine.pictures", "syntax"},
    "engine.tools": set(),
}  # fmt: skip

# Programs that are started in the same interpreter, where a command becomes its process.
STARTS = {
    "cli.commands.daemon": {"daemon.begin"},
    "cli.commands.lsp": {"lsp.server", "lsp.once"},
    "cli.commands.serve": {"http.serve"},
    "cli.commands.cluster": {"cluster.launcher", "cluster.report", "cluster.settings"},
    "cluster.leashed": {"daemon.begin"},
}


@functools.cache
def modules() -> dict[str, Path]:
    """Dotted names below the package, without its own name, to files; the package itself is `threadrunner`."""
    files = {file.relative_to(ROOT).with_suffix(""): file for file in ROOT.rglob("*.py")}
    return {".".join(name.parts).removesuffix("__init__").rstrip(".") or "threadrunner": f for name, f in files.items()}


@functools.cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imports(file: Path) -> set[str]:
    """Our modules that a file imports, anywhere in it: at its top, in functions, under TYPE_CHECKING."""
    found: set[str] = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide who imports whom"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole.removeprefix("threadrunner.") in modules() else str(node.module))
    ours = {name for name in found if name.split(".")[0] == "threadrunner"}
    return {name.removeprefix("threadrunner.") for name in ours}


def rule_for(name: str) -> str:
    """The nearest entry of MAY_IMPORT: the module's own, else its package's."""
    while name and name not in MAY_IMPORT:
        name = name.rpartition(".")[0]
    return name


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_look_down(name: str) -> None:
    rule = rule_for(name)
    if not rule:
        assert name in ("threadrunner", "__main__"), f"{name} has no place in MAY_IMPORT"
        return
    allowed = MAY_IMPORT[rule] | {rule} | STARTS.get(name, set())
    for imported in imports(modules()[name]):
        assert any(inside(imported, other) for other in allowed), f"{name} imports {imported}"


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {name: imports(file) for name, file in modules().items()}
    assert len(graph) > 100
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, whose text is the circle


def test_each_rule_is_about_something() -> None:
    for rule, others in MAY_IMPORT.items():
        for name in {rule, *others}:
            assert any(inside(module, name) for module in modules()), f"there is no {name}"


def c_functions(file: Path) -> set[str]:
    """Names of llama.cpp's functions that a file's code uses."""
    names = {node.attr for node in ast.walk(tree(file)) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree(file)) if isinstance(node, ast.Name)}
    return {name for name in names if name.startswith(("llama_", "ggml_"))} - {"llama_cpp"}


def test_only_one_package_calls_the_c_library() -> None:
    callers = {name: used for name, file in modules().items() if (used := c_functions(file))}
    assert len(set().union(*callers.values())) > 40
    assert {name for name in callers if not inside(name, "engine.llama")} == set()


def names_llama_cpp(file: Path) -> Iterator[str]:
    """Where a file imports llama_cpp, or names it in a string, as importlib has it."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "llama_cpp")
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "llama_cpp":
            yield str(node.module)
        elif isinstance(node, ast.Constant) and node.value == "llama_cpp":
            yield node.value


def test_only_the_library_imports_llama_cpp() -> None:
    assert {name for name, file in modules().items() if any(names_llama_cpp(file))} == {"engine.llama.library"}


OF_ONE_SYSTEM = {"fcntl", "msvcrt", "resource", "pwd", "grp", "winreg", "_winapi"}
"""Modules of the standard library that some system lacks, and that no module outside `system` may need."""

LINUX_ALONE = {"worker.confine", "worker.landlock", "cluster.leashed", "cluster.nodes"}
"""What a worker gives up: the kernel's own interfaces, which no other system has anything like. And processes of Ray's,
which has clusters on Linux only."""


def asks_the_system(file: Path) -> Iterator[str]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in OF_ONE_SYSTEM)
        elif isinstance(node, ast.ImportFrom) and node.module in OF_ONE_SYSTEM:
            yield str(node.module)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.platform", "os.name", "socket.AF_UNIX"):
            yield ast.unparse(node)


def test_only_one_room_knows_which_system_it_is() -> None:
    asking = {name for name, file in modules().items() if any(asks_the_system(file))}
    assert {name for name in asking if not inside(name, "system")} == LINUX_ALONE


def test_a_class_name_means_one_thing() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for name, file in modules().items():
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_files_and_functions_stay_small() -> None:
    long_files = {
        name: count for name, file in modules().items() if (count := len(file.read_text().splitlines())) > 330
    }
    assert long_files == {}
    functions = {
        f"{name}.{node.name}": node.end_lineno - node.lineno + 1
        for name, file in modules().items()
        for node in ast.walk(tree(file))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno
    }
    assert {name: lines for name, lines in functions.items() if lines > 50} == {}
