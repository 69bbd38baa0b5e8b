"""The code of docs/testing.md runs as it stands there, as the files that its first lines name."""

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "testing.md"


def test_the_examples_of_the_docs_pass(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n# (\S+)\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == DOCS.read_text().count("```") / 2
    for name, code in blocks:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "--quiet"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert re.search(rf"^{sum(code.count('def test_') for _, code in blocks)} passed", result.stdout, re.M), (
        result.stdout
    )
