"""The strict decoder: equal to the standard one where both take a text, and never a surprise."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketplace.api import strict_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_plain_comes_through_unchanged(value: object) -> None:
    assert strict_json.parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_refusal(body: bytes) -> None:
    try:
        value = strict_json.parse(body)
    except strict_json.BadJson:
        return
    assert not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"a": 1, "a": 2}', "twice"),
        (b"NaN", "NaN"),
        (b"-Infinity", "Infinity"),
        (b"1e999", "out of range"),
        (b"1" * 5000, "digits"),
        (b'"\\u0000"', "NUL"),
        (b'{"\\ud800": 1}', "surrogate"),
        (b"\xff", "UTF-8"),
        (b"[" * 200 + b"]" * 200, "nested"),
        (b"[" * 100_000, "nested"),
        (b"{", "line 1"),
    ],
)
def test_each_refusal_says_what_is_wrong(body: bytes, word: str) -> None:
    with pytest.raises(strict_json.BadJson, match=word):
        strict_json.parse(body)
