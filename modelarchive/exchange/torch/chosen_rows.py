"""Rows that truths choose: what chooses them, and what takes them, said of all rows and of which of them are there."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import torch
from torch.fx import Node

from modelarchive.exchange.torch.lifting import arguments, word
from modelarchive.exchange.torch.rowwise import axis_of, expression, is_elementwise, meets
from modelarchive.exchange.torch.writing_calls import Writer

_ATEN: Final = torch.ops.aten
#: What puts a call in the place of another.
Step: TypeAlias = Callable[[Writer], Node]
#: Rows that may be put at one place, one after the other.
_MOST_STEPS: Final = 64


@dataclass(eq=False)
class Choice:
    """Rows that are chosen.

    Attributes:
        mask: What chooses them: those at which it is true, in order. None: they are made of others.
        sizes: How many there are, by whichever symbol.
        places: Call -> the axis of the mask, of those that give the places of the rows along one; -1: along all.
        present: Which of all rows are there ``(all rows,)``; set when the graph is rewritten.
    """

    mask: Node | None = None
    sizes: set[Any] = field(default_factory=set)
    places: dict[Any, int] = field(default_factory=dict)
    present: Any = None

    def has(self, size: Any) -> bool:
        """Whether a size is how many rows there are."""
        return not isinstance(size, int) and size.node.expr in self.sizes

    def axis(self, node: Any) -> int | None:
        """The axis of an array that has the rows."""
        return axis_of(node.meta["val"], self.has) if isinstance(node, Node) else None

    def truths(self) -> Node:
        """The mask.

        Raises:
            TypeError: There is none.
        """
        if self.mask is None:
            raise TypeError("rows that are made of others have no mask")
        return self.mask

    def of_rows(self, writer: Writer, axis: int, rank: int) -> Node:
        """Which rows are there, along an axis."""
        return writer.along(self.present, axis, rank)

    def kept(self, writer: Writer, node: Node, axis: int) -> Node:
        """An array with zeros in the rows that are not there."""
        there = self.of_rows(writer, axis, node.meta["val"].ndim)
        return writer.called(_ATEN.where.self, there, node, writer.zero(node))


def _shape(node: Node) -> list[Any]:
    return [expression(size) for size in node.meta["val"].shape]


# ---------------------------------------------------------------------- what chooses rows


def _mask_of_index(node: Node) -> Node | None:
    found = [each for each in node.args[1] if each is not None and each.meta["val"].dtype == torch.bool]
    return found[0] if len(found) == 1 else None


def _mask_of_selection(node: Node) -> Any:
    x, mask = node.args[:2]
    return mask if _shape(x) == _shape(mask) else None


def _begin(writer: Writer, choice: Choice) -> None:
    mask = choice.truths()
    if choice.present is None:
        is_bool = mask.meta["val"].dtype == torch.bool
        truths = mask if is_bool else writer.called(_ATEN.ne.Scalar, mask, 0)
        choice.present = writer.shaped(truths, [-1])


def _places(writer: Writer, choice: Choice) -> list[Node]:
    """The places of all rows along each axis of the mask."""
    mask = choice.truths()
    rank = mask.meta["val"].ndim
    found = []
    for axis in range(rank):
        row = writer.called(_ATEN.arange.default, writer.size(mask, axis))
        if rank > 1:
            row = writer.called(_ATEN.expand.default, writer.along(row, axis, rank), writer.sizes(mask))
        found.append(writer.shaped(row, [-1]))
    return found


def _all_places(writer: Writer, node: Node, choice: Choice) -> Node:
    _begin(writer, choice)
    return writer.called(_ATEN.stack.default, _places(writer, choice), 1)


def _all_places_apart(writer: Writer, node: Node, choice: Choice) -> Node:
    return writer.called(_ATEN.unbind.int, _all_places(writer, node, choice), 1)


def merged(writer: Writer, x: Node, axis: int, rank: int) -> Node:
    """An array with neighbouring axes as one."""
    sizes = writer.sizes(x) if rank > 1 else [0] * x.meta["val"].ndim
    return writer.shaped(x, [*sizes[:axis], -1, *sizes[axis + rank :]]) if rank > 1 else x


def _all_of_index(writer: Writer, node: Node, choice: Choice) -> Node:
    _begin(writer, choice)
    x, indices = node.args[:2]
    mask = choice.truths()
    given = [axis for axis, each in enumerate(indices) if each is not None]
    at = next(axis for axis in given if indices[axis].meta["val"].dtype == torch.bool)
    if given == [at]:
        return merged(writer, x, at, mask.meta["val"].ndim)
    places = _places(writer, choice)
    return writer.called(_ATEN.index.Tensor, x, [*indices[:at], *places, *indices[at + 1 :]])


def _all_of_selection(writer: Writer, node: Node, choice: Choice) -> Node:
    _begin(writer, choice)
    return writer.shaped(node.args[0], [-1])


def _first(node: Node) -> Any:
    return node.args[0]


def _alone(node: Node) -> Any:
    return node.args[0] if len(node.args) == 1 else None


#: Operator -> the mask of its rows, None where it is another; and what gives all rows.
ORIGINS: Final[dict[str, tuple[Callable[[Node], Any], Callable[[Writer, Node, Choice], Node]]]] = {
    "nonzero": (_first, _all_places),
    "nonzero_numpy": (_first, _all_places_apart),
    "where": (_alone, _all_places_apart),
    "index": (_mask_of_index, _all_of_index),
    "masked_select": (_mask_of_selection, _all_of_selection),
}

# ---------------------------------------------------------------------- what picks by rows


#: Operator -> where its indices are among the arguments.
_PICKING: Final = {"embedding": 1, "index_select": 2, "gather": 2, "index": 1, "one_hot": 0}


def within_bounds(node: Node, choice: Choice) -> Step | None:
    """A call that picks by indices: those of rows that are not there are 0, whatever they are computed to be."""
    at = _PICKING.get(word(node))
    if at is None:
        return None
    given = node.args[at] if isinstance(node.args[at], list | tuple) else [node.args[at]]
    axes = {
        each: axis
        for each in given
        if isinstance(each, Node) and each not in choice.places and (axis := choice.axis(each)) is not None
    }
    if not axes:
        return None

    def step(writer: Writer) -> Node:
        kept = {each: choice.kept(writer, each, axis) for each, axis in axes.items()}
        args = list(node.args)
        within = [kept.get(each, each) for each in given]
        args[at] = within if isinstance(args[at], list | tuple) else within[0]
        return writer.called(node.target, *args, **node.kwargs)

    return step


# ---------------------------------------------------------------------- what takes rows


def _extended(writer: Writer, x: Node, axis: int) -> Node:
    """An array with one row more, which is cut off again."""
    more = writer.called(_ATEN.slice.Tensor, x, axis, 0, 1)
    return writer.called(_ATEN.cat.default, [x, more], axis)


def _behind_the_end(
    node: Node, choice: Choice, x: Node, axis: int, index: Node, place: Callable[[Any, Any], Any]
) -> Step:
    """What is done at computed places: rows that are not there go behind the end, which is cut off."""
    at_axis = choice.axis(index)

    def step(writer: Writer) -> Node:
        size = writer.size(x, axis)
        negative = writer.called(_ATEN.lt.Scalar, index, 0)
        within = writer.called(_ATEN.where.self, negative, writer.called(_ATEN.add.Tensor, index, size), index)
        there = choice.of_rows(writer, at_axis or 0, index.meta["val"].ndim)
        last = writer.called(_ATEN.add.Tensor, writer.called(_ATEN.mul.Tensor, index, 0), size)
        within = writer.called(_ATEN.where.self, there, within, last)
        args, kwargs = place(_extended(writer, x, axis), within)
        found = writer.called(node.target, *args, **kwargs)
        return writer.called(_ATEN.slice.Tensor, found, axis, 0, size)

    return step


def _index_add(node: Node, choice: Choice) -> Step | None:
    given = arguments(node)
    x, index, source = given["self"], given["index"], given["source"]
    axis = given["dim"] % x.meta["val"].ndim
    if choice.axis(x) is not None or choice.axis(source) != axis or choice.axis(index) != 0:
        return None
    place = choice.places.get(index, -1)
    if place < 0 or choice.mask is None or _shape(choice.mask)[place] != _shape(x)[axis]:
        return _behind_the_end(node, choice, x, axis, index, lambda wide, at: ((wide, axis, at, source), node.kwargs))
    mask = choice.mask

    def step(writer: Writer) -> Node:
        kept = choice.kept(writer, source, axis)
        rank = mask.meta["val"].ndim
        if rank > 1:
            sizes = writer.sizes(kept)
            kept = writer.shaped(kept, [*sizes[:axis], *writer.sizes(mask), *sizes[axis + 1 :]])
            kept = writer.called(_ATEN.sum.dim_IntList, kept, [axis + at for at in range(rank) if at != place])
        return writer.called(_ATEN.add.Tensor, x, kept, **node.kwargs)

    return step


def _scattered(node: Node, choice: Choice) -> Step | None:
    given = arguments(node)
    x, index = given["self"], given["index"]
    axis = given["dim"] % x.meta["val"].ndim
    sources = [each for each in (given.get("src"), given.get("source")) if isinstance(each, Node)]
    if choice.axis(x) is not None or any(choice.axis(each) != axis for each in (index, *sources)):
        return None
    return _behind_the_end(
        node, choice, x, axis, index, lambda wide, at: ((wide, axis, at, *node.args[3:]), node.kwargs)
    )


def _put(node: Node, choice: Choice) -> Step | None:
    given = arguments(node)
    x, indices, values = given["self"], list(given["indices"]), given["values"]
    at = [axis for axis, each in enumerate(indices) if each is not None]
    arrays = [indices[axis] for axis in at]
    if choice.axis(x) is not None or at != list(range(at[0], at[-1] + 1)):
        return None
    mask = choice.mask
    rank = 1 if mask is None else mask.meta["val"].ndim
    is_all = mask is not None and (arrays == [mask] or [choice.places.get(each) for each in arrays] == [*range(rank)])
    width = rank if is_all else 1
    behind = x.meta["val"].ndim - at[0] - width
    if not meets(values, choice.axis(values), -1 - behind):
        return None
    accumulates = bool(given.get("accumulate", False))
    if is_all and mask is not None and _shape(mask) == _shape(x)[at[0] : at[0] + rank]:
        return lambda writer: _put_all(writer, choice, x, values, at[0], rank, accumulates=accumulates)
    if len(arrays) != 1 or choice.axis(arrays[0]) != 0:
        return None
    place = choice.places.get(arrays[0], -1)
    if mask is not None and place >= 0 and _shape(mask)[place] == _shape(x)[at[0]] and not accumulates:
        others = [each for axis, each in enumerate(_shape(mask)) if axis != place]
        if all(each.is_number for each in others) and math.prod(map(int, others)) <= _MOST_STEPS:
            return lambda writer: _put_in_turn(writer, choice, x, values, at[0], place)
    lead: list[Any] = [None] * at[0]
    return _behind_the_end(
        node, choice, x, at[0], arrays[0], lambda wide, within: ((wide, [*lead, within], *node.args[2:]), node.kwargs)
    )


def _put_all(writer: Writer, choice: Choice, x: Node, values: Node, axis: int, rank: int, *, accumulates: bool) -> Node:
    """Values where the mask is true."""
    rows = merged(writer, x, axis, rank)
    there = choice.of_rows(writer, axis, rows.meta["val"].ndim)
    new = writer.called(_ATEN.add.Tensor, rows, values) if accumulates else values
    found = writer.called(_ATEN.where.self, there, new, rows)
    return writer.shaped(found, writer.sizes(x)) if rank > 1 else found


def _put_in_turn(writer: Writer, choice: Choice, x: Node, values: Node, axis: int, place: int) -> Node:
    """Values at places along one axis of the mask, where the last of several stays."""
    mask = choice.truths()
    shape = writer.sizes(mask)
    sizes = writer.sizes(x)
    spread = writer.called(
        _ATEN.expand.default, values, [*sizes[:axis], writer.size(choice.present, 0), *sizes[axis + 1 :]]
    )
    spread = writer.shaped(spread, [*sizes[:axis], *shape, *sizes[axis + 1 :]])
    truths = writer.shaped(choice.present, shape)
    others = [at for at in range(len(shape)) if at != place]
    for numbers in itertools.product(*(range(shape[at]) for at in others)):
        one, there = spread, truths
        for at, number in reversed([*zip(others, numbers, strict=True)]):
            one = writer.called(_ATEN.select.int, one, axis + at, number)
            there = writer.called(_ATEN.select.int, there, at, number)
        x = writer.called(_ATEN.where.self, writer.along(there, axis, len(sizes)), one, x)
    return x


def _summed(node: Node, choice: Choice) -> Step | None:
    given = arguments(node)
    x, dims = given["self"], given.get("dim")
    axis, rank = choice.axis(x), x.meta["val"].ndim
    over = (
        [*range(rank)]
        if dims in (None, [])
        else [each % rank for each in (dims if isinstance(dims, list | tuple) else [dims])]
    )
    if axis is None or axis not in over:
        return None

    def step(writer: Writer) -> Node:
        kept = choice.kept(writer, x, axis)
        keeps = bool(given.get("keepdim", False))
        dtype = node.meta["val"].dtype
        total = writer.called(_ATEN.sum.dim_IntList, kept, over, keeps, dtype=dtype)
        if word(node) == "sum":
            return total
        count = writer.called(_ATEN.sum.default, choice.present)
        for each in over:
            if each != axis:
                count = writer.called(_ATEN.mul.Tensor, count, writer.size(x, each))
        return writer.called(_ATEN.div.Tensor, total, count)

    return step


def _masked_scatter(node: Node, choice: Choice) -> Step | None:
    x, mask, source = node.args[:3]
    if choice.mask is None or not _is_spread(mask, choice.mask) or choice.axis(source) != 0:
        return None
    rank = choice.mask.meta["val"].ndim
    if _shape(x)[:rank] != _shape(choice.mask) or _shape(x)[rank:] != _shape(source)[1:]:
        return None
    return lambda writer: writer.called(_ATEN.where.self, mask, writer.shaped(source, writer.sizes(x)), x)


def _is_spread(node: Any, mask: Any) -> bool:
    """Whether an array says of each element what a mask says of the row that it is in."""
    if node is mask:
        return True
    if not isinstance(node, Node) or not isinstance(mask, Node):
        return False
    if node.target is mask.target and node.args[1:] == mask.args[1:] and is_elementwise(node):
        return len(node.all_input_nodes) == 1 and _is_spread(node.args[0], mask.args[0])
    rank = mask.meta["val"].ndim
    if word(node) not in ("unsqueeze", "expand", "expand_as") or _shape(node)[:rank] != _shape(mask):
        return False
    inner = node.args[0]
    if word(node) == "unsqueeze":
        is_behind = node.args[1] % node.meta["val"].ndim >= rank
    else:
        is_behind = inner.meta["val"].ndim == node.meta["val"].ndim
    return is_behind and _is_spread(inner, mask)


def _extreme(node: Node, choice: Choice) -> Step | None:
    """The largest or smallest of all elements; without rows PyTorch raises."""
    x, is_least = node.args[0], word(node) in ("min", "amin")
    axis, dtype = choice.axis(x), x.meta["val"].dtype
    if axis is None or len(node.args) > 1 or node.kwargs or dtype == torch.bool:
        return None
    low, high = (-math.inf, math.inf) if dtype.is_floating_point else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    other = high if is_least else low

    def step(writer: Writer) -> Node:
        there = choice.of_rows(writer, axis, x.meta["val"].ndim)
        kept = writer.called(_ATEN.where.ScalarOther, there, x, other)
        return writer.called(node.target, kept)

    return step


def _made(node: Node, choice: Choice) -> Step:
    """Of ``new_zeros`` and the like: of the rows it takes the dtype alone."""
    return lambda writer: writer.called(node.target, *node.args, **node.kwargs)


#: Operator -> what takes its place, where it takes rows and gives none; None: it is not known.
ENDS: Final[dict[str, Callable[[Node, Choice], Step | None]]] = {
    "index_add": _index_add, "index_put": _put, "masked_scatter": _masked_scatter,
    **dict.fromkeys(("scatter_add", "scatter_reduce", "scatter", "index_copy"), _scattered),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty"), _made),
    **dict.fromkeys(("sum", "mean"), _summed), **dict.fromkeys(("min", "max", "amin", "amax"), _extreme),
}  # fmt: skip
