"""Makes each mutation in a copy of `terraform/`, and prints which tests catch it: `just terraform-mutate`.

Without Terraform on the PATH it runs what CI runs. With Terraform, run `just terraform` first. Arguments are parts of
names: then only those mutations are made.
"""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.terraform.contract import CONTRACTS, find_violations
from tests.terraform.modules import MODULES, TERRAFORM
from tests.terraform.mutations import MUTATIONS, Mutation
from tests.terraform.test_mutations import mutate


def main() -> int:
    """Return 1 if a mutation is not caught."""
    if shutil.which("terraform") and any(_native_tests_fail(TERRAFORM, module) for module in MODULES):
        raise SystemExit("Expected the native tests to pass without a mutation.\nFix: Run `just terraform`.")
    chosen = [it for it in MUTATIONS if not sys.argv[1:] or any(part in it.name for part in sys.argv[1:])]
    counts: Counter[str] = Counter()
    for mutation in chosen:
        with TemporaryDirectory() as folder:
            caught = _catching(mutation, Path(folder) / "terraform")
        counts[" and ".join(caught) or "NOTHING"] += 1
        print(f"{' and '.join(caught) or 'NOTHING':24} {mutation.name}", flush=True)
    print(", ".join(f"{part}: {count}" for part, count in counts.most_common()))
    return int("NOTHING" in counts)


def _catching(mutation: Mutation, terraform: Path) -> list[str]:
    shutil.copytree(TERRAFORM, terraform, symlinks=True)
    mutate(mutation, terraform)
    module = (terraform / mutation.file).parent
    caught = ["contract"] if find_violations(module, CONTRACTS / f"{module.name}.txt") else []
    return caught + (["native tests"] if shutil.which("terraform") and _native_tests_fail(terraform, module) else [])


def _native_tests_fail(terraform: Path, module: Path) -> bool:
    files = sorted(path.relative_to(module) for path in (module / "tests").glob("*.tftest.hcl"))
    return any(
        _terraform_test_fails(folder, file)
        for folder, file in [
            *((module, file) for file in files),
            (terraform / "examples/two", Path("tests/two.tftest.hcl")),
        ]
    )


def _terraform_test_fails(folder: Path, file: Path) -> bool:
    command = ["terraform", f"-chdir={folder}", "test", f"-filter={file}"]
    return subprocess.run(command, capture_output=True, check=False).returncode != 0


if __name__ == "__main__":
    sys.exit(main())
