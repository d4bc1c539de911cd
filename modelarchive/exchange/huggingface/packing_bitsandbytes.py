"""bitsandbytes: rows of int8 (Dettmers et al. 2022, arXiv:2208.07339), and blocks of four bits (arXiv:2305.14314)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from modelarchive.dtypes import DENSE
from modelarchive.errors import FormatError
from modelarchive.exchange.huggingface import dequantising
from modelarchive.exchange.huggingface.packed import MisfitError, Packed
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import document_object, short

_STATE: Final = "weight.quant_state.bitsandbytes__"
#: Longest text of what is said of one layer.
_MOST: Final = 4096
#: As bitsandbytes has it, in float32.
_PER_127: Final = np.float32(7.874015718698502e-3)


def weight(packed: Packed) -> Deferred | None:
    """The weight of a layer; None: it is not packed.

    Returns:
        ``(out, in)``, in the model's dtype (of int8) or the one said of the layer (of four bits), made when it is read.

    Raises:
        MisfitError: Its parts do not belong together.
    """
    if "SCB" in packed.parts:
        return _rows(packed)
    if any(part.startswith("weight.") for part in packed.parts):
        return _blocks(packed)
    entry = packed.parts.get("weight")
    if entry is not None and entry.dtype.kind in "iu":
        raise MisfitError(f"weight is {entry.dtype.name}, and no part says what its numbers stand for")
    return None


def _rows(packed: Packed) -> Deferred:
    entry = packed.expect("weight", "int8", (None, None))
    packed.expect("SCB", "float32", (entry.shape[0],))
    if "weight_format" in packed.parts and packed.small("weight_format", 1).any():
        raise MisfitError(
            "weight_format is of a kernel's own, expected rows: save the model with bitsandbytes 0.45 or newer"
        )
    return packed.made(entry.shape, packed.dtype, ["weight", "SCB"], _rows_of_int8)


def _blocks(packed: Packed) -> Deferred:
    states = [part for part in packed.parts if part.startswith(_STATE)]
    if len(states) != 1:
        raise MisfitError(f"has {len(states)} parts called {_STATE}nf4 or fp4, expected one")
    state = _state(packed, states[0])
    shape, block = state["shape"], state["blocksize"]
    count = math.prod(shape)
    entry = packed.expect("weight", "uint8")
    if entry.size != (count + 1) // 2:
        raise MisfitError(f"weight has {entry.size:,} bytes, expected half of {shape}")
    blocks = -(-count // block)
    packed.expect("weight.quant_map", "float32", (16,))
    names = ["weight", "weight.quant_map", "weight.absmax"]
    if "weight.nested_absmax" not in packed.parts:
        packed.expect("weight.absmax", "float32", (blocks,))
        return packed.made(
            shape,
            state["dtype"],
            names,
            lambda given, values, largest: dequantising.blocks_of_four_bits(given, values, largest, block, count),
        )
    packed.expect("weight.absmax", "uint8", (blocks,))
    packed.expect("weight.nested_quant_map", "float32", (256,))
    nested = state["nested_blocksize"]
    packed.expect("weight.nested_absmax", "float32", (-(-blocks // nested),))

    def made(
        given: np.ndarray, values: np.ndarray, largest: np.ndarray, table: np.ndarray, second: np.ndarray
    ) -> np.ndarray:
        own = _blocks_of_bytes(largest, table, second, nested) + np.float32(state["nested_offset"])
        return dequantising.blocks_of_four_bits(given, values, own, block, count)

    return packed.made(shape, state["dtype"], [*names, "weight.nested_quant_map", "weight.nested_absmax"], made)


def _state(packed: Packed, name: str) -> dict[str, Any]:
    """What is said of a layer, in JSON, with a shape, sizes of blocks and a dtype that fit."""
    packed.expect(name, "uint8", (None,))
    try:
        found = document_object(bytes(packed.small(name, _MOST)).decode("utf-8"), what=name, strict=False)
    except (FormatError, UnicodeDecodeError) as error:
        raise MisfitError(f"{name} is no JSON") from error
    shape = found.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 < size < 2**31 for size in shape):
        raise MisfitError(f"{name} has the shape {short(shape)}")
    sizes = [found.get("blocksize"), *([found.get("nested_blocksize")] if "nested_blocksize" in found else [])]
    if not all(type(size) is int and 0 < size < 2**31 for size in sizes):
        raise MisfitError(f"{name} has blocks of {short(sizes)}")
    if found.get("dtype") not in packed.FLOATS:
        raise MisfitError(f"{name} has the dtype {short(found.get('dtype'))}, expected {' or '.join(packed.FLOATS)}")
    if "weight.nested_absmax" in packed.parts and not _has_nested(found):
        raise MisfitError(f"{name} does not say how the scales are packed")
    return found | {"shape": tuple(shape), "dtype": DENSE[found["dtype"]]}


def _has_nested(found: Mapping[str, Any]) -> bool:
    offset: Any = found.get("nested_offset")
    return type(found.get("nested_blocksize")) is int and type(offset) in (int, float) and math.isfinite(offset)


def _rows_of_int8(weight: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """LLM.int8()'s weight in float32: int8 ``(out, in)``, and the largest element of each row."""
    return weight.astype(np.float32) * largest.reshape(-1, 1).astype(np.float32) * _PER_127


def _blocks_of_bytes(array: np.ndarray, values: np.ndarray, largest: np.ndarray, block: int) -> np.ndarray:
    """Numbers of a byte as what a table of 256 says, multiplied block by block; float32."""
    flat = array.reshape(-1)
    scales = np.repeat(largest.astype(np.float32), min(block, flat.size))[: flat.size]
    return np.asarray(values.astype(np.float32)[flat] * scales)
