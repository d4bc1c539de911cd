"""GPTQ (Frantar et al. 2022, arXiv:2210.17323) and AWQ (Lin et al. 2023, arXiv:2306.00978): numbers in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from modelarchive.errors import FormatError
from modelarchive.exchange.huggingface import dequantising
from modelarchive.exchange.huggingface.packed import MisfitError, Packed
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

_SCALES: Final = ("float16", "bfloat16", "float32")
_BITS: Final = (2, 3, 4, 8)


def gptq_refused(options: Mapping[str, Any]) -> str:
    """What of GPTQ's options is not read; "": nothing."""
    bits, form = options.get("bits"), options.get("checkpoint_format", options.get("format", "gptq"))
    if type(bits) is not int or bits not in _BITS:
        return f"bits is {short(bits)}, expected {', '.join(map(str, _BITS))}"
    if form not in ("gptq", "gptq_v2", None):
        return f"checkpoint_format is {short(form)}, expected gptq or gptq_v2"
    return "dynamic has other options for some layers, which are not read" if options.get("dynamic") else ""


def gptq(packed: Packed) -> Deferred | None:
    """The weight of a layer of GPTQ; None: it has none.

    Raises:
        MisfitError: Its parts do not belong together.
    """
    if "qweight" not in packed.parts:
        return None
    bits = packed.options["bits"]
    scales = packed.expect("scales", _SCALES, (None, None))
    groups, outputs = scales.shape
    qweight = packed.expect("qweight", "int32", (None, outputs))
    inputs = qweight.shape[0] * 32 // bits
    if (qweight.shape[0] * 32) % bits or (outputs * bits) % 32:
        raise MisfitError(f"qweight has the shape {qweight.shape}, which is no whole number of {bits} bits")
    packed.expect("qzeros", "int32", (groups, outputs * bits // 32))
    form = packed.options.get("checkpoint_format", packed.options.get("format"))
    is_less_one = form != "gptq_v2"
    if "g_idx" in packed.parts:
        packed.expect("g_idx", ("int32", "int64"), (inputs,))

        def ordered(weight: np.ndarray, zeros: np.ndarray, scale: np.ndarray, group: np.ndarray) -> np.ndarray:
            if not 0 <= group.min() <= group.max() < groups:
                raise FormatError(f"g_idx is from {group.min()} to {group.max()}, expected from 0 to {groups - 1}")
            return dequantising.gptq(weight, zeros, scale, group, bits, is_less_one=is_less_one)

        names = ["qweight", "qzeros", "scales", "g_idx"]
        return packed.made((outputs, inputs), scales.dtype, names, ordered)
    if inputs % groups:
        raise MisfitError(f"scales has {groups} groups, and the layer {inputs} inputs")
    places = np.arange(inputs) // (inputs // groups)
    return packed.made(
        (outputs, inputs),
        scales.dtype,
        ["qweight", "qzeros", "scales"],
        lambda weight, zeros, scale: dequantising.gptq(weight, zeros, scale, places, bits, is_less_one=is_less_one),
    )


def awq_refused(options: Mapping[str, Any]) -> str:
    """What of AWQ's options is not read; "": nothing."""
    bits = options.get("bits", options.get("w_bit", 4))
    version = options.get("version", options.get("format", "gemm"))
    if bits != 4:
        return f"bits is {short(bits)}, expected 4"
    if str(version).lower() != "gemm":
        return f"version is {short(version)}, expected gemm"
    return ""


def awq(packed: Packed) -> Deferred | None:
    """The weight of a layer of AWQ; None: it has none.

    Raises:
        MisfitError: Its parts do not belong together.
    """
    if "qweight" not in packed.parts:
        return None
    scales = packed.expect("scales", _SCALES, (None, None))
    groups, outputs = scales.shape
    if outputs % 8:
        raise MisfitError(f"scales has the shape {scales.shape}, expected a multiple of 8 outputs")
    qweight = packed.expect("qweight", "int32", (None, outputs // 8))
    packed.expect("qzeros", "int32", (groups, outputs // 8))
    if qweight.shape[0] % groups:
        raise MisfitError(f"scales has {groups} groups, and the layer {qweight.shape[0]} inputs")
    shape = (outputs, qweight.shape[0])
    return packed.made(shape, scales.dtype, ["qweight", "qzeros", "scales"], dequantising.awq)
