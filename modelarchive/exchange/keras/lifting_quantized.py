"""What goes into Keras' quantised layers: rounded as these do, by ops of the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.quantized import FLOAT8_MAX
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: Added to a float32 and taken off again, it rounds to the nearest integer, of two to the even one.
_ROUNDER: Final = 1.5 * 2**23


def given(context: Context, x: Ref, axes: Sequence[int], fields: dict[str, Any]) -> Ref:
    """What a layer computes with of what it is called on.

    Args:
        context: The layer.
        x: What it is called on.
        axes: Those along which a number of its own scales each part.
        fields: Those that decide which variables there are.
    """
    how = context.quantized
    if how is None:
        context.config.expect("quantization_config", None)
        return x
    config = context.config.value("quantization_config", None)
    if how.mode == "float8":
        context.note("its kernel and what it is called on are rounded to float8 and its bias to bfloat16, as in Keras")
        scale = context.constant(float(context.extra(fields)[0].read()), "float32")
        inner = context.op("clip", context.op("divide", x, scale, role="scaled"), low=-FLOAT8_MAX, high=FLOAT8_MAX)
        narrow = context.op("cast", inner, dtype="float8_e4m3fn", role="float8")
        return context.op("multiply", context.op("cast", narrow, dtype="float32", role="wide"), scale, role="rounded")
    settings = config.get("config") if isinstance(config, dict) else None
    quantizer = settings.get("activation_quantizer") if isinstance(settings, dict) else None
    if config is None and how.mode == "int8":
        quantizer = {"class_name": "AbsMaxQuantizer", "config": {}}
    if quantizer is None or how.in_blocks:
        context.note(f"its {how.mode} kernel is kept as the floats that it stands for")
        return x
    own = quantizer.get("config") if isinstance(quantizer, dict) else None
    if not isinstance(own, dict) or quantizer.get("class_name") != "AbsMaxQuantizer":
        raise Refusal(f"its inputs are quantised by {short(quantizer)}, which is not supported")
    low, high = own.get("value_range", (-127, 127))
    if (low, high) != (-127, 127):
        raise Refusal(f"its inputs are quantised to {low} to {high}, which is not supported, only to -127 to 127")
    context.note(f"its {how.mode} kernel is kept as floats; what it is called on is rounded to int8, as in Keras")
    most = context.op("max", context.op("abs", x, role="size"), axis=list(axes), keepdims=True, role="most")
    least = float(own.get("epsilon", 1e-7))
    scale = context.op("divide", context.constant(np.float32(high).item()), _plus(context, most, least), role="scale")
    scaled = context.op("multiply", x, scale, role="scaled")
    whole = context.op("subtract", _plus(context, scaled, _ROUNDER), context.constant(_ROUNDER), role="whole")
    return context.op("divide", whole, scale, role="rounded")


def _plus(context: Context, x: Ref, number: float) -> Ref:
    return context.op("add", x, context.constant(number), role="raised")
