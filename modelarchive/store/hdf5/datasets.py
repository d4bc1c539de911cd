"""The object headers of a file's datasets, one after another: those that differ in an address only, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from modelarchive.store.hdf5.checksum import checksums, checksums_of_rows
from modelarchive.store.hdf5.headers import ADDRESS, CHECKSUM, UNDEFINED, Header

#: So many headers alike are worth a table.
_WORTH_TABLE: Final = 256


class Datasets:
    """The headers of datasets in the order of the file.

    Args:
        headers: One for each dataset; those that are alike may be the same object.

    Attributes:
        lengths: Bytes of each header.
    """

    def __init__(self, headers: Sequence[Header]) -> None:
        self._rows: dict[Header, list[int]] = {}
        for at, header in enumerate(headers):
            self._rows.setdefault(header, []).append(at)
        self._headers = headers
        known = {header: header.nbytes for header in self._rows}
        self.lengths = [known[header] for header in headers]

    def contents(self, addresses: Sequence[int | None]) -> list[bytes] | None:
        """Each header without its checksum; None where many are alike, and :meth:`sealed` makes them faster.

        Args:
            addresses: Where each dataset's bytes, or the tree of its chunks, lie; None: it has none.
        """
        if any(len(rows) >= _WORTH_TABLE for rows in self._rows.values()):
            return None
        return self._at(range(len(addresses)), _numbers(addresses))

    def sealed(self, addresses: Sequence[int | None]) -> bytes:
        """All headers with their checksums."""
        numbers = _numbers(addresses)
        begins = np.cumsum(self.lengths) - self.lengths
        found = np.zeros(sum(self.lengths), np.uint8)
        single: list[int] = []
        for header, rows in self._rows.items():
            if len(rows) < _WORTH_TABLE:
                single += rows
                continue
            # Each window of the file that a header fills, as a row.
            windows = np.lib.stride_tricks.sliding_window_view(found, header.nbytes, writeable=True)
            windows[begins[rows]] = _table(header, numbers[rows])
        contents = self._at(single, numbers)
        for at, content, seal in zip(single, contents, checksums(contents), strict=True):
            whole = content + seal.to_bytes(CHECKSUM, "little")
            found[begins[at] : begins[at] + len(whole)] = np.frombuffer(whole, np.uint8)
        return found.tobytes()

    def _at(self, rows: Sequence[int], numbers: np.ndarray) -> list[bytes]:
        """Some of the headers, with their addresses."""
        places = numbers.tobytes()
        return [self._headers[at].at(places[ADDRESS * at : ADDRESS * (at + 1)]) for at in rows]


def _numbers(addresses: Sequence[int | None]) -> np.ndarray:
    # Minus one has all bits of the address that is none.
    return np.array([-1 if at is None else at for at in addresses], "<i8")


def _table(header: Header, addresses: np.ndarray) -> np.ndarray:
    """One header after another, which differ in their addresses: shape (headers, bytes)."""
    template = np.frombuffer(header.at(UNDEFINED) + bytes(CHECKSUM), np.uint8)
    rows = np.repeat(template[None], len(addresses), axis=0)
    begin = len(header.before)
    rows[:, begin : begin + ADDRESS] = addresses[:, None].view(np.uint8)
    rows[:, -CHECKSUM:] = checksums_of_rows(rows[:, :-CHECKSUM]).astype("<u4")[:, None].view(np.uint8)
    return rows
