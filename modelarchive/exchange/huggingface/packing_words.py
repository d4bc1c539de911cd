"""GPTQ (arXiv:2210.17323), AWQ (arXiv:2306.00978) and AutoRound (arXiv:2309.05516): numbers in words of 32 bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from modelarchive.errors import FormatError
from modelarchive.exchange.huggingface import dequantising
from modelarchive.exchange.huggingface.packed import MisfitError, Packed
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

_BITS: Final = (2, 3, 4, 8)


def gptq_refused(options: Mapping[str, Any]) -> str:
    """What of GPTQ's options is not read; "": nothing."""
    bits, form = options.get("bits"), options.get("checkpoint_format", options.get("format", "gptq"))
    if type(bits) is not int or bits not in _BITS:
        return f"bits is {short(bits)}, expected {', '.join(map(str, _BITS))}"
    if form not in ("gptq", "gptq_v2", None):
        return f"checkpoint_format is {short(form)}, expected gptq or gptq_v2"
    return ""


def gptq(packed: Packed) -> Deferred | None:
    """The weight of a layer of GPTQ; None: it has none.

    Returns:
        ``(out, in)``, in the dtype of its scales, made when it is read.

    Raises:
        MisfitError: Its parts do not belong together.
    """
    if "qweight" not in packed.parts:
        return None
    form = packed.options.get("checkpoint_format", packed.options.get("format"))
    return _in_words(packed, is_less_one=form != "gptq_v2", is_wrapped=True)


def _in_words(packed: Packed, *, is_less_one: bool, is_wrapped: bool) -> Deferred:
    """A weight whose parts lie as GPTQ has them; its own bits and groups count, which options may say otherwise."""
    scales = packed.expect("scales", packed.FLOATS, (None, None))
    groups, outputs = scales.shape
    qzeros = packed.expect("qzeros", "int32", (groups, None))
    bits = next((bits for bits in _BITS if outputs * bits == qzeros.shape[1] * 32), 0)
    if not bits:
        known = ", ".join(map(str, _BITS))
        raise MisfitError(f"qzeros has the shape {qzeros.shape}, and scales {scales.shape}: no {known} bits")
    qweight = packed.expect("qweight", "int32", (None, outputs))
    inputs = qweight.shape[0] * 32 // bits
    if (qweight.shape[0] * 32) % bits:
        raise MisfitError(f"qweight has the shape {qweight.shape}, which is no whole number of {bits} bits")
    options = {"is_less_one": is_less_one, "is_wrapped": is_wrapped}
    if "g_idx" in packed.parts:
        packed.expect("g_idx", ("int32", "int64"), (inputs,))

        def ordered(weight: np.ndarray, zeros: np.ndarray, scale: np.ndarray, group: np.ndarray) -> np.ndarray:
            if not 0 <= group.min() <= group.max() < groups:
                raise FormatError(f"g_idx is from {group.min()} to {group.max()}, expected from 0 to {groups - 1}")
            return dequantising.gptq(weight, zeros, scale, group, bits, **options)

        names = ["qweight", "qzeros", "scales", "g_idx"]
        return packed.made((outputs, inputs), scales.dtype, names, ordered)
    if inputs % groups:
        raise MisfitError(f"scales has {groups} groups, and the layer {inputs} inputs")
    places = np.arange(inputs) // (inputs // groups)
    return packed.made(
        (outputs, inputs),
        scales.dtype,
        ["qweight", "qzeros", "scales"],
        lambda weight, zeros, scale: dequantising.gptq(weight, zeros, scale, places, bits, **options),
    )


def awq_refused(options: Mapping[str, Any]) -> str:
    """What of AWQ's options is not read; "": nothing."""
    bits = options.get("bits", options.get("w_bit", 4))
    version = options.get("version", options.get("format", "gemm"))
    if bits != 4:
        return f"bits is {short(bits)}, expected 4"
    if str(version).lower() not in ("gemm", "gemv"):
        return f"version is {short(version)}, expected gemm or gemv"
    return ""


#: How auto-round packs -> whether zeros are stored less one; None: as AWQ does.
_ROUNDED: Final = {
    "auto_round": False, "auto_round:gptqmodel": False, "auto_round:auto_gptq": True, "auto_round:auto_awq": None,
}  # fmt: skip


def auto_round_refused(options: Mapping[str, Any]) -> str:
    """What of AutoRound's options is not read; "": nothing."""
    form, kind = options.get("packing_format", "auto_round:auto_gptq"), options.get("data_type", "int")
    if form not in _ROUNDED:
        return f"packing_format is {short(form)}, expected {', '.join(_ROUNDED)}"
    return "" if kind == "int" else f"data_type is {short(kind)}, expected int"


def auto_round(packed: Packed) -> Deferred | None:
    """The weight of a layer of AutoRound; None: it has none.

    Returns:
        ``(out, in)``, in the dtype of its scales, made when it is read.

    Raises:
        MisfitError: Its parts do not belong together.
    """
    is_less_one = _ROUNDED[packed.options.get("packing_format", "auto_round:auto_gptq")]
    if is_less_one is None:
        return awq(packed)
    return _in_words(packed, is_less_one=is_less_one, is_wrapped=False) if "qweight" in packed.parts else None


def awq(packed: Packed) -> Deferred | None:
    """The weight of a layer of AWQ; None: it has none.

    Returns:
        ``(out, in)``, in the dtype of its scales, made when it is read.

    Raises:
        MisfitError: Its parts do not belong together.
    """
    if "qweight" not in packed.parts:
        return None
    version = packed.options.get("version", packed.options.get("format", "gemm"))
    if str(version).lower() == "gemv" and packed.options["quant_method"] == "awq":
        return _awq_in_rows(packed)
    scales = packed.expect("scales", packed.FLOATS, (None, None))
    groups, outputs = scales.shape
    if outputs % 8:
        raise MisfitError(f"scales has the shape {scales.shape}, expected a multiple of 8 outputs")
    qweight = packed.expect("qweight", "int32", (None, outputs // 8))
    packed.expect("qzeros", "int32", (groups, outputs // 8))
    if qweight.shape[0] % groups:
        raise MisfitError(f"scales has {groups} groups, and the layer {qweight.shape[0]} inputs")
    shape = (outputs, qweight.shape[0])
    return packed.made(shape, scales.dtype, ["qweight", "qzeros", "scales"], dequantising.awq)


def _awq_in_rows(packed: Packed) -> Deferred:
    """A weight of AWQ's version GEMV."""
    qweight = packed.expect("qweight", "int32", (None, None))
    outputs, inputs = qweight.shape[0], 8 * qweight.shape[1]
    size = packed.options.get("group_size", packed.options.get("q_group_size", 128))
    size = inputs if size == -1 else size
    if type(size) is not int or size < 1 or inputs % size:
        raise MisfitError(f"has {inputs} inputs, and group_size is {short(size)}")
    qzeros = packed.expect("qzeros", "int32", (outputs, None))
    packed.expect("scales", packed.FLOATS, (outputs, 8 * qzeros.shape[1]))
    if 8 * qzeros.shape[1] < inputs // size:
        raise MisfitError(f"qzeros has the shape {qzeros.shape}, expected {inputs // size} groups")
    return packed.made(
        (outputs, inputs),
        packed.parts["scales"].dtype,
        ["qweight", "qzeros", "scales"],
        lambda weight, zeros, scales: dequantising.awq_in_rows(weight, zeros, scales, size),
    )
