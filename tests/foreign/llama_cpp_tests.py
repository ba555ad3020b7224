"""llama.cpp's own server tests against `threadrunner serve`.

    python -m tests.foreign.llama_cpp_tests TESTS_FOLDER PYTHON [PYTEST ARGUMENTS]

TESTS_FOLDER is tools/server/tests of llama.cpp, PYTHON an interpreter that has what its requirements.txt names.
Most of them expect the words of a model of 260 thousand parameters, or a start of llama-server with other options; what
is left is judged by hand (docs/http.md says how it went). The model is made here, and knows Qwen's markers.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.http.served import listening
from tests.http.test_llama import coder_daemon

KEY = "sk-this-is-the-secret-key"


def main(folder: str, python: str, *arguments: str) -> None:
    daemon = coder_daemon()
    (daemon.home / "config.toml").write_text('[aliases]\n"gpt-*" = "default"\n')
    for served in listening(daemon, *(["--key", KEY] if "unit/test_security.py" in arguments else [])):
        env = {**os.environ, "DEBUG_EXTERNAL": "1", "PORT": str(served.port), "PYTHONPATH": os.path.dirname(__file__)}
        subprocess.run(
            [python, "-B", "-m", "pytest", "-q", "-p", "llama_cpp_names", "--tb=line", "-rfE", *arguments],
            cwd=folder, env=env, check=False,
        )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
