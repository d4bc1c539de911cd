"""How losses are lifted that a model computes as a result: entropies between what is and what was foretold."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.row import Lifting, operation

#: What Keras keeps away from 0 and 1, ``keras.config.epsilon()``.
_EPSILON: Final = 1e-7


def _both(context: Context) -> tuple[Term, Term]:
    target, output = (context.tensor_of(context.argument(name, at)) for at, name in enumerate(("target", "output")))
    output = context.as_float(output)
    dtype = context.dtype(output).name
    return Term(context, context.op("cast", target, dtype=dtype)), Term(context, output)


def _binary(context: Context) -> Ref:
    """BinaryCrossentropy, element by element."""
    target, output = _both(context)
    if context.config.flag("from_logits", default=False):
        # max(x, 0) - x t + log(1 + exp(-|x|))
        rest = (-abs(output)).activated("softplus")
        return (output.op("maximum", 0.0) - output * target + rest).ref
    share = output.op("clip", low=_EPSILON, high=1.0 - _EPSILON)
    return (-(target * share.op("log") + (1.0 - target) * (1.0 - share).op("log"))).ref


def _categorical(context: Context) -> Ref:
    """CategoricalCrossentropy along an axis."""
    target, output = _both(context)
    axis = context.config.integer("axis", -1)
    if context.config.flag("from_logits", default=False):
        logarithms = Term(context, context.plain("LogSoftmax", output.ref, axis=axis))
    else:
        share = output / output.op("sum", axis=[axis], keepdims=True)
        logarithms = share.op("clip", low=_EPSILON, high=1.0 - _EPSILON).op("log")
    return (-(target * logarithms).op("sum", axis=[axis], keepdims=False)).ref


#: Losses as operations.
ROWS: Final[tuple[Lifting, ...]] = (
    operation("BinaryCrossentropy", "log, multiply", _binary),
    operation("CategoricalCrossentropy", "log, sum", _categorical),
)
