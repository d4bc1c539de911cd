"""Calls written into a graph of ATen calls in front of another one, with what they give where nothing has values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import Node

from modelarchive.exchange.torch.rowwise import expression

_ATEN: Final = torch.ops.aten


class Writer:
    """Writes calls in front of one, in the module that it stands in.

    Args:
        node: The call.
        replaced: Call -> the one that has taken its place.
    """

    def __init__(self, node: Node, replaced: Mapping[Node, Node]) -> None:
        self._node = node
        self._replaced = replaced

    def value(self, target: Any, args: Any, kwargs: Any) -> Any:
        """What a call gives: tensors without values, or sizes."""
        args, kwargs = torch.fx.node.map_arg((args, kwargs), lambda each: each.meta["val"])
        mode = next(
            each.meta["val"].fake_mode
            for each in self._node.graph.nodes
            if isinstance(each.meta.get("val"), FakeTensor)
        )
        # Or operators that PyTorch's C++ makes of others ask sizes for their numbers, which fixes them.
        with mode, enable_python_dispatcher():
            return target(*args, **kwargs)

    def called(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Node:
        """Write a call; of what was replaced it is given what has taken its place."""
        args, kwargs = torch.fx.node.map_arg((args, kwargs), lambda each: self._replaced.get(each, each))
        with self._node.graph.inserting_before(self._node):
            node = self._node.graph.call_function(target, args, kwargs)
        node.meta = {key: self._node.meta.get(key) for key in ("nn_module_stack", "stack_trace")}
        node.meta["val"] = self.value(target, args, kwargs)
        return node

    def size(self, node: Node, axis: int) -> Any:
        """A size of an array: a number, or what gives it."""
        size = node.meta["val"].shape[axis]
        return size if isinstance(size, int) else self.called(_ATEN.sym_size.int, node, axis)

    def sizes(self, node: Node) -> list[Any]:
        """All sizes of an array."""
        return [self.size(node, axis) for axis in range(node.meta["val"].ndim)]

    def shaped(self, node: Node, sizes: Sequence[Any]) -> Node:
        """An array in another shape; as it is where that is its own."""
        found = [each.meta["val"] if isinstance(each, Node) else each for each in sizes]
        own = node.meta["val"].shape
        if len(own) == len(found) and all(
            each == -1 or expression(one) == expression(each) for one, each in zip(own, found, strict=True)
        ):
            return node
        return self.called(_ATEN.reshape.default, node, list(sizes))

    def along(self, row: Node, axis: int, rank: int) -> Node:
        """A row that stands along an axis."""
        return self.shaped(row, [-1 if at == axis else 1 for at in range(rank)]) if rank > 1 else row

    def zero(self, node: Node) -> Node:
        """A zero of an array's dtype."""
        return self.called(_ATEN.zeros.default, [], dtype=node.meta["val"].dtype)
