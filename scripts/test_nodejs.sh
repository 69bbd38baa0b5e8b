#!/usr/bin/env bash
# Builds, lints and tests the Node.js half. Without what it needs, it says so and does nothing.
set -euo pipefail

oldest=20

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
if ! command -v fake-gcs-server >/dev/null; then
    skip "fake-gcs-server is not on the PATH: .ci/go-tools installs it"
fi

cd "$(dirname "$0")/../cloud_function_nodejs"
npm ci --no-audit --no-fund
npm run build
npm run lint
npm test
