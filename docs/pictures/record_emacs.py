"""Records the picture in docs/editors.md: a real Emacs in a terminal, a real daemon, a real model.

python docs/pictures/record_emacs.py MODEL.gguf        writes docs/pictures/emacs.svg; needs emacs, tmux and rich

The docs show it as Chromium draws it, emacs.png: `chromium --headless --screenshot=emacs.png --window-size=1100,620`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from screen import CODE, LINE, Screen

from tests.clients.support import EDITORS, SERVER, program
from tests.support import Daemon

INIT = """
(add-to-list 'load-path %(plugin)s)
(require 'threadrunner)
(add-hook 'prog-mode-hook #'threadrunner-mode)
(setq threadrunner-command '(%(server)s)
      threadrunner-settings '(:maxTimeMs 60000 :speculate :json-false)
      inhibit-startup-screen t make-backup-files nil server-socket-dir %(folder)s)
(menu-bar-mode -1)
(load-theme 'tango-dark t)
(dolist (face '(default line-number line-number-current-line)) ; the picture has a background of its own
  (set-face-background face "unspecified-bg"))
(global-display-line-numbers-mode 1)
(server-start)
"""


def main(model: str) -> None:
    folder = Path(tempfile.mkdtemp())
    (folder / "stats.py").write_text(CODE)
    init = folder / "init.el"
    server = " ".join(json.dumps(word) for word in SERVER)
    places = {"plugin": json.dumps(str(EDITORS / "emacs")), "server": server, "folder": json.dumps(str(folder))}
    init.write_text(INIT % places)

    def wait(condition: str) -> None:
        # Asked again and again: what waits within Emacs for an answer keeps it from working.
        lisp = f'(with-current-buffer "stats.py" (and {condition} (progn (redisplay t) t)))'
        client = [program("emacsclient"), "--socket-name", str(folder / "server"), "--eval", lisp]
        while subprocess.run(client, check=True, capture_output=True, timeout=60).stdout.strip() != b"t":
            pass

    real = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=model)
    command = f"cd {folder}; exec {program('emacs')} -nw -Q -l {init} stats.py"
    with closing(real.start()) as daemon, Screen(command, daemon.env) as screen:
        while not (folder / "server").exists():
            pass
        wait("(threadrunner--live)")
        screen.keys("M-g", "M-g", str(LINE), "Enter", "C-e", "m = me")
        wait("threadrunner--rest")
        screen.save("emacs", "Emacs")


if __name__ == "__main__":
    main(sys.argv[1])
