#!/usr/bin/env bash
# Installs the built wheels in a clean environment, away from the source tree, and runs the tests against them, with the
# newest Python that is installed.
set -euo pipefail

uv="${UV:-uv}"
root="$(cd "$(dirname "$0")/.." && pwd)"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

"$uv" export --quiet --locked --no-emit-workspace --all-groups --no-group types --format requirements-txt --output-file "$scratch/requirements.txt"
"$uv" venv --quiet --python "$("$root/scripts/find_python.sh" 3.13 3.12 3.11)" "$scratch/venv"
"$scratch/venv/bin/python" --version
export VIRTUAL_ENV="$scratch/venv"
"$uv" pip install --quiet --requirements "$scratch/requirements.txt"
"$uv" pip install --quiet --no-deps "$root"/dist/*.whl

# Everything that the tests need except the two packages, so that only the installed ones can be imported.
cp -r "$root"/{tests,examples,docs,pyproject.toml,README.md} "$scratch"
rm -r "$scratch/tests/terraform" # they test files of the source tree that no wheel has
mkdir "$scratch/cloud_function"
cp -r "$root"/cloud_function/{main.py,tasks,requirements.txt} "$scratch/cloud_function"

cd "$scratch"
"$scratch/venv/bin/python" - <<'EOF'
import dagster_gcf_pipes, gcf_pipes, pathlib

for package in (dagster_gcf_pipes, gcf_pipes):
    home = pathlib.Path(package.__file__).parent
    assert home.parent.name == "site-packages", f"{package.__name__} comes from {home}, not from its wheel"
    assert (home / "py.typed").exists(), f"{package.__name__} is installed without py.typed"
EOF
"$scratch/venv/bin/python" -m pytest -q "$@"
