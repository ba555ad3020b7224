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

from threadrunner.lsp.suggest.naming import original_name

SECRET_NAMES = (
    ".env", ".env.*", ".env-*", ".env_*", "*.env", ".envrc*", ".flaskenv", ".dev.vars*", ".renviron*",
    ".netrc", "_netrc", ".authinfo", ".npmrc", ".pypirc", ".pgpass", "pgpass.conf", ".my.cnf", ".mylogin.cnf",
    ".htpasswd", "htpasswd", ".git-credentials", ".dockercfg", ".dockerconfigjson", "kubeconfig", "*.kubeconfig",
    ".s3cfg", ".boto", ".passwd-s3fs", ".smbcredentials", "rclone.conf", ".msmtprc", ".fetchmailrc", ".offlineimaprc",
    ".databrickscfg", ".terraformrc", "terraform.rc", "*.tfstate", "*.tfstate.*", "*.tfvars", "*.tfvars.json",
    ".vault_pass*", ".vault-token", "vault.yml", "vault.yaml", "*.vault.yml", "*.vault.yaml", "*.vault",
    "wp-config.php", "localsettings.php", "local.settings.json", "auth.json", "settings-security.xml",
    "key.properties", "keystore.properties", "signing.properties", "google-services.json", "googleservice-info.plist",
    "*firebase-adminsdk*.json", "wg?.conf", "wpa_supplicant*.conf", "*.nmconnection", "*.ovpn",
    "*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.pkcs12", "*.crt", "*.cer", "*.der", "*.jks", "*.jceks", "*.bcfks",
    "*.keystore", "*.ppk", "*.asc", "*.gpg", "*.age", "*.kdb", "*.kdbx", "*.mobileprovision",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "authorized_keys", "known_hosts",
    ".credentials", "credentials", "credentials.*", ".credentials.*", "*credentials*.json", "client_secret*.json",
    "service-account*.json", "service_account*.json", "*-service-account.json",
    ".secret", ".secrets", "secret", "secrets", "secret.*", "secrets.*", ".secret.*", ".secrets.*", "*.secret",
    "*.secrets", "*_secret.*", "*_secrets.*", "*-secret.*", "*-secrets.*",
    ".token", "token", "*.token", "token.json", "tokens.json", "password", "passwords", "password.txt",
    "passwords.txt", "passwd", "*.passwd",
    "*_history", ".*_history", "shadow", "gshadow",
)  # fmt: skip
SECRET_FOLDERS = (
    ".ssh", ".aws", ".azure", ".gnupg", ".gcloud", ".kube", ".docker", ".password-store", ".secrets", "secrets",
)  # fmt: skip
SECRET_ENDS = (
    ".gradle/gradle.properties", ".m2/settings.xml", "gh/hosts.yml", "doctl/config.yaml", ".config/hub",
)  # fmt: skip
"""Names that are secret only in their folder."""
TEMPLATES = (".example", ".sample", ".template", ".dist")
"""Ends of names that are made to be read and committed: `.env.example`."""

OURS = ".threadrunnerignore"
GIT = ".gitignore"


def secret(path: str) -> bool:
    """Whether the file holds secrets, by its name alone: it is not opened."""
    *folders, name = path.lower().split("/")
    name = original_name(name)
    if any(folder in SECRET_FOLDERS for folder in folders) or "/".join([*folders, name]).endswith(SECRET_ENDS):
        return True
    return not name.endswith(TEMPLATES) and any(fnmatch.fnmatchcase(name, pattern) for pattern in SECRET_NAMES)


class Ignore:
    """Asked with absolute paths, or with the bare name of a text that is not saved yet. Ignore files are read again
    when they change."""

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
        return not secret(self._below_root(path)) and not self._listed(path, OURS) and not self._links_to_secret(path)

    def _links_to_secret(self, path: str) -> bool:
        """Whether the file, or a folder of the workspace that it is in, is a link to what holds secrets by its name."""
        root = self.root_of(path) or os.path.dirname(path)
        try:
            true, true_root = os.path.realpath(path), os.path.realpath(root)
        except ValueError:  # a NUL, or half of a surrogate pair: no file has such a name
            return False
        below = os.path.relpath(path, root) if root else path
        if true == os.path.join(true_root, below):  # no link below the root
            return False
        return secret(os.path.relpath(true, true_root) if true.startswith(f"{true_root}{os.sep}") else true)

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
        if not root:  # a bare name
            return False
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
    except (OSError, ValueError):
        return None
    return facts.st_mtime_ns, facts.st_size


@lru_cache(maxsize=512)
def _spec(folder: str, name: str, stamp: tuple[int, int] | None) -> GitIgnoreSpec:
    lines: list[str] = []
    if stamp is not None:
        try:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except (OSError, ValueError):
            lines = []
    return GitIgnoreSpec.from_lines(lines)
