"""lookup3 of many pieces at once, against the one of the fuzzer, which follows HDF5's own source."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelarchive.store.hdf5.checksum import checksums, checksums_of_rows
from tests.hostile.hdf5_structures import checksum


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_each_piece_has_the_checksum_it_has_alone(pieces: list[bytes]) -> None:
    assert checksums(pieces) == [checksum(piece) for piece in pieces]


def test_known_values() -> None:
    # From the comments of lookup3.c.
    assert checksums([b"", b"Four score and seven years ago"]) == [0xDEADBEEF, 0x17770551]


@given(st.integers(1, 60), st.integers(1, 5), st.randoms(use_true_random=False))
def test_rows_have_the_checksums_that_pieces_have(length: int, count: int, random: Random) -> None:
    rows = np.frombuffer(random.randbytes(count * length), np.uint8).reshape(count, length)
    assert checksums_of_rows(rows).tolist() == [checksum(bytes(row)) for row in rows]
