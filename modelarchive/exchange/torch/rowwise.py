"""Operators that compute each row of an axis by itself, told by where that axis is in what they take and give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import sympy  # type: ignore[import-untyped, unused-ignore]
import torch
from torch.fx import Node

from modelarchive.exchange.torch.lifting import arguments, word
from modelarchive.exchange.torch.lifting_elementwise import ROWS as ELEMENTWISE
from modelarchive.exchange.torch.lifting_gamma import ROWS as GAMMA
from modelarchive.exchange.torch.lifting_layers import ACTIVATIONS
from modelarchive.exchange.torch.lifting_rounding import ROWS as ROUNDING

#: Whether a size is the number of the rows that are followed.
_IsRows = Callable[[Any], bool]


class MixedRowsError(Exception):
    """An array that has rows on several axes."""


def expression(size: Any) -> Any:
    """A size as a number or an expression of sympy's."""
    return sympy.Integer(size) if isinstance(size, int) else size.node.expr


def axis_of(value: Any, is_rows: _IsRows) -> int | None:
    """The axis of an array that has the rows; None: it has none.

    Raises:
        MixedRowsError: Several axes have.
    """
    if not isinstance(value, torch.Tensor):
        return None
    found = [axis for axis, size in enumerate(value.shape) if is_rows(size)]
    if len(found) > 1:
        raise MixedRowsError
    return found[0] if found else None


def is_rowwise(node: Node, is_rows: _IsRows) -> bool:
    """Whether each row of what a call gives depends on the same row of what it is given, and on nothing else of it.

    Args:
        node: The call, which is given something with rows.
        is_rows: Whether a size is the number of rows.

    Raises:
        MixedRowsError: An array has rows on several axes.
    """
    rule = _RULES.get(word(node))
    return rule is not None and rule(_Rows(node, is_rows))


def is_elementwise(node: Node) -> bool:
    """Whether each element of what a call gives depends on the same element of what it is given, and on no other."""
    return _RULES.get(word(node)) is _elementwise


class _Rows:
    """A call, and where the rows are in what it is given and gives.

    Args:
        node: The call.
        is_rows: Whether a size is the number of rows.
    """

    def __init__(self, node: Node, is_rows: _IsRows) -> None:
        self.given = arguments(node)
        self._is_rows = is_rows
        value = node.meta["val"]
        self.results = list(value) if isinstance(value, tuple | list) else [value]
        self.axes = [axis_of(each, is_rows) for each in self.results]
        self.nodes = [each for each in node.all_input_nodes if isinstance(each.meta.get("val"), torch.Tensor)]
        #: The first argument.
        self.first: Any = next(iter(self.given.values()))

    def axis(self, node: Any) -> int | None:
        """Where the rows are in an argument; None: nowhere."""
        return axis_of(node.meta["val"], self._is_rows) if isinstance(node, Node) else None

    def is_alone(self, node: Node) -> bool:
        """Whether an argument has rows, and no other has."""
        return all((self.axis(each) is not None) == (each is node) for each in self.nodes)

    def are_at(self, axis: int | None) -> bool:
        """Whether all that the call gives has its rows at an axis."""
        return axis is not None and all(each == axis for each in self.axes)


def _rank(node: Node) -> int:
    return int(node.meta["val"].ndim)


def _elementwise(rows: _Rows) -> bool:
    (axis,) = rows.axes
    if axis is None:
        return False
    place = axis - rows.results[0].ndim  # arrays meet from the last axis
    return all(meets(each, rows.axis(each), place) for each in rows.nodes)


def meets(node: Node, axis: int | None, place: int) -> bool:
    """Whether an argument has its rows at a place from the last axis, or the same there for all rows."""
    if axis is not None:
        return axis - _rank(node) == place
    return _rank(node) < -place or bool(expression(node.meta["val"].shape[place]) == 1)


def _along(name: str = "dim", *, otherwise: Any = -1) -> Callable[[_Rows], bool]:
    """What goes along another axis than that of the rows."""

    def rule(rows: _Rows) -> bool:
        axis, rank = rows.axis(rows.first), _rank(rows.first)
        dims = rows.given.get(name, otherwise)
        if axis is None or dims is None or dims == [] or not rows.is_alone(rows.first):
            return False
        several = dims if isinstance(dims, tuple | list) else [dims]
        return axis not in [each % rank for each in several] and all(each is not None for each in rows.axes)

    return rule


def _viewed(rows: _Rows) -> bool:
    axis, (found,) = rows.axis(rows.first), rows.axes
    if axis is None or found is None:
        return False
    return bool(_product(rows.first.meta["val"].shape[:axis]) == _product(rows.results[0].shape[:found]))


def _product(sizes: Sequence[Any]) -> Any:
    found = sympy.Integer(1)
    for size in sizes:
        found = found * expression(size)
    return found


def _moved(rows: _Rows) -> bool:
    return rows.is_alone(rows.first) and rows.axes[0] is not None


def _same_axis(rows: _Rows) -> bool:
    """What adds axes behind the rows, or takes them away there."""
    return rows.is_alone(rows.first) and rows.are_at(rows.axis(rows.first))


def _linear(rows: _Rows) -> bool:
    return _same_axis(rows) and rows.axis(rows.first) != _rank(rows.first) - 1


def _product_of_matrices(left: str, right: str) -> Callable[[_Rows], bool]:
    def rule(rows: _Rows) -> bool:
        one, other = rows.given[left], rows.given[right]
        (axis,), rank = rows.axes, rows.results[0].ndim
        if axis is None or min(_rank(one), _rank(other)) < 2 or rows.axis(rows.given.get("bias")) is not None:
            return False
        if rows.axis(one) == _rank(one) - 1 or rows.axis(other) == _rank(other) - 2:
            return False  # they are summed over
        if axis >= rank - 2:
            return rows.is_alone(one if axis == rank - 2 else other)
        return all(meets(each, rows.axis(each), axis - rank) for each in (one, other))

    return rule


def _normalised(rows: _Rows) -> bool:
    axis = rows.axis(rows.first)
    return _same_axis(rows) and axis is not None and axis < _rank(rows.first) - len(rows.given["normalized_shape"])


def _of_batch(rank: int | None = None) -> Callable[[_Rows], bool]:
    """Layers of which the first axis is the batch."""

    def rule(rows: _Rows) -> bool:
        is_whole = rank is None or _rank(rows.first) == rank
        return _same_axis(rows) and rows.axis(rows.first) == 0 and is_whole and not rows.given.get("training", False)

    return rule


def _attention(rows: _Rows) -> bool:
    several = [rows.given[each] for each in ("query", "key", "value")]
    axis, rank = rows.axis(several[0]), _rank(several[0])
    if axis is None or axis >= rank - 2 or not rows.are_at(axis):
        return False
    return all((rows.axis(each) == axis and _rank(each) == rank) == (each in several) for each in rows.nodes)


def _embedded(rows: _Rows) -> bool:
    indices = rows.given["indices"]
    return rows.is_alone(indices) and rows.are_at(rows.axis(indices))


def _indexed(rows: _Rows) -> bool:
    indices = rows.given["indices"]
    axis = rows.axis(rows.first)
    if axis is not None:
        return (
            rows.is_alone(rows.first) and (axis >= len(indices) or indices[axis] is None) and rows.axes[0] is not None
        )
    arrays = [each for each in indices if each is not None]
    places = {at - _rank(each) for each in arrays if (at := rows.axis(each)) is not None}
    if len(places) != 1 or any(each.meta["val"].dtype == torch.bool for each in arrays) or rows.axes[0] is None:
        return False
    (place,) = places
    return all(meets(each, rows.axis(each), place) for each in arrays)


def _picked(rows: _Rows) -> bool:
    """Of ``index_select``: at the rows of the index, or along another axis of what has rows."""
    if rows.axis(rows.first) is not None:
        return _along()(rows)
    return rows.axis(rows.given["index"]) == 0 and rows.axes[0] == rows.given["dim"] % _rank(rows.first)


def _gathered(rows: _Rows) -> bool:
    axis, dim = rows.axis(rows.given["index"]), rows.given["dim"] % _rank(rows.first)
    if not rows.are_at(axis):
        return False
    own = rows.axis(rows.first)
    return bool(dim == axis) if own is None else own == axis and dim != axis


def _padded(rows: _Rows) -> bool:
    """What is added at the ends of axes behind the rows."""
    axis = rows.axis(rows.first)
    reach = len(rows.given["pad" if "pad" in rows.given else "padding"]) // 2
    return _same_axis(rows) and axis is not None and axis < _rank(rows.first) - reach


def _repeated(rows: _Rows) -> bool:
    axis, repeats = rows.axis(rows.first), rows.given["repeats"]
    if axis is None or not rows.is_alone(rows.first):
        return False
    more = len(repeats) - _rank(rows.first)
    return repeats[axis + more] == 1 and rows.are_at(axis + more)


def _joined(*, adds: bool) -> Callable[[_Rows], bool]:
    """What puts arrays side by side along another axis than that of the rows, which may be an axis of its own."""

    def rule(rows: _Rows) -> bool:
        axis = rows.axis(rows.nodes[0])
        if axis is None or any(rows.axis(each) != axis for each in rows.nodes):
            return False
        dim = rows.given.get("dim", 0) % rows.results[0].ndim
        return rows.are_at(axis + 1 if adds and dim <= axis else axis) and (adds or dim != axis)

    return rule


def _put(*, falls: bool = False) -> Callable[[_Rows], bool]:
    """What puts values at places along another axis than that of the rows, which each row has for itself.

    Args:
        falls: Whether the values lack that axis.
    """

    def rule(rows: _Rows) -> bool:
        axis, dim = rows.axis(rows.first), rows.given["dim"] % _rank(rows.first)
        if axis is None or dim == axis or not rows.are_at(axis):
            return False
        others = axis - (falls and dim < axis)
        return all(rows.axis(each) == (axis if each is rows.first else others) for each in rows.nodes)

    return rule


def _product_and_sum(rows: _Rows) -> bool:
    one, summand = rows.given["mat1"], rows.given["self"]
    return (
        rows.axis(one) == 0
        and rows.are_at(0)
        and rows.axis(rows.given["mat2"]) is None
        and meets(summand, rows.axis(summand), -2)
    )


def _summed(rows: _Rows) -> bool:
    """Of ``einsum``: what keeps the letter of the rows."""
    terms, _, result = rows.given["equation"].replace(" ", "").partition("->")
    (axis,) = rows.axes
    if axis is None or "." in terms or not result:
        return False
    places = zip(terms.split(","), rows.given["tensors"], strict=True)
    return all(at is None or term[at] == result[axis] for term, each in places for at in (rows.axis(each),))


def _compared(rows: _Rows) -> bool:
    """Of ``cosine_similarity``: two arrays along another axis than that of the rows."""
    one, other = rows.given["x1"], rows.given["x2"]
    axis, dim = rows.axis(one), rows.given.get("dim", 1) % _rank(one)
    is_alike = _rank(one) == _rank(other) and axis is not None and rows.axis(other) == axis
    return is_alike and dim != axis and rows.axes[0] is not None


def _made(rows: _Rows) -> bool:
    return rows.axes[0] is not None


def _of_matrices(rows: _Rows) -> bool:
    axis = rows.axis(rows.first)
    return _same_axis(rows) and axis is not None and axis < _rank(rows.first) - 2


_OF_ELEMENTS: Final = (
    *ELEMENTWISE, *ACTIVATIONS, *GAMMA, *(each for each in ROUNDING if not each.startswith("fake_quantize")),
    "fake_quantize_per_tensor_affine", "acosh", "asinh", "atanh", "sinh", "expm1", "erfinv", "copysign", "fmax",
    "fmin", "heaviside", "hypot", "copy", "fill", "expand_as", "broadcast_to", "where", "clone", "dropout", "to",
    "_to_copy", "detach", "alias", "contiguous", "zeros_like", "ones_like", "full_like", "masked_fill", "type_as",
    "expand", "lift_fresh_copy",
)  # fmt: skip
_OF_SUMS: Final = (
    "sum", "mean", "amax", "amin", "var", "std", "logsumexp", "any", "all", "argmax", "argmin", "max", "min", "prod",
    "linalg_vector_norm", "norm", "median", "std_mean", "var_mean",
)  # fmt: skip
#: Operator -> whether it computes each row by itself.
_RULES: Final[dict[str, Callable[[_Rows], bool]]] = {
    **dict.fromkeys(_OF_ELEMENTS, _elementwise),
    **dict.fromkeys(
        ("softmax", "_softmax", "log_softmax", "_log_softmax", "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp",
         "topk", "kthvalue", "mode", "sort", "argsort", "glu"),
        _along(),
    ),
    **dict.fromkeys(_OF_SUMS, _along(otherwise=None)),
    **dict.fromkeys(
        ("slice", "select", "unbind", "split", "chunk", "split_with_sizes", "narrow", "unsafe_split", "unsafe_chunk"),
        _along(otherwise=0),
    ),
    "flip": _along("dims"),
    "roll": _along("dims", otherwise=None),
    **dict.fromkeys(("pad", "constant_pad_nd", *(f"{way}_pad{rank}d" for way in ("reflection", "replication")
                                                 for rank in (1, 2, 3))), _padded),
    "repeat": _repeated,
    **dict.fromkeys(("cat", "concat"), _joined(adds=False)),
    "stack": _joined(adds=True),
    **dict.fromkeys(("slice_scatter", "scatter", "scatter_add", "scatter_reduce"), _put()),
    "select_scatter": _put(falls=True),
    **dict.fromkeys(("tril", "triu", "linalg_inv_ex", "linalg_det", "linalg_cholesky_ex", "matrix_exp"), _of_matrices),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten",
                     "_reshape_alias", "reshape_as", "view_as"), _viewed),
    **dict.fromkeys(("permute", "transpose", "t", "movedim", "moveaxis", "swapaxes", "swapdims", "numpy_T"), _moved),
    **dict.fromkeys(("one_hot", "bucketize"), _same_axis),
    "linear": _linear,
    "addmm": _product_and_sum, "einsum": _summed, "cosine_similarity": _compared, "index_fill": _along(),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty"), _made),
    "mm": _product_of_matrices("self", "mat2"),
    "bmm": _product_of_matrices("self", "mat2"),
    "matmul": _product_of_matrices("self", "other"),
    **dict.fromkeys(("layer_norm", "rms_norm"), _normalised),
    **dict.fromkeys(("batch_norm", "group_norm", "instance_norm", "prelu"), _of_batch()),
    "conv1d": _of_batch(3), "conv2d": _of_batch(4), "conv3d": _of_batch(5),
    **{f"{way}_pool{rank}d": _of_batch(rank + 2) for way in ("max", "avg", "adaptive_avg") for rank in (1, 2, 3)},
    "scaled_dot_product_attention": _attention,
    "embedding": _embedded, "index": _indexed, "index_select": _picked, "gather": _gathered,
}  # fmt: skip
