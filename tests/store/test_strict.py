"""JSON from strangers: what leaves its bounds is refused, and said."""

from __future__ import annotations

import pytest

from modelarchive.errors import FormatError
from modelarchive.store.strict import MAX_DIGITS, MAX_LEVELS, document, document_object


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": -Infinity}', "-Infinity is no JSON number"),
        ('{"a": 1e999}', "1e999 is larger than any number"),
        (f'{{"a": {"1" * (MAX_DIGITS + 1)}}}', f"has {MAX_DIGITS + 1} digits, expected at most {MAX_DIGITS}"),
        (f'{{"a": {"[" * (MAX_LEVELS + 1)}{"]" * (MAX_LEVELS + 1)}}}', "nested too deeply"),
        ('{"a": 1, "a": 1}', "a key stands twice"),
        ("[1]", "is list, expected an object"),
        ('{"a": 1', "the file"),
    ],
)
def test_what_is_out_of_bounds_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        document_object(text, what="the file", strict=True)


def test_what_is_within_them_is_read() -> None:
    number = int("9" * MAX_DIGITS)
    deep = "[" * MAX_LEVELS + "]" * MAX_LEVELS
    assert document(f'[{number}, 1e308, "NaN"]', what="it", strict=True) == [number, 1e308, "NaN"]
    assert document(deep, what="it", strict=True)
    assert document('{"a": 1, "a": 2}', what="it", strict=False) == {"a": 2}
