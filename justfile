# dagster-gcf-pipes: everything a person or CI does here. `just` alone lists the recipes.

set shell := ["bash", "-euo", "pipefail", "-c"]

# the uv that the README's first command installs; else one on the PATH
uv := env("UV", if path_exists(".tools/bin/uv") == "true" { justfile_directory() / ".tools/bin/uv" } else { "uv" })
run := uv + " run --locked --group dev"

# where `demo` and `dev` write: `just --set local FOLDER dev` for another folder
local := justfile_directory() / ".local"

# where the example's tables and its input are; the function runs in a folder of its own
locations := 'JUST="' + just_executable() + '" FUNCTION=example LAKE_URI="' + local + '/lake" WEATHER_SOURCE_URI="${WEATHER_SOURCE_URI:-$PWD/examples/data/weather.csv}"'
run_example := uv + " run --locked --group demo"

# what the deployed function needs: `gcf_pipes` itself lies beside it
requirements_export := uv + " export --quiet --locked --package gcf-pipes --no-emit-project --no-default-groups --group deployed"

example := "terraform -chdir=terraform/examples/one"

# each file's tests run in one process, with one set of servers; tracebacks of pytest's own can crash it (pytest-dev/pytest#10763)
parallel := "--numprocesses 3 --dist loadfile --tb native"

# what says nothing of versions, `test` runs alone: faults, earlier commits, killed processes, whole stacks, a thousand calls, the protocol, the second emulator
versions := "tests --ignore=tests/test_reference.py --ignore=tests/faults --ignore=tests/skew --ignore=tests/features/test_daemon.py --ignore=tests/soak --ignore=tests/many/test_many_partitions.py --ignore=tests/many/test_restarts.py --ignore=tests/evict --ignore=tests/conformance --ignore=tests/cases --ignore=tests/terraform --ignore=tests/repository --ignore=tests/integration/test_killing.py --ignore=tests/integration/test_termination.py --ignore=tests/local -k 'not fake-gcs-server'"

# what says something of packaging: that all is in the wheels, and works together
packaging := "tests/unit tests/local/test_init.py tests/testing_kit tests/test_example.py tests/test_readme.py tests/integration/test_runs.py -k 'not fake-gcs-server'"

# the tests of the UI run in the first of these
browsers := "chromium chromium-browser google-chrome"

# on a busy machine a test may be too slow for its own deadlines: CI gives it a second try, and reports that
retried := "--reruns 1"

# what covers most of the code, and all the other tests: faults, killed processes, whole stacks
covering := "tests/unit tests/components tests/testing_kit tests/google tests/storage tests/channels tests/conformance tests/integration tests/local/test_init.py tests/local/test_dev.py"
others := "tests " + replace_regex(covering, '\S+', '--ignore=$0')

_default:
    @{{ just_executable() }} --list --unsorted

# Run the example's assets once against a function and an emulator on this machine, and print what happens
[group('run')]
demo:
    @echo "Installing what the demo needs; the first time takes a minute ..."
    @{{ locations }} {{ run_example }} dagster-gcf-pipes dev -- python -m examples.demo

# Run Dagster with the example, a function and an emulator on this machine until Ctrl-C; arguments are those of `dg dev`
[group('run')]
dev *arguments:
    @echo "Installing what Dagster needs; the first time takes a minute ..."
    @mkdir -p "{{ local }}/dagster_home"
    @cp examples/dagster.yaml "{{ local }}/dagster_home/"
    @{{ locations }} DAGSTER_HOME="{{ local }}/dagster_home" \
        {{ run_example }} --group webserver dagster-gcf-pipes dev -- dg dev -m examples.definitions {{ arguments }}

# Show some rows of a table of the example
[group('run')]
rows table:
    @{{ run_example }} python -c "import polars, sys; print(polars.read_delta(sys.argv[1]).tail())" "{{ local }}/lake/{{ table }}"

# Measure against Dagster's stock parts, side by side, and print one table
[group('run')]
bench *arguments:
    {{ run }} python -m benchmarks {{ arguments }}

# Run every fault plan with this package and with Dagster's own parts, and print one table
[group('run')]
faults:
    {{ run }} python -m benchmarks --only faults

# Kill Dagster's processes at 200 points of a call, start again, and print one table; arguments: `just evict --help`
[group('run')]
evict *arguments:
    {{ run }} python -m tests.evict {{ arguments }}

# Run the tests, in several processes: they mostly wait
[group('check')]
test *arguments: _nodejs-packages
    {{ run }} pytest {{ parallel }} {{ arguments }}

_nodejs-packages:
    @scripts/install_nodejs.sh

# Run some tests in this process and stop at the first failure: `just test-one tests/unit -k refuses`
[group('check')]
test-one +arguments:
    {{ run }} pytest --exitfirst {{ arguments }}

# Check what a browser shows of `just dev`, if one is installed; further arguments are pytest's
[group('check')]
ui *arguments:
    @if command -v {{ browsers }} >/dev/null; then {{ run }} --group browser pytest --tb native tests/ui {{ arguments }}; \
    else echo "The tests of the UI are skipped: there is no Chromium on the PATH"; fi

# Build, lint and test the Node.js half, if Node.js 20 or later and the emulator that it needs are on the machine
[group('check')]
nodejs:
    scripts/test_nodejs.sh

# Send so many hostile payloads to the function's entry point
[group('check')]
fuzz count="100000":
    {{ run }} python -m tests.fuzz {{ count }}

# Make runs with random faults for so many minutes, and count what went wrong
[group('check')]
soak minutes seed="":
    {{ run }} python -m tests.soak {{ minutes }} {{ seed }}

# Check style, formatting, and what each module imports
[group('check')]
lint:
    {{ run }} ruff check .
    {{ run }} ruff format --check .
    {{ run }} lint-imports
    {{ just_executable() }} --unstable --fmt --check
    {{ just_executable() }} _terraform-fmt -check -diff

# Lint the workflows of GitHub Actions
[group('check')]
workflows:
    {{ run }} zizmor --offline --quiet --persona auditor .github
    @if ! command -v actionlint >/dev/null; then echo "actionlint is skipped: it is not on the PATH"; else actionlint; fi

# Check types, and that the whole public API has them; --ignoreexternal leaves out the gaps of Flask and Dagster
[group('check')]
types:
    {{ run }} mypy
    {{ run }} --group types pyright tests/typing/api.py
    {{ run }} --group types pyright --ignoreexternal --verifytypes gcf_pipes
    {{ run }} --group types pyright --ignoreexternal --verifytypes dagster_gcf_pipes

# Run the tests with the oldest direct dependencies that pyproject.toml allows
[group('check')]
test-lowest *arguments:
    UV={{ quote(uv) }} scripts/test_lowest.sh {{ parallel }} {{ arguments }}

# Build both wheels and test them in a clean environment
[group('check')]
wheels *arguments:
    {{ uv }} build --quiet --all-packages --wheel --clear --out-dir dist
    UV={{ quote(uv) }} scripts/test_wheels.sh {{ parallel }} {{ arguments }}

# Check that the function's requirements are those of the lock, and that its archive installs and serves
[group('check')]
deployable:
    {{ requirements_export }} | diff cloud_function/requirements.txt - || { echo "just requirements fixes it"; exit 1; }
    {{ run }} python -m scripts.test_archive

# Build the documentation site, and check in Chromium that its search finds errors
[group('check')]
search:
    {{ run }} --group docs pytest tests/test_search.py

# Validate the Terraform files and run their own tests, with a mock of the provider
[group('check')]
terraform:
    for module in shared function examples/two examples/one; do \
        terraform -chdir=terraform/$module init -backend=false && terraform -chdir=terraform/$module validate || exit 1; \
    done
    for module in shared function examples/two; do terraform -chdir=terraform/$module test || exit 1; done

# Make mistakes in the Terraform files, and show which tests catch each; arguments are parts of the mistakes' names
[group('check')]
terraform-mutate *arguments:
    {{ run }} python -m tests.terraform.mutate {{ arguments }}

# All that keeps main honest
[group('check')]
ci: lint workflows types test-covering test-others test-ui test-wheels versions-lowest deployable nodejs

# Run the tests that cover most of the code, each failing one twice, and check that they do
[group('ci')]
test-covering: (test retried "--cov --cov-report=term:skip-covered --cov-fail-under=95" covering)

# Run all other tests, each failing one twice
[group('ci')]
test-others: (test retried others)

# Run the tests of the UI, each failing one twice
[group('ci')]
test-ui: (ui retried)

# Build both wheels and run the tests of what is in them
[group('ci')]
test-wheels: (wheels packaging retried)

# Run the tests that a version may break with the oldest direct dependencies; UV_PYTHON chooses the Python
[group('ci')]
versions-lowest: (test-lowest versions retried)

# Run the same tests with the locked dependencies
[group('ci')]
versions-newest: (test versions retried)

# Check all that a release needs, build its distributions, and print the commands that publish it: `just release 0.2.0`
[group('check')]
release version:
    {{ run }} python -m scripts.check_release {{ quote(version) }}

# Build the function's archive
[group('deploy')]
archive:
    {{ run }} python scripts/build_archive.py cloud_function build/function.zip

# Show what a deployment to a project would change; further arguments are Terraform's
[group('deploy')]
[positional-arguments]
plan project *arguments: archive
    {{ example }} init -input=false
    {{ example }} plan -var "project=$1" "${@:2}"

# Deploy the example to a project, after a question; further arguments are Terraform's
[group('deploy')]
[positional-arguments]
deploy project *arguments: archive
    {{ example }} init -input=false
    {{ example }} apply -var "project=$1" "${@:2}"

# Delete what was deployed to a project, after a question; further arguments are Terraform's
[group('deploy')]
[positional-arguments]
destroy project *arguments: archive
    {{ example }} init -input=false
    {{ example }} destroy -var "project=$1" "${@:2}"

# Export the function's requirements from the lock
[group('edit')]
requirements:
    {{ requirements_export }} > cloud_function/requirements.txt

# Write the errors that tests provoke into the pages that quote them: `just quotes tests/unit` writes some
[group('edit')]
quotes *arguments="tests":
    WRITE_QUOTES=1 {{ run }} pytest --quiet --tb native {{ arguments }}

# Build the documentation site into build/site; each warning fails
[group('edit')]
docs:
    {{ uv }} run --locked --group docs sphinx-build --fail-on-warning --keep-going --quiet docs build/site

# Write the screenshots of the README and the docs
[group('edit')]
screenshots: (ui "--screenshots docs/images")

# Check that the links to other sites work: it needs the network
[group('check')]
links:
    {{ uv }} run --locked --group docs sphinx-build --builder linkcheck --quiet docs build/links

# Format the code
[group('edit')]
fmt:
    {{ run }} ruff check --fix .
    {{ run }} ruff format .
    {{ just_executable() }} --unstable --fmt
    {{ just_executable() }} _terraform-fmt

_terraform-fmt *arguments:
    @if ! command -v terraform >/dev/null; then echo "terraform fmt is skipped: terraform is not on the PATH"; \
    else terraform fmt -recursive {{ arguments }} terraform; fi
