"""Who may import whom. The walls are what lets each process load only what it needs."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "threadrunner"

# room -> the rooms (or modules) it may import beside itself
ANYONE = {"config", "paths", "exits", ""}
MAY = {
    "wire": set(),
    "engine": set(),
    "api": {"wire"},
    "client": {"api", "wire"} | ANYONE,
    "cli": {"client", "api", "wire"} | ANYONE,
    "lsp": {"client", "api", "wire"} | ANYONE,
    "daemon": {"api", "wire", "worker.messages", "backends.base"} | ANYONE,
    "worker": {"backends", "api"} | ANYONE,
    "worker.messages": {"backends.base"},
    "backends": {"engine", "api.types", "api.errors"},
}
# Programs started in the same interpreter, at the one place where a command becomes its process.
STARTS = {"cli": {"daemon.app", "lsp.server", "lsp.once"}}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide who imports whom"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return {name.removeprefix("threadrunner").lstrip(".") for name in found if name.split(".")[0] == "threadrunner"}


def module_names() -> set[str]:
    files = [file.relative_to(ROOT).with_suffix("") for file in ROOT.rglob("*.py")]
    return {".".join(file.parts).removesuffix("__init__").rstrip(".") for file in files}


@pytest.mark.parametrize("file", sorted(ROOT.rglob("*.py")), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_stay_in_their_room(file: Path) -> None:
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    room = name.split(".")[0]
    if room not in MAY:  # __main__, config, paths, exits
        return
    allowed = MAY.get(name, MAY[room]) | {room} | STARTS.get(room, set())
    for imported in imports(file) & module_names():
        assert permitted(imported, allowed), f"{name} imports {imported}"


def permitted(imported: str, allowed: set[str]) -> bool:
    """It is allowed, lies in an allowed package, or is a package on the way to an allowed module."""
    return any(
        imported == other or imported.startswith(f"{other}.") or other.startswith(f"{imported}.") for other in allowed
    )


def test_only_the_runtime_imports_llama_cpp() -> None:
    who = {str(file.relative_to(ROOT)) for file in ROOT.rglob("*.py") if "llama_cpp" in top_level_imports(file)}
    assert who <= {"engine/runtime.py", "cli/doctor.py"}


def top_level_imports(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    plain = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {str(node.module).split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}
