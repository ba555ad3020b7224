"""Neovim, the language server, the daemon and a real model: the whole way from a key to the file."""

from __future__ import annotations

import json
from pathlib import Path

from tests.clients.nvim import Nvim
from tests.clients.support import program
from tests.support import Daemon

BEFORE = b"def add(a, b):\n    \n\n\nprint(add(1, 2))\n"


def test_what_is_shown_is_what_is_saved(qwen_coder: Path, tmp_path: Path) -> None:
    program("nvim")  # or this is skipped, and with it the end of the daemon
    daemon = Daemon(THREADRUNNER_BACKEND="llama", THREADRUNNER_MODEL_PATH=str(qwen_coder))
    file = tmp_path / "a.py"
    file.write_bytes(BEFORE)
    editor = Nvim(tmp_path, daemon.start().env, file, {"settings": {"speculate": False, "maxTokens": 24}})
    try:
        editor.insert_at(1, 4)
        editor.keys("return")
        editor.wait("require('threadrunner.ghost').text(0) ~= nil", "a suggestion")
        shown = json.loads(editor.lua("vim.json.encode(require('threadrunner.ghost').text(0))"))
        assert "a" in shown and "b" in shown
        editor.keys("<Tab><Esc>:w<CR>")
        editor.wait("not vim.bo.modified and vim.fn.mode() == 'n'", "saved")
        assert file.read_bytes() == BEFORE.replace(b"    \n", f"    return{shown}\n".encode(), 1)
        editor.quit()
    finally:
        editor.close()
        daemon.close()
