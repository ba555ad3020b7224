"""Records the picture in docs/editors.md: a real VS Code in Chromium, a real daemon, a real model.

python docs/pictures/record_vscode.py MODEL.gguf        writes docs/pictures/vscode.png

Needs what tests/clients/install_editors.sh installs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.clients.support import EDITORS
from tests.clients.vscode import GHOST, VSCode
from tests.support import Daemon

CODE = '''"""Small statistics."""

from math import sqrt


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def variance(values: list[float]) -> float:
    

def deviation(values: list[float]) -> float:
    return sqrt(variance(values))
'''  # noqa: W293


def main(model: str) -> None:
    folder = Path(tempfile.mkdtemp()) / "statistics"
    folder.mkdir()
    file = folder / "stats.py"
    file.write_text(CODE)
    extension = EDITORS / "vscode"
    subprocess.run(["npm", "run", "package"], cwd=extension, check=True)
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=model).start()
    settings = {"editor.minimap.enabled": False, "editor.wordBasedSuggestions": "off"}
    window = VSCode(extension / "dist" / "threadrunner.vsix", folder, daemon.env, settings)
    try:
        window.browser.press("Control+B")
        window.open(file, 10, 4)
        window.wait_status("sparkle")
        window.browser.type("return ")
        print(window.browser.wait(GHOST, "a suggestion"))
        (HERE / "vscode.png").write_bytes(window.browser.picture())
    finally:
        window.close()
        daemon.close()


if __name__ == "__main__":
    main(sys.argv[1])
