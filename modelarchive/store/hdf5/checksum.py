"""Jenkins' lookup3, the checksum and the name hash of HDF5's metadata, for many pieces of bytes at once.

Source: Bob Jenkins, lookup3.c, ``hashlittle`` with a start of zero (public domain).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

_START: Final = 0xDEADBEEF
_WORD: Final = 0xFFFFFFFF
#: Pieces that are worth arrays of their words.
_WORTH_ARRAYS: Final = 8
#: Bytes of a round.
_BLOCK: Final = 12
#: The steps of a round, and those behind the last: which word changes by which other, and how far that is turned.
_MIX: Final = ((0, 2, 4, 1), (1, 0, 6, 2), (2, 1, 8, 0), (0, 2, 16, 1), (1, 0, 19, 2), (2, 1, 4, 0))
_FINAL: Final = ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24))


def checksums(pieces: Sequence[bytes]) -> list[int]:
    """The checksum of each piece: 32 bits, unsigned."""
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    # The longest first: those that still have bytes in a round are then the first ones.
    order = np.argsort(-lengths, kind="stable")
    lengths = lengths[order]
    rounds = -(-lengths // _BLOCK)
    ordered = [pieces[at] for at in order]
    text = b"".join([piece + bytes(-len(piece) % _BLOCK) for piece in ordered])
    words = np.frombuffer(text, "<u4").astype(np.uint32, copy=False)
    begin = np.cumsum(rounds) - rounds
    begin *= _BLOCK // 4
    state = [(lengths + _START).astype(np.uint32) for _ in range(3)]
    left = int(np.count_nonzero(rounds))
    while left >= _WORTH_ARRAYS:
        for number, word in enumerate(state):
            word[:left] += words[begin[:left] + number]
        begin[:left] += _BLOCK // 4
        rounds -= 1
        more = int(np.count_nonzero(rounds > 0))
        _mix([word[:more] for word in state])
        _finish([word[more:left] for word in state])
        left = more
    for at in range(left):
        first = int(begin[at])
        own = words[first : first + int(rounds[at]) * (_BLOCK // 4)].tolist()
        state[2][at] = _alone(own, *(int(word[at]) for word in state))
    found = np.empty(len(pieces), np.uint32)
    found[order] = state[2]
    return found.tolist()


def _alone(words: list[int], a: int, b: int, c: int) -> int:
    """The checksum of one piece, from a state on: where pieces are few, arrays of them take longer than numbers."""
    state = [a, b, c]
    for at in range(0, len(words), 3):
        for number in range(3):
            state[number] = state[number] + words[at + number] & _WORD
        if at + 3 == len(words):
            break
        a, b, c = state
        a = (a - c & _WORD) ^ (c << 4 & _WORD | c >> 28)
        c = c + b & _WORD
        b = (b - a & _WORD) ^ (a << 6 & _WORD | a >> 26)
        a = a + c & _WORD
        c = (c - b & _WORD) ^ (b << 8 & _WORD | b >> 24)
        b = b + a & _WORD
        a = (a - c & _WORD) ^ (c << 16 & _WORD | c >> 16)
        c = c + b & _WORD
        b = (b - a & _WORD) ^ (a << 19 & _WORD | a >> 13)
        a = a + c & _WORD
        c = (c - b & _WORD) ^ (b << 4 & _WORD | b >> 28)
        state = [a, b + a & _WORD, c]
    for changed, by, turn in _FINAL:
        word = state[by]
        state[changed] = (state[changed] ^ word) - (word << turn & _WORD | word >> 32 - turn) & _WORD
    return state[2]


def checksums_of_rows(rows: np.ndarray) -> np.ndarray:
    """The checksum of each row of bytes: unsigned 32 bits.

    Args:
        rows: Of shape (count, bytes), at least one byte each.
    """
    count, length = rows.shape
    rounds = -(-length // _BLOCK)
    padded = np.zeros((count, rounds * _BLOCK), np.uint8)
    padded[:, :length] = rows
    # A word of all rows at a time.
    words = np.ascontiguousarray(padded.view("<u4").T).astype(np.uint32, copy=False)
    state = [np.full(count, length + _START, np.uint32) for _ in range(3)]
    for at in range(0, len(words), 3):
        for word, added in zip(state, words[at : at + 3], strict=True):
            word += added
        if at + 3 < len(words):
            _mix(state)
    _finish(state)
    return state[2]


def _mix(state: list[np.ndarray]) -> None:
    if not len(state[0]):
        return
    for changed, by, turn, grown in _MIX:
        state[changed] -= state[by]
        state[changed] ^= _turned(state[by], turn)
        state[by] += state[grown]


def _finish(state: list[np.ndarray]) -> None:
    if not len(state[0]):
        return
    for changed, by, turn in _FINAL:
        state[changed] ^= state[by]
        state[changed] -= _turned(state[by], turn)


def _turned(word: np.ndarray, by: int) -> np.ndarray:
    return (word << np.uint32(by)) | (word >> np.uint32(32 - by))
