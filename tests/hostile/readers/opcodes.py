"""Pickles, instruction by instruction: taken apart, changed and put together again."""

from __future__ import annotations

import contextlib
import itertools
import pickletools
import random
import re
import struct
from typing import Final

from tests.hostile.mutators import NUMBERS
from tests.hostile.readers.words import WORDS


def opcodes(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """Instructions of a pickle: others, twice, gone, in other places, with other arguments."""
    start = 0
    streams = [each.start() for each in re.finditer(rb"\x80[\x02-\x05]", data)]
    if streams:
        start = rng.choice(streams)
    places: list[int] = []
    with contextlib.suppress(Exception):  # pickletools raises what it likes at what is no pickle
        places.extend(at for _, _, at in pickletools.genops(data[start:]) if at is not None)
    if len(places) < 3:
        return None
    bounds = [start + at for at in places] + [start + places[-1] + 1]
    steps = [data[one:two] for one, two in itertools.pairwise(bounds)]
    at = rng.randrange(1, len(steps))
    here = steps[at]
    how = rng.randrange(9)
    if how == 0:
        del steps[at]
    elif how == 1:
        steps.insert(at, here)
    elif how == 2:
        other = rng.randrange(1, len(steps))
        steps[at], steps[other] = steps[other], here
    elif how == 3:
        steps.insert(at, rng.choice((*steps, *_STEPS)))
    elif how == 4:
        steps[at:at] = [rng.choice(_STEPS)] * rng.choice((1, 2, 3, 200, 5000))
    elif here[:1] in b"KMJ\x8a":
        steps[at] = rng.choice((_number(rng.choice(NUMBERS)), _number(rng.randrange(16)), *_NUMBERS))
    elif here[:1] == b"c":
        names = [each for each in steps if each[:1] == b"c"]
        made = f"c{rng.choice(WORDS)}\n{rng.choice(WORDS)}\n".encode()
        steps[at] = rng.choice((*names, made, *_GLOBALS))
    elif here[:1] == b"X":
        word = rng.choice((rng.choice(WORDS).encode(), here[5:] * 2, b"a" * 70_000, b"\xff"))
        steps[at] = b"X" + struct.pack("<I", len(word)) + word
    else:
        steps[at] = rng.choice(_STEPS)
    return data[: bounds[0]] + b"".join(steps) + data[bounds[-1] :]


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<I", value % 2**32)


#: Numbers below zero, long ones, and what is none.
_NUMBERS: Final = (b"J\xff\xff\xff\xff", b"\x8a\x08" + b"\x7f" * 8, b"\x8a\xff" + b"\x7f" * 255, b"N", b"\x88")
_GLOBALS: Final = tuple(
    f"c{name}\n".encode()
    for name in (
        *("torch\nDoubleStorage", "torch\nComplexFloatStorage", "torch\nQInt8Storage", "torch\nBFloat16Storage"),
        *("torch._utils\n_rebuild_sparse_tensor", "torch._utils\n_rebuild_tensor", "torch\nSize", "torch\nfloat32"),
        *("torch._utils\n_rebuild_qtensor", "torch._utils\n_rebuild_meta_tensor_no_storage", "os\nsystem"),
        *("numpy.core.multiarray\n_reconstruct", "numpy.core.multiarray\nscalar", "numpy\ndtype", "numpy\nndarray"),
        *("argparse\nNamespace", "builtins\nset", "collections\ndefaultdict", "builtins\nbytearray", "_codecs\nencode"),
    )
)
#: Instructions alone, with all kinds of effect on the stack and the memo.
_STEPS: Final = (
    *(b"(", b"t", b")", b"]", b"}", b"e", b"u", b"s", b"a", b"0", b"1", b"2", b"R", b"b", b"Q", b".", b"N", b"l", b"d"),
    *(b"\x81", b"\x85", b"\x86", b"\x87", b"\x8f", b"\x90", b"\x91", b"\x92", b"\x93", b"\x94", b"h\0", b"q\0", b"o"),
    *(b"r\xff\xff\xff\x7f", b"j\xff\xff\xff\x7f", b"\x80\x05", b"\x8c\x01a", b"\x96\x08" + bytes(7) + b"\x01", b"\x98"),
    *(
        b"G\x7f\xf8" + bytes(6),
        b"C\x02ab",
        b"U\x02ab",
        b"I7\n",
        b"L9999999999999999999L\n",
        b"P1\n",
        b"\x95" + bytes(8),
    ),
    *(b"ios\nsystem\n", b"p0\n", b"g0\n", b"\x82\x01", b"\x84\x01\0\0\0", b"S'a'\n", b"Va\n", b"F1e999\n"),
    *(b"\x8a\x01\x05", b"\x8b\xff\xff\xff\x7f", b"B\xff\xff\xff\x7f", b"\x8d" + b"\x7f" * 8, b"2\x86" * 30, *_GLOBALS),
)
