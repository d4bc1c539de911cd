"""What another library's configuration says of the dtype, after arrays were converted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modelarchive.archive.converting import redeclare_config
from modelarchive.errors import FormatError

HALF = [np.zeros(9, np.float16), np.zeros(2), np.zeros(100, np.int64)]


def test_the_dtype_of_most_bytes_is_said_wherever_one_stands() -> None:
    config = {
        "dtype": "float32",
        "inner_config": {"torch_dtype": "bfloat16", "name": "gr\u00fcn"},
        "x": {"dtype": "kept"},
    }
    found = json.loads(redeclare_config(json.dumps(config).encode(), HALF))
    assert found == config | {"dtype": "float16", "inner_config": config["inner_config"] | {"torch_dtype": "float16"}}
    assert list(found) == list(config)


@pytest.mark.parametrize(
    "raw", [b'{"dtype":"float16"}', b'{ "a": 1 }', b'{"dtype": null}', b'{"dtype": {"a": "float32"}}', b"[]"]
)
def test_what_says_no_other_dtype_stays_as_it_is(raw: bytes) -> None:
    assert redeclare_config(raw, HALF) == raw
    assert redeclare_config(b'{"dtype": "float32"}', [np.zeros(3, np.int8)]) == b'{"dtype": "float32"}'


@pytest.mark.parametrize("raw", [b"{", b'{"dtype": "float32", "a":' + b"[" * 10000 + b"]" * 10000 + b"}"])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError, match=r"config\.json"):
        redeclare_config(raw, HALF)
