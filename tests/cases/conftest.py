"""The cases are plain functions in modules of their own: their assertions say what they compare, as those of tests."""

import pytest

from tests.cases import AREAS

pytest.register_assert_rewrite(*(f"tests.cases.{area}" for area in AREAS))
