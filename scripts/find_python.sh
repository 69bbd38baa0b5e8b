#!/usr/bin/env bash
# Prints the path of the first of some Python versions that is installed here, by pyenv or on the PATH: find_python.sh 3.10 3.11
set -euo pipefail

for version in "$@"; do
    for python in "$(pyenv root 2>/dev/null || true)"/versions/"$version".*/bin/python "$(command -v "python$version" || true)"; do
        if [[ -x "$python" ]] && "$python" --version >/dev/null 2>&1; then
            echo "$python"
            exit
        fi
    done
done
command -v python3
