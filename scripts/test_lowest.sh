#!/usr/bin/env bash
# Runs the tests with the oldest direct dependencies that the two pyproject.toml allow, in an environment of its own, and with
# the Python that UV_PYTHON names, or the oldest that is installed.
set -euo pipefail

uv="${UV:-uv}"
cd "$(dirname "$0")/.."
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

python="${UV_PYTHON:-$(scripts/find_python.sh 3.10 3.11)}"
unset UV_PYTHON # it would send the installation below to that Python itself
"$uv" pip compile --quiet --python "$python" --resolution lowest-direct --group dev \
    --extra local --extra logging --no-emit-package gcf-pipes --no-emit-package dagster-gcf-pipes --output-file "$scratch/requirements.txt" pyproject.toml cloud_function/pyproject.toml
"$uv" venv --quiet --python "$python" "$scratch/venv"
"$scratch/venv/bin/python" --version
export VIRTUAL_ENV="$scratch/venv"
"$uv" pip install --quiet --requirements "$scratch/requirements.txt"
"$uv" pip install --quiet --no-deps --editable . --editable ./cloud_function
"$scratch/venv/bin/python" -m pytest "$@"
