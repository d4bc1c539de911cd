"""A chunk's bytes as HDF5's filters shuffle and deflate make them, at the speed of memory where they are noise.

A trained weight's mantissa is noise and its exponent is not. Shuffled, the bytes of one significance lie
together: those that do not shrink are stored as they are, in blocks that deflate has for that, and only the
rest is coded. Any zlib reads the result, and faster than what it makes itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

#: Bytes of a stored block at most: its length has two bytes.
_BLOCK: Final = 65535
_HEADER_OF_STORED: Final = 5
#: The first bytes of a zlib stream: deflate with a window of 32 KiB.
_HEADER: Final = b"\x78\x01"
#: How far back deflate refers.
_WINDOW: Final = 1 << 15
#: Bytes from the middle that tell how the rest will shrink.
_SAMPLE: Final = 8192
#: What shrinks less than to this is not worth reading slower.
_WORTH: Final = 0.97
#: ISA-L's fastest level with Huffman codes of the data's own. At the beginning of a stream it hashes what happens to
#: be in a register, so that its output depends on where memory lies; behind a dictionary, be it one byte, it does not.
_LEVEL: Final = 1
#: The fastest of its levels that writes the same bytes without a dictionary.
_LEVEL_ALONE: Final = 3
#: Windows in powers of two: with matches repetition becomes shortest; without, noise of few values. ISA-L's streams
#: have no narrower one than 9.
_WIDE: Final = 15
_NARROW: Final = 9
_NARROWEST: Final = 1
#: A window that saves less than a hundredth is not worth the time that it takes.
_BETTER: Final = 0.99


class DamagedChunkError(ValueError):
    """A chunk does not hold what deflate writes, or not as much as it should."""


def pack(elements: np.ndarray) -> bytes:
    """Shuffle and deflate a chunk.

    Args:
        elements: uint8, shape (elements, bytes of each), C order.

    Returns:
        A zlib stream (RFC 1950).
    """
    from isal import isal_zlib

    planes = _shuffled(elements)
    data = planes.reshape(-1).data
    length = planes.shape[1]
    parts: list[bytes | memoryview] = [_HEADER]
    kept = 0
    for end in range(length, len(data) + 1, length):
        # What is coded has a byte before it: the chunk's first one is stored.
        start = max(1, end - length)
        if (coded := _coded(data[start - 1 : end], is_last=end == len(data))) is not None:
            parts += [*_stored(data[kept:start]), coded]
            kept = end
    parts += _stored(data[kept:], is_last=True)
    return b"".join([*parts, isal_zlib.adler32(data).to_bytes(4, "big")])


def unpack(stored: memoryview, out: np.ndarray) -> None:
    """Inflate a chunk; the inverse of :func:`pack`, and reads what any other zlib wrote.

    Args:
        stored: A zlib stream.
        out: Where its bytes go: uint8, shape (elements, bytes of each), C order. No more memory is taken.

    Raises:
        DamagedChunkError: It is no such stream, or of other length.
    """
    from isal import isal_zlib

    if len(stored) < 6 or stored[0] & 15 != 8 or stored[1] & 32 or (stored[0] << 8 | stored[1]) % 31:
        raise DamagedChunkError("is no zlib stream")
    data = out.reshape(-1) if out.shape[1] == 1 else np.empty(out.size, np.uint8)
    _inflate_into(data.data, stored[2:-4])
    if isal_zlib.adler32(data.data) != int.from_bytes(stored[-4:], "big"):
        raise DamagedChunkError("has a wrong checksum")
    if out.shape[1] > 1:
        _unshuffle(out, data.reshape(out.shape[1], -1))


def _shuffled(elements: np.ndarray) -> np.ndarray:
    """The bytes of one significance after those of another: uint8, shape (bytes of each, elements)."""
    width = elements.shape[1]
    if width not in _WORDS:
        return np.ascontiguousarray(elements.T)
    # Halves of halves: processors do that for many numbers at once.
    parts = [elements.reshape(-1).view(_WORDS[width])]
    while width > 1:
        width //= 2
        half = _WORDS[width]
        parts = [part for word in parts for part in (word.astype(half), (word >> 8 * width).astype(half))]
    return np.stack(parts)


def _unshuffle(out: np.ndarray, planes: np.ndarray) -> None:
    width = out.shape[1]
    if width not in _WORDS:
        for at, plane in enumerate(planes):
            out[:, at] = plane
        return
    parts, size = list(planes), 1
    while len(parts) > 1:
        word = _WORDS[2 * size]
        high = [part.astype(word) << 8 * size for part in parts[1::2]]
        parts, size = [low | part for low, part in zip(parts[::2], high, strict=True)], 2 * size
    out.reshape(-1).view(_WORDS[width])[...] = parts[0]


#: Bytes -> whole numbers of so many.
_WORDS: Final = {width: np.dtype(f"<u{width}") for width in (1, 2, 4, 8)}


def _coded(span: memoryview, *, is_last: bool) -> bytes | None:
    """A plane as deflate's blocks, the last of which is the stream's if it `is_last`; None if it does not shrink.

    The first byte of `span` is the one before the plane.
    """
    start = max(0, (len(span) - _SAMPLE) // 2)
    sample = span[start : start + _SAMPLE]
    wide = len(_block(sample, _WIDE, is_last=True))
    if wide >= _WORTH * len(sample):
        return None
    narrow = len(_block(sample, _NARROW, is_last=True))
    window = _NARROW if narrow <= wide else _WIDE
    if is_last and len(_block(sample, _NARROWEST, is_last=True)) < _BETTER * min(narrow, wide):
        window = _NARROWEST
    coded = _block(span, window, is_last=is_last)
    # The sample may promise too much; and stored blocks that this one parts have a header more.
    return coded if len(coded) + _HEADER_OF_STORED < len(span) - 1 else None


def _block(span: memoryview, window: int, *, is_last: bool) -> bytes:
    """What follows a span's first byte, as raw deflate: a whole stream if it `is_last`, else up to a whole byte."""
    from isal import igzip_lib, isal_zlib

    if window == _NARROWEST:
        return igzip_lib.compress(
            span[1:], _LEVEL_ALONE, igzip_lib.COMP_DEFLATE, igzip_lib.MEM_LEVEL_DEFAULT, _NARROWEST
        )
    stream = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -window, zdict=span[:1])
    return bytes(stream.compress(span[1:]) + stream.flush(isal_zlib.Z_FINISH if is_last else isal_zlib.Z_FULL_FLUSH))


def _stored(data: memoryview, *, is_last: bool = False) -> Iterator[bytes | memoryview]:
    """Blocks that hold bytes as they are (RFC 1951, section 3.2.4)."""
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        yield bytes([is_last and start + _BLOCK >= len(data)])
        yield len(block).to_bytes(2, "little") + (len(block) ^ 0xFFFF).to_bytes(2, "little")
        yield block


def _inflate_into(out: memoryview, body: memoryview) -> None:
    """The bytes of a raw deflate stream, exactly so many."""
    filled, at, is_last = _copy_stored(out, body)
    if is_last and at < len(body):
        raise DamagedChunkError("has bytes behind its end")
    if not is_last:
        rest = _inflated(body[at:], len(out) - filled, out[max(0, filled - _WINDOW) : filled])
        if rest is None:
            raise DamagedChunkError("cannot be inflated")
        out[filled : filled + len(rest)] = rest
        filled += len(rest)
    if filled != len(out):
        raise DamagedChunkError(f"holds {filled:,} bytes, expected {len(out):,}")


def _copy_stored(out: memoryview, body: memoryview) -> tuple[int, int, bool]:
    """Copy the stored blocks that a stream begins with.

    Returns:
        Bytes copied, bytes of the stream that they took, whether the stream ends with them.
    """
    filled = at = 0
    while at + 5 <= len(body) and body[at] <= 1:
        length = int.from_bytes(body[at + 1 : at + 3], "little")
        end = at + 5 + length
        if length ^ int.from_bytes(body[at + 3 : at + 5], "little") != 0xFFFF:
            raise DamagedChunkError("has a stored block of two lengths")
        if end > len(body) or filled + length > len(out):
            raise DamagedChunkError("has a stored block that is too long")
        out[filled : filled + length] = body[at + 5 : end]
        filled += length
        is_last = body[at] == 1
        at = end
        if is_last:
            return filled, at, True
    return filled, at, False


def _inflated(body: memoryview, most: int, before: memoryview) -> bytes | None:
    """At most so many bytes of a raw deflate stream that ends where `body` does; None if it is none.

    It may refer back to what came `before`.
    """
    from isal import igzip_lib

    inflating = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE, zdict=before)
    try:
        # One more than wanted shows that there is more, and that the end was reached.
        data: bytes = inflating.decompress(body, most + 1)
    except igzip_lib.IsalError:  # type: ignore[misc]  # the stubs say that it is an instance
        return None
    return data if len(data) <= most and inflating.eof and not inflating.unused_data else None
