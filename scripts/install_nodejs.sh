#!/usr/bin/env bash
# Installs what the Node.js half and its tests need, if Node.js 20 or later is on the machine. Otherwise it says why not.
set -euo pipefail

oldest=20
cd "$(dirname "$0")/../cloud_function_nodejs"

skip() {
    echo "The Node.js half is skipped: $1"
    exit 0
}

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    skip "node or npm is not on the PATH"
fi
version=$(node --print 'process.versions.node')
if ((${version%%.*} < oldest)); then
    skip "it needs Node.js $oldest or later, and this is $version"
fi
if [[ node_modules/.package-lock.json -nt package-lock.json ]]; then
    exit 0
fi
npm ci --no-audit --no-fund || skip "npm could not install its packages"
