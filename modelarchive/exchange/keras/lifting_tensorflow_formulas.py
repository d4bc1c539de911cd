"""How TensorFlow's functions in models of Keras 2 are lifted that no single operation of Keras 3 is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.formulas import Term
from modelarchive.exchange.keras.lifting_context import Context
from modelarchive.exchange.keras.lifting_dtypes import settled, turned
from modelarchive.exchange.keras.lifting_ops import one
from modelarchive.exchange.keras.lifting_windows import scaled
from modelarchive.exchange.keras.row import Lifting, operation
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short

#: The two sizes that stand for an axis while shapes are followed.
_Pair = tuple[int, ...]


def _product(context: Context) -> Ref:
    """linalg.matmul, of matrices that may be turned."""
    pair = settled(context, [context.argument("a", 0), context.argument("b", 1)])
    for at, name in enumerate("ab"):
        if context.argument(f"transpose_{name}", 99, default=False):
            axes = list(range(context.rank(pair[at])))
            pair[at] = context.op("transpose", pair[at], axes=[*axes[:-2], axes[-1], axes[-2]])
    return context.op("matmul", *pair)


def _squared_difference(context: Context) -> Ref:
    first, second = settled(context, [context.argument("x", 0), context.argument("y", 1)])
    apart = context.op("subtract", first, second)
    return context.op("multiply", apart, apart)


def _unit(context: Context) -> Ref:
    """l2_normalize: divided by the root of the sum of squares, of 1e-12 at least."""
    x, axis = one(context), context.argument("axis", 1)
    axes = [axis] if type(axis) is int else axis
    if axes is not None and (not isinstance(axes, list) or any(type(each) is not int for each in axes)):
        raise Refusal(f"axis = {short(axis)} is no axis")
    least = context.argument("epsilon", 2, 1e-12)
    given = Term(context, x)
    squares = (given * given).op("sum", axis=axes, keepdims=True)
    return (given * squares.op("maximum", least).op("rsqrt")).ref


def _sum_of_all(context: Context) -> Ref:
    """add_n."""
    several = context.argument("inputs", 0)
    if not isinstance(several, list) or not several:
        raise Refusal(f"is called on {short(several)}, expected a list of tensors")
    first, *others = settled(context, several)
    for each in others:
        first = context.op("add", first, each)
    return first


def _place(name: str) -> Lifting:
    """argmax, argmin: whose places are int64, along the first axis if nobody says."""

    def lift(context: Context) -> Ref:
        x = one(context)
        axis = context.argument("axis", 1)
        dtype = context.argument("output_type", 2, "int64")
        axis = 0 if axis is None else axis
        if type(axis) is not int or dtype not in ("int32", "int64"):
            raise Refusal(f"axis = {short(axis)} and output_type = {short(dtype)} are not supported")
        x = turned(context, x) if name == "argmin" else x
        found = context.op("argmax", x, axis=axis, keepdims=False)
        return found if dtype == "int64" else context.op("cast", found, dtype=dtype)

    return operation(f"tf.math.{name}", "argmax", lift)


def _parts(context: Context) -> list[Ref]:
    """split: into so many parts, or parts of these sizes."""
    x, wanted = one(context), context.argument("num_or_size_splits", 1)
    axis = context.argument("axis", 2, 0)
    context.argument("num", 3)
    several = wanted if isinstance(wanted, list) else [wanted]
    if type(axis) is not int or not several or any(type(each) is not int for each in several):
        raise Refusal(f"num_or_size_splits = {short(wanted)} along axis {short(axis)} is not supported")
    return context.ops("split", x, sizes=wanted, axis=axis)


def _cut(context: Context) -> Ref:
    """slice: so many elements from where it begins; -1: all that are left."""
    x, begin, size = one(context), context.argument("begin", 1), context.argument("size", 2)
    if not all(isinstance(each, list) and all(type(at) is int for at in each) for each in (begin, size)):
        raise Refusal(f"begin = {short(begin)} and size = {short(size)}, expected whole numbers")
    index = [[start, None if count == -1 else start + count, None] for start, count in zip(begin, size, strict=True)]
    return context.op("slice", x, index=index)


def _shape(context: Context) -> Ref:
    """Shape."""
    dtype = context.argument("out_type", 1, "int32")
    return context.op("cast", context.op("shape_of", one(context)), dtype=dtype)


def _reshaped(context: Context) -> Ref:
    """reshape, to sizes that may be those of tensors."""
    x, wanted = one(context), context.argument("shape", 1)
    if isinstance(wanted, Ref):
        tensor = _of_shape(context, wanted)
        if tensor is None:
            raise Refusal("its shape is computed, which is not supported")
        sizes: Sequence[Any] = [(tensor, axis) for axis in range(context.rank(tensor))]
    elif isinstance(wanted, list):
        sizes = [_size(context, each) if isinstance(each, Ref) else each for each in wanted]
    else:
        raise Refusal(f"shape = {short(wanted)} is no shape")
    pairs = [_pair(context, *each) if isinstance(each, tuple) else (each, each) for each in sizes]
    own = _pairs(context, x)
    found = [_literal(pair, own[place] if place < len(own) else None) for place, pair in enumerate(pairs)]
    if found.count(-1) > 1:
        raise Refusal("its shape has two sizes that are computed, which is not supported")
    ref = context.op("reshape", x, shape=found)
    if any(pair != there for pair, there in zip(pairs, _pairs(context, ref), strict=True) if pair != (-1, -1)):
        raise Refusal("its shape is computed, which is not supported")
    return ref


def _literal(pair: _Pair, own: _Pair | None) -> int | None:
    """A size as `reshape` takes it: a number, that of the same axis, or what is left."""
    if len(set(pair)) == 1:
        if type(pair[0]) is not int:
            raise Refusal(f"a size is {short(pair[0])}, expected a whole number")
        return pair[0]
    return None if pair == own else -1


def _pairs(context: Context, x: Ref) -> list[_Pair]:
    return list(zip(*context.builder.known(x, context.layer.kind).shapes, strict=True))


def _pair(context: Context, x: Ref, axis: int) -> _Pair:
    pairs = _pairs(context, x)
    if not -len(pairs) <= axis < len(pairs):
        raise Refusal(f"asks for the size of axis {axis} of {len(pairs)}")
    return pairs[axis]


def _node(context: Context, ref: Ref) -> Mapping[str, Any]:
    return next((node for node in context.builder.nodes if node["name"] == ref.name), {})


def _through(context: Context, ref: Ref, op: str) -> tuple[Mapping[str, Any], Ref | None]:
    """The node of an op that a result is, casts left aside, and what it takes."""
    node = _node(context, ref)
    while node.get("op") == "cast":
        node = _node(context, Ref(node["inputs"][0]) if isinstance(node["inputs"][0], str) else Ref("?"))
    if node.get("op") != op:
        return node, None
    given = node["inputs"][0]
    return node, Ref(given) if isinstance(given, str) else Ref(*given)


def _of_shape(context: Context, ref: Ref) -> Ref | None:
    """The tensor whose shape a result is."""
    return _through(context, ref, "shape_of")[1]


def _size(context: Context, ref: Ref) -> tuple[Ref, int]:
    """The tensor, and the axis of it, whose size a result is."""
    node, given = _through(context, ref, "slice")
    tensor = None if given is None else _of_shape(context, given)
    index = node.get("arguments", {}).get("index")
    if tensor is None or not isinstance(index, list) or len(index) != 1 or type(index[0]) is not int:
        raise Refusal("its shape is computed, which is not supported")
    return tensor, index[0]


def _resized(context: Context) -> Ref:
    """image.resize: as keras.ops has it, without smoothing."""
    size, method = context.argument("size", 1), context.argument("method", 2, "bilinear")
    for name in ("preserve_aspect_ratio", "antialias"):
        if context.argument(name, 99):
            raise Refusal(f"{name} is not supported")
    if not isinstance(size, list) or len(size) != 2 or any(type(each) is not int for each in size):
        raise Refusal(f"size = {short(size)}, expected two whole numbers")
    if method not in ("bilinear", "nearest"):
        raise Refusal(f"method = {short(method)} is not supported, only bilinear and nearest")
    return scaled(context, context.as_float(one(context)), size, method, "NHWC")


def _mirrored(axis: int) -> Any:
    """image.flip_left_right, image.flip_up_down."""
    return lambda context: context.op("slice", one(context), index=_from_the_end(context, axis))


def _from_the_end(context: Context, axis: int) -> list[list[int | None]]:
    index: list[list[int | None]] = [[None, None, None] for _ in range(context.rank(one(context)))]
    index[axis] = [None, None, -1]
    return index


#: Functions of TensorFlow, by the names that configs have.
FORMULAS: Final[Mapping[str, Lifting]] = {
    row.theirs: row
    for row in (
        operation("tf.linalg.matmul", "matmul", _product),
        operation("tf.math.squared_difference", "subtract, multiply", _squared_difference),
        operation("tf.math.l2_normalize", "multiply, sum, rsqrt", _unit),
        operation("tf.math.add_n", "add", _sum_of_all),
        _place("argmax"),
        _place("argmin"),
        operation("tf.split", "split", _parts),
        operation("tf.slice", "slice", _cut),
        operation("tf.shape", "shape_of", _shape),
        operation("tf.reshape", "reshape", _reshaped),
        operation("tf.image.resize", "Upsample", _resized),
        operation("tf.image.flip_left_right", "slice", _mirrored(-2)),
        operation("tf.image.flip_up_down", "slice", _mirrored(-3)),
    )
}
