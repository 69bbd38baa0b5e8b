#!/usr/bin/env bash
# Runs the tests with the oldest direct dependencies that the two pyproject.toml allow, in an environment of its own, and with
# the oldest Python if there is one.
set -euo pipefail

uv="${UV:-uv}"
cd "$(dirname "$0")/.."
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

"$uv" pip compile --quiet --resolution lowest-direct --group dev --no-emit-package gcf-pipes \
    --output-file "$scratch/requirements.txt" pyproject.toml cloud_function/pyproject.toml
python="$("$uv" python find --no-python-downloads 3.10 2>/dev/null || "$uv" python find)"
"$uv" venv --quiet --python "$python" "$scratch/venv"
"$scratch/venv/bin/python" --version
export VIRTUAL_ENV="$scratch/venv"
"$uv" pip install --quiet --requirements "$scratch/requirements.txt"
"$uv" pip install --quiet --no-deps --editable . --editable ./cloud_function
"$scratch/venv/bin/python" -m pytest "$@"
