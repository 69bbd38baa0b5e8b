# dagster-gcf-pipes: everything a person or CI does here. `just` alone lists the recipes.

set shell := ["bash", "-euo", "pipefail", "-c"]

# `uv run just ...` tells its children where uv is; a uv on the PATH does as well.
uv := env("UV", "uv")
run := uv + " run --locked"

# what kills processes and starts whole stacks says nothing of packaging or versions: `test` runs it once
once := "--ignore=tests/faults --ignore=tests/soak --ignore=tests/integration/test_killing.py --ignore=tests/integration/test_termination.py --ignore=tests/test_local_stack.py"

_default:
    @{{ just_executable() }} --list --unsorted

# Run the example assets once against a local stack, and print what happened
[group('run')]
demo:
    {{ run }} python -m local_stack.demo

# Run the local stack with `dagster dev` until Ctrl-C
[group('run')]
dev:
    {{ run }} python -m local_stack.dev

# Measure against Dagster's stock parts, side by side, and print one table
[group('run')]
bench *arguments:
    {{ run }} python -m benchmarks {{ arguments }}

# Run every fault plan with our pair and with Dagster's stock parts, and print one table
[group('run')]
faults:
    {{ run }} python -m tests.faults

# Run the tests
[group('check')]
test *arguments:
    {{ run }} pytest {{ arguments }}

# Send so many hostile payloads to the function's entry point
[group('check')]
fuzz count="100000":
    {{ run }} python -m tests.fuzz {{ count }}

# Make runs through random faults for so many minutes, and count what went wrong
[group('check')]
soak minutes seed="":
    {{ run }} python -m tests.soak {{ minutes }} {{ seed }}

# Check style and formatting
[group('check')]
lint:
    {{ run }} ruff check .
    {{ run }} ruff format --check .
    {{ just_executable() }} --unstable --fmt --check

# Check types
[group('check')]
types:
    {{ run }} mypy

# Run the tests with the oldest direct dependencies that pyproject.toml allows
[group('check')]
test-lowest *arguments:
    UV={{ quote(uv) }} scripts/test_lowest.sh {{ arguments }}

# Build both wheels and test them in a clean environment
[group('check')]
wheels *arguments:
    {{ uv }} build --quiet --all-packages --wheel --clear --out-dir dist
    UV={{ quote(uv) }} scripts/test_wheels.sh {{ arguments }}

# All that keeps main honest
[group('check')]
ci: lint types test (wheels once) (test-lowest once)

# Format the code
[group('edit')]
fmt:
    {{ run }} ruff check --fix .
    {{ run }} ruff format .
    {{ just_executable() }} --unstable --fmt
