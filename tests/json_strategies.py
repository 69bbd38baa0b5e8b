"""Hypothesis strategies for JSON."""

from typing import Any

from hypothesis import strategies as st


def join_surrogates(text: str) -> str:
    """Join each surrogate pair to the character it means: JSON cannot tell the two apart."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def json_values_of(
    texts: st.SearchStrategy[str],
    numbers: st.SearchStrategy[Any] = st.integers() | st.floats(allow_nan=False, allow_infinity=False),  # noqa: B008 - immutable
) -> st.SearchStrategy[Any]:
    """JSON values made of these texts and numbers."""
    return st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )


any_text = st.text(st.characters(exclude_categories=()) | st.sampled_from("\0\n\r\x85\u2028\ud800\udc00"), max_size=20)
"""Text with every code point, lone surrogates among them."""

json_texts = any_text.map(join_surrogates)
json_values = json_values_of(json_texts)
json_objects = st.dictionaries(json_texts, json_values, max_size=5)
