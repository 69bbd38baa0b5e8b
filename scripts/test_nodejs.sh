#!/usr/bin/env bash
# Builds, lints and tests the Node.js half. Without what it needs, it says so and does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_nodejs.sh
cd cloud_function_nodejs
if [[ ! -e node_modules/.package-lock.json ]]; then
    exit 0 # the script above has said why
fi
if ! command -v fake-gcs-server >/dev/null; then
    echo "The Node.js half is skipped: fake-gcs-server is not on the PATH: .ci/go-tools installs it"
    exit 0
fi
npm run build
npm run lint
npm test
