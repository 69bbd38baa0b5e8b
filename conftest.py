"""Makes the code blocks of the documentation tests."""

from tests.code_blocks import collect

pytest_collect_file = collect("README.md", "docs/*.md", "docs/*/*.md", "cloud_function/README.md").pytest()
