"""Which files are kept from the model.

Secrets and what `.threadrunnerignore` names: no suggestions in them, and they are never context for other files. What
`.gitignore` names (build output, vendored code): suggestions yes, context no. Everything stays on this machine
anyway; but a key that is in a prompt can come back as a suggestion, and be committed with it.
"""

from __future__ import annotations

import fnmatch
import os
from functools import lru_cache

from pathspec import GitIgnoreSpec

SECRET_NAMES = (
    ".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".npmrc", ".pypirc", ".htpasswd", ".pgpass", ".my.cnf",
    ".git-credentials", ".dockercfg", ".vault_pass*", ".vault-token",
    "*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.crt", "*.cer", "*.der", "*.jks", "*.keystore", "*.ppk",
    "*.asc", "*.gpg",
    "*.kdb", "*.kdbx", "*.ovpn", "*.tfstate", "*.tfstate.*", "*.tfvars", "*.mobileprovision",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "authorized_keys", "known_hosts",
    "credentials", "credentials.*", "*credentials*.json", "client_secret*.json", "service-account*.json",
    "secret", "secrets", "secret.*", "secrets.*", "*.secret", "*.secrets", "*_secret.*", "*_secrets.*",
    "*_history", ".*_history", "shadow", "gshadow",
)  # fmt: skip
SECRET_FOLDERS = (".ssh", ".aws", ".azure", ".gnupg", ".gcloud", ".kube", ".docker", ".password-store", "secrets")
TEMPLATES = (".env.example", ".env.sample", ".env.template", ".env.dist")
"""Made to be read and committed."""

OURS = ".threadrunnerignore"
GIT = ".gitignore"


def secret(path: str) -> bool:
    """Whether the file holds secrets, by its name alone: it is not opened."""
    *folders, name = path.lower().split("/")
    if name in TEMPLATES:
        return False
    return any(folder in SECRET_FOLDERS for folder in folders) or any(
        fnmatch.fnmatchcase(name, pattern) for pattern in SECRET_NAMES
    )


class Ignore:
    """Asked with absolute paths. Ignore files are read again when they change."""

    def __init__(self, roots: list[str]) -> None:
        self.roots = sorted((os.path.abspath(root) for root in roots), key=len, reverse=True)

    def root_of(self, path: str) -> str | None:
        """The innermost workspace folder that holds the file."""
        return next((root for root in self.roots if path == root or path.startswith(root.rstrip("/") + "/")), None)

    def shown_path(self, path: str) -> str:
        """The path as the model is shown it: below its workspace folder, else the file's name alone."""
        root = self.root_of(path)
        return os.path.relpath(path, root) if root else os.path.basename(path)

    def completes(self, path: str) -> bool:
        """Whether there may be suggestions in this file."""
        if not path:  # a text that is not a file has no name to judge it by
            return True
        return not secret(self._below_root(path)) and not self._listed(path, OURS)

    def shows(self, path: str) -> bool:
        """Whether text of this file may be shown to the model while another file is edited."""
        return bool(path) and self.completes(path) and not self._listed(path, GIT)

    def _below_root(self, path: str) -> str:
        """Only folders in the workspace are judged by their names: a project may itself be in a `secrets/`."""
        root = self.root_of(path)
        return os.path.relpath(path, root) if root else path

    def _listed(self, path: str, name: str) -> bool:
        """Whether the ignore files of this name, from the root down to the file's folder, name it; the last one that
        matches decides, as in git. A folder that is ignored has all that is in it ignored too."""
        root = self.root_of(path)
        if root is None:
            root = os.path.dirname(path)
        parts = os.path.relpath(path, root).split(os.sep)
        for depth in range(1, len(parts) + 1):
            here = os.sep.join(parts[:depth]) + ("/" if depth < len(parts) else "")
            ignored: bool | None = None
            for up in range(depth):
                folder = os.path.join(root, *parts[:up])
                below = os.path.relpath(os.path.join(root, here), folder) + ("/" if here.endswith("/") else "")
                verdict = _spec(folder, name, _stamp(os.path.join(folder, name))).check_file(below).include
                ignored = verdict if verdict is not None else ignored
            if ignored:
                return True
        return False


def _stamp(file: str) -> tuple[int, int] | None:
    try:
        facts = os.stat(file)
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size


@lru_cache(maxsize=512)
def _spec(folder: str, name: str, stamp: tuple[int, int] | None) -> GitIgnoreSpec:
    lines: list[str] = []
    if stamp is not None:
        try:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            lines = []
    return GitIgnoreSpec.from_lines(lines)
