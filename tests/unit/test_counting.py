"""Numbers with their nouns."""

import pytest
from gcf_pipes._shared.counting import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 messages"), (1, "1 message"), (2, "2 messages"), (2_000, "2,000 messages")]
)
def test_the_noun_fits_the_number(number: int, text: str) -> None:
    assert counted(number, "message") == text
