"""A GGUF file taken apart into its keys and tensors, one of them changed, and put together again."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from typing import Final

from tests.exchange.gguf import wire
from tests.hostile.mutators import NUMBERS
from tests.hostile.readers.words import WORDS

_WIDTHS: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


@dataclass
class Parts:
    """What a file consists of.

    Attributes:
        pairs: Key, type and value as bytes, of each of the metadata.
        tensors: Name, sizes, type and offset of each.
        data: What stands behind the header.
    """

    pairs: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    tensors: list[tuple[bytes, tuple[int, ...], int, int]] = field(default_factory=list)
    data: bytes = b""

    def file(self) -> bytes:
        """All of it as a file again."""
        pairs = [wire.text(key) + struct.pack("<I", kind) + value for key, kind, value in self.pairs]
        return wire.whole(pairs, [wire.info(*each) for each in self.tensors], self.data)


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 4

    def take(self, nbytes: int) -> bytes:
        found = self.data[self.at : self.at + nbytes]
        if len(found) < nbytes:
            raise ValueError("ends too early")
        self.at += nbytes
        return found

    def number(self, form: str) -> int:
        return int(struct.unpack("<" + form, self.take(struct.calcsize(form)))[0])

    def text(self) -> bytes:
        return self.take(self.number("Q"))

    def value(self, kind: int) -> bytes:
        start = self.at
        if kind == wire.STRING:
            self.text()
        elif kind == wire.ARRAY:
            inner, count = self.number("I"), self.number("Q")
            for _ in range(min(count, len(self.data))):
                self.value(inner)
        else:
            self.take(_WIDTHS[kind])
        return self.data[start : self.at]


def parts(data: bytes) -> Parts | None:
    """A file taken apart; None where it is too damaged for that."""
    cursor, found = _Cursor(data), Parts()
    try:
        cursor.number("I")
        tensors, keys = cursor.number("Q"), cursor.number("Q")
        for _ in range(keys):
            key, kind = cursor.text(), cursor.number("I")
            found.pairs.append((key, kind, cursor.value(kind)))
        for _ in range(tensors):
            name, rank = cursor.text(), cursor.number("I")
            sizes = tuple(cursor.number("Q") for _ in range(min(rank, 8)))
            found.tensors.append((name, sizes, cursor.number("I"), cursor.number("Q")))
    except (ValueError, KeyError, RecursionError):
        return None
    found.data = data[cursor.at + -cursor.at % 32 :]
    return found


def gguf(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """A value, a type, a size, a place or a name is another one; one of them is lost, or comes twice."""
    found = parts(data)
    if found is None:
        return None
    rows = found.pairs if found.pairs and rng.random() < 0.6 else found.tensors
    if not rows:
        return None
    at, how = rng.randrange(len(rows)), rng.random()
    if how < 0.1:
        del rows[at]
    elif how < 0.15:
        rows.append(rng.choice(rows))  # type: ignore[arg-type]
    elif rows is found.pairs:
        found.pairs[at] = _pair(found, at, rng)
    else:
        found.tensors[at] = _tensor(found, at, rng)
    return found.file()


def _pair(found: Parts, at: int, rng: random.Random) -> tuple[bytes, int, bytes]:
    key, kind, value = found.pairs[at]
    how = rng.randrange(6)
    if how == 0:
        return _word([each[0] for each in found.pairs], rng), kind, value
    if how == 1:
        _, kind, value = rng.choice(found.pairs)
        return key, kind, value
    if how == 2:
        return key, wire.STRING, wire.text(_word([each[0] for each in found.pairs], rng))
    if how == 3:
        values = [value[12:]] * rng.choice((0, 1, 2, 300)) if kind == wire.ARRAY else [value] * rng.choice((0, 1, 2))
        inner = int.from_bytes(value[:4], "little") if kind == wire.ARRAY else kind
        count = rng.choice((len(values), len(values), rng.choice(NUMBERS) % 2**64))
        return key, wire.ARRAY, struct.pack("<IQ", inner, count) + b"".join(values)
    if how == 4:
        number = rng.choice((float("nan"), float("inf"), -1.0, 0.0, 1e300, 5e-324, rng.random() * 100))
        return key, wire.FLOAT64, struct.pack("<d", number)
    width = _WIDTHS.get(kind)
    if width is None:
        kind, width = rng.choice([each for each in _WIDTHS.items() if each[0] not in (6, 12)])
    number = rng.choice((rng.choice(NUMBERS), rng.randrange(20), -1, int.from_bytes(value[:8], "little") + 1))
    return key, kind, (number % 2 ** (8 * width)).to_bytes(width, "little")


def _tensor(found: Parts, at: int, rng: random.Random) -> tuple[bytes, tuple[int, ...], int, int]:
    name, sizes, kind, offset = found.tensors[at]
    how = rng.randrange(4)
    if how == 0:
        name = _word([each[0] for each in found.tensors], rng)
    elif how == 1:
        kind = rng.choice((rng.randrange(42), rng.choice(NUMBERS) % 2**32))
    elif how == 2:
        offset = rng.choice((rng.choice(found.tensors)[3], offset + 32, rng.choice(NUMBERS) % 2**64))
    else:
        changed = list(sizes) or [1]
        number = rng.choice((0, 1, rng.randrange(40), rng.choice(NUMBERS) % 2**64, 2**32, 2**40))
        changed[rng.randrange(len(changed))] = number
        sizes = tuple(rng.choice((changed, changed[::-1], changed[1:], [*changed, 1], [0, *changed])))
    return name, sizes, kind, offset


def _word(there: list[bytes], rng: random.Random) -> bytes:
    odd = (rng.choice(WORDS).encode(), b"\xff\xfe", b"a" * 300, rng.choice(there) + b"x")
    return rng.choice((rng.choice(there), rng.choice(there), rng.choice(odd)))
