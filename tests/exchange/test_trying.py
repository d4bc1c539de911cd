"""The sizes of free axes at which a model is read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modelarchive.errors import ConversionError
from modelarchive.exchange.trying import read_fitting
from modelarchive.nn.trials import Trial

INPUTS = [{"name": "x", "shape": ["length", 4], "dtype": "float32"}]


def reads(*fitting: int) -> Callable[[Trial], int]:
    """What reads a model that takes these lengths, and gives the length."""

    def read(trial: Trial) -> int:
        lengths = [shape[0] for shape in trial.values[0].shapes]
        if not set(lengths) <= {*fitting}:
            raise ConversionError([("Slice", f"ends at {lengths}, which are not fixed: pass inputs=")])
        return int(lengths[0])

    return read


def test_the_one_length_that_fits_is_taken() -> None:
    assert read_fitting(INPUTS, reads(6), sizes=lambda: (6,)) == 6


def test_the_longest_of_several_lengths_is_not_taken_for_the_one() -> None:
    """As a table of six positions has them, of which the file tells the six."""
    with pytest.raises(ConversionError) as caught:
        read_fitting(INPUTS, reads(1, 2, 3, 4, 5, 6), sizes=lambda: (6,))
    assert '"shape": [6' in str(caught.value.hint)
