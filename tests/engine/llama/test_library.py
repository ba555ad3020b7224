"""How llama_cpp is entered: its low-level module alone, and an honest package for a later import."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import sys
import threadrunner.backends.llama
watched = ("llama_cpp", "numpy", "jinja2", "llguidance", "jsonschema")
ours = {name for name in sys.modules if name.split(".")[0] in watched}
import llama_cpp
print(*sorted(name for name in ours if name.count(".") < 2 and name.split(".")[0] != "jinja2"))
print(llama_cpp.Llama.__name__, llama_cpp.llama_decode is sys.modules["llama_cpp.llama_cpp"].llama_decode)
"""


def test_a_backend_loads_the_c_functions_and_neither_numpy_nor_the_high_level_api() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    modules, package = done.stdout.splitlines()
    assert modules.split() == ["llama_cpp._ctypes_extensions", "llama_cpp.llama_cpp"]
    assert package == "Llama True"
