"""Strings come back as they were, and what cannot is refused before anything is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelarchive.store.text import MAX_PADDING, decode, encode_array

STRINGS = np.dtypes.StringDType(na_object=None)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["a", None], STRINGS), "it holds a missing value"),
        (np.array(["a\0"], np.dtypes.StringDType()), "ends in NUL"),
        (
            np.array(["x" * (MAX_PADDING // 20_000), *[""] * 40_000], STRINGS),
            "padded to its longest string it would take",
        ),
        (np.array(["\ud800"]), "surrogates not allowed"),
    ],
)
def test_what_would_not_come_back_is_refused(array: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_array(array)


@pytest.mark.parametrize(
    ("dtype", "strings", "message"),
    [
        ("U2", [b"abc"], "longer than its dtype"),
        ("S2", [b"abc"], "longer than its dtype"),
        ("str", [b"1"], "is no JSON string"),
        ("str", [b""], "Expecting value"),
        ("string", [b"\xff"], "can't decode"),
    ],
)
def test_strings_that_a_dtype_does_not_say_are_refused(dtype: str, strings: list[bytes], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(dtype, strings, (1,) if dtype[0] in "US" else ())
