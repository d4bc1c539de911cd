"""What packed and scaled weights stand for, as the libraries that wrote them compute it."""

from __future__ import annotations

from typing import Final

import numpy as np

#: Where AWQ puts the eight numbers of a word.
_AWQ_ORDER: Final = np.array([0, 4, 1, 5, 2, 6, 3, 7])


def unpacked(words: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Numbers of so many bits, one behind the other from the lowest bit of the first word on.

    Args:
        words: int32 ``(rows, words)``.
        bits: 1 to 8.
        count: How many numbers a row has.

    Returns:
        int32 ``(rows, count)``, from 0 on.
    """
    found = np.ascontiguousarray(words).astype("<i4").view(np.uint8)
    if bits == 8:
        return found[:, :count].astype(np.int32)
    if bits in (2, 4):
        parts = [(found >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
        return np.stack(parts, axis=-1).reshape(len(words), -1)[:, :count].astype(np.int32)
    single = np.unpackbits(found, axis=1, bitorder="little")[:, : count * bits].reshape(len(words), count, bits)
    return np.asarray((single.astype(np.int32) << np.arange(bits, dtype=np.int32)).sum(axis=-1, dtype=np.int32))


def gptq(
    qweight: np.ndarray,
    qzeros: np.ndarray,
    scales: np.ndarray,
    groups: np.ndarray,
    bits: int,
    *,
    is_less_one: bool,
    is_wrapped: bool = True,
) -> np.ndarray:
    """GPTQ's weight ``(out, in)``.

    Args:
        qweight: int32, packed along its first axis: ``(in * bits / 32, out)``.
        qzeros: int32, packed along its last: ``(groups, out * bits / 32)``.
        scales: ``(groups, out)``; the result has its dtype.
        groups: The group of each input ``(in,)``.
        bits: 2, 3, 4 or 8.
        is_less_one: Whether the zeros are stored less one, as the first version of the format has them.
        is_wrapped: Whether one more than the largest is 0 again, as gptqmodel has it, and auto-round has not.
    """
    if is_less_one and is_wrapped and bits != 3:
        # Added to whole words, as gptqmodel does: what is too much goes over into the next number.
        one = sum(1 << shift for shift in range(0, 32, bits))
        qzeros = (qzeros.astype(np.int64) + one).astype(np.uint32).astype(np.uint32).view(np.int32)
    zeros = unpacked(qzeros, bits, scales.shape[1])
    if is_less_one and not is_wrapped:
        zeros = zeros + 1
    elif is_less_one and bits == 3:
        zeros = (zeros + 1) & 7
    weight = unpacked(np.ascontiguousarray(qweight.T), bits, len(groups)).T
    found = (weight - zeros[groups]).astype(np.float32) * scales[groups].astype(np.float32)
    return np.ascontiguousarray(found.T).astype(scales.dtype)


def awq(qweight: np.ndarray, qzeros: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """AWQ's weight ``(out, in)``, of four bits, as its version GEMM packs it.

    Args:
        qweight: int32 ``(in, out / 8)``.
        qzeros: int32 ``(groups, out / 8)``.
        scales: ``(groups, out)``; the result has its dtype.
    """
    size = len(qweight) // len(scales)
    weight, zeros = (
        unpacked(each, 4, scales.shape[1]).reshape(len(each), -1, 8)[:, :, _AWQ_ORDER].reshape(len(each), -1)
        for each in (qweight, qzeros)
    )
    weight = (weight - np.repeat(zeros, size, axis=0)).astype(np.float32)
    found = weight * np.repeat(scales, size, axis=0).astype(np.float32)
    return np.ascontiguousarray(found.T).astype(scales.dtype)


def awq_in_rows(qweight: np.ndarray, qzeros: np.ndarray, scales: np.ndarray, size: int) -> np.ndarray:
    """AWQ's weight ``(out, in)``, of four bits, as its version GEMV packs it.

    Args:
        qweight: int32 ``(out, in / 8)``.
        qzeros: int32 ``(out, words)``: of the groups, and of as many more as fill its kernel's words.
        scales: ``(out, 8 * words)``, likewise; the result has its dtype.
        size: Inputs of a group.
    """
    inputs = 8 * qweight.shape[1]
    groups = inputs // size
    zeros = np.repeat(unpacked(qzeros, 4, groups), size, axis=1)
    weight = (unpacked(qweight, 4, inputs) - zeros).astype(np.float32)
    found = weight * np.repeat(scales[:, :groups], size, axis=1).astype(np.float32)
    return np.asarray(found.astype(scales.dtype))


def blocks_of_four_bits(
    weight: np.ndarray, values: np.ndarray, largest: np.ndarray, block: int, count: int
) -> np.ndarray:
    """Four bits an element as bitsandbytes has them, flat, in float32.

    Args:
        weight: uint8; the first number of a byte is the higher one.
        values: What each of 16 numbers stands for.
        largest: What the values of each block are multiplied by.
        block: Elements of a block.
        count: Elements of the weight.
    """
    found = weight.reshape(-1)
    numbers = np.stack([found >> 4, found & 15], axis=-1).reshape(-1)[:count]
    scales = np.repeat(largest.astype(np.float32), min(block, count))[:count]
    return np.asarray(values.astype(np.float32)[numbers] * scales)
