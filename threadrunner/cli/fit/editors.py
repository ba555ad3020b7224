"""What to write into the settings of the editors that are installed here."""

from __future__ import annotations

import json
import os
import shutil

import threadrunner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def lines(model: str) -> Iterator[tuple[str, str]]:
    """For each editor that is here, its name and the lines that set it up with this model."""
    folder = os.path.join(os.path.dirname(os.path.dirname(threadrunner.__file__)), "editors")
    if not os.path.isdir(folder):  # an installed package has no plugins beside it
        folder = "/path/to/threadrunner/editors"
    quoted = json.dumps(model)
    for program, name, text in (
        (
            "nvim",
            "Neovim, in init.lua",
            f"vim.opt.runtimepath:append('{folder}/neovim')\n"
            f"require('threadrunner').setup {{ settings = {{ model = {quoted} }} }}",
        ),
        (
            "vim",
            "Vim, in vimrc",
            f"set runtimepath^={folder}/vim\nlet g:threadrunner_settings = {{'model': {quoted}}}",
        ),
        (
            "emacs",
            "Emacs, in init.el",
            f"(add-to-list 'load-path \"{folder}/emacs\")\n(require 'threadrunner)\n"
            f"(setq threadrunner-settings '(:model {quoted}))\n(add-hook 'prog-mode-hook #'threadrunner-mode)",
        ),
        ("code", "VS Code, in settings.json", f'"threadrunner.model": {quoted}'),
        ("kak", "Kakoune, in kakrc", f"source {folder}/kakoune/threadrunner.kak"),
        ("hx", "Helix, in languages.toml", f"the lines of {folder}/helix/languages.toml"),
    ):
        if shutil.which(program):
            yield name, text
