"""How Keras 2's layers of windows with kernels of their own are lifted: LocallyConnected1D and LocallyConnected2D."""

from __future__ import annotations

import math
from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_activations import activation_of, added
from modelarchive.exchange.keras.lifting_context import Context, Lift
from modelarchive.exchange.keras.lifting_padding import layout, spatial
from modelarchive.exchange.keras.row import Lifting
from modelarchive.exchange.keras.weights import Weight, same
from modelarchive.exchange.refusal import Refusal

#: Kernel (places, window and in, out), bias (*places, out).
_WEIGHTS: Final[tuple[Weight, ...]] = (same("kernel", "kernel"), same("bias", "bias", when="use_bias"))


def _local(rank: int) -> Lift:
    """Every place of the output has a kernel and a bias of its own."""

    def lift(context: Context) -> Ref:
        config = context.config
        config.expect("padding", "valid")
        config.expect("implementation", 1)
        order, x = layout(context, rank), context.as_float(context.x)
        sizes, is_last = spatial(context, x, order), order[-1] == "C"
        channels = context.dims(x)[-1 if is_last else 1]
        if channels is None or any(size is None for size in sizes):
            raise Refusal("needs fixed sizes of all axes but the batch: pass inputs=")
        window, strides = config.sizes("kernel_size", rank), config.sizes("strides", rank, 1)
        activation = activation_of(context, config.value("activation", None))
        fields = {"use_bias": config.flag("use_bias", default=True)}
        filters = config.integer("filters")
        places = [(size - each) // stride + 1 for size, each, stride in zip(sizes, window, strides, strict=True)
                  if size is not None and stride > 0 and size >= each > 0]  # fmt: skip
        if len(places) != rank:
            raise Refusal(f"a window of {window} does not fit {sizes}")
        for axis, (count, each, stride) in enumerate(zip(places, window, strides, strict=True)):
            steps = [place * stride + at for place in range(count) for at in range(each)]
            x = context.op("take", x, context.constant(steps, "int32"), axis=2 * axis + 1 + (not is_last), role="taken")
            split = [*sum(zip(places[: axis + 1], window[: axis + 1], strict=True), ()), *sizes[axis + 1 :]]
            x = context.op("reshape", x, shape=[-1, *split, channels] if is_last else [-1, channels, *split])
        first = 1 if is_last else 2
        outer, inner = [first + 2 * axis for axis in range(rank)], [first + 2 * axis + 1 for axis in range(rank)]
        axes = [0, *outer, *inner, 2 * rank + 1] if is_last else [0, *outer, 1, *inner]
        x = context.op("transpose", x, axes=axes, role="windows")
        x = context.op("reshape", x, shape=[-1, math.prod(places), math.prod(window) * channels], role="windows")
        kernel = context.parameter("kernel", fields)
        x = context.op("einsum", x, kernel, pattern="bpi,pio->bpo", role="products")
        x = context.op("reshape", x, shape=[-1, *places, filters], role="places")
        if not is_last:
            x = context.op("transpose", x, axes=[0, rank + 1, *range(1, rank + 1)], role="places")
        if fields["use_bias"]:
            # The numbers of the bias are not turned with the axes: they are read in another shape.
            shape: list[Any] = [*places, filters] if is_last else [filters, *places]
            x = context.op("add", x, context.op("reshape", context.parameter("bias", fields), shape=shape))
        return added(context, activation, x)

    return lift


#: Their rows.
LAYERS: Final[tuple[Lifting, ...]] = tuple(
    Lifting(
        f"LocallyConnected{rank}D", "einsum, add", _local(rank), "of Keras 2, of its usual implementation; known sizes",
        weights=_WEIGHTS, masks="drop",
    )
    for rank in (1, 2)
)  # fmt: skip
