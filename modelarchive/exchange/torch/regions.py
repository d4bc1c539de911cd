"""Regions of a program that run by other operators (``torch.cond``, ``scan``), put into the program around them."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import torch
import torch.fx

#: Steps of a scan that are written out, the most.
_MOST_STEPS: Final = 256


@contextlib.contextmanager
def run_plainly() -> Iterator[None]:
    """``torch.cond`` as Python's own choice, where a module runs: PyTorch's compiles it, and what runs around it."""
    conditional = torch.cond
    try:
        torch.cond = _either
        yield
    finally:
        torch.cond = conditional


def _either(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Sequence[Any] = ()) -> Any:
    return (true_fn if pred else false_fn)(*operands)


def put_in(module: torch.fx.GraphModule) -> None:
    """Put what is known of the regions of a graph into it; the others stay, and are refused.

    Args:
        module: The graph, which is changed.
    """
    for node in list(module.graph.nodes):
        row = _ROWS.get(_name(node))
        if row is not None:
            row(node)


def _name(node: torch.fx.Node) -> str:
    return node.target.name() if isinstance(node.target, torch._ops.HigherOrderOperator) else ""


def _body(node: Any) -> torch.fx.GraphModule | None:
    """The graph that an argument of a region is."""
    if not isinstance(node, torch.fx.Node) or node.op != "get_attr":
        return None
    found: Any = node.graph.owning_module
    for part in str(node.target).split("."):
        found = getattr(found, part, None)
    plain = isinstance(found, torch.fx.GraphModule) and not any(each.op == "get_attr" for each in found.graph.nodes)
    return found if plain else None


def _copied(region: torch.fx.Node, body: torch.fx.GraphModule, operands: Sequence[Any]) -> list[Any]:
    """Copy the calls of a graph in front of a region; what it returns."""
    graph = region.graph
    given = iter(operands)
    made: dict[torch.fx.Node, Any] = {}
    results: Any = ()
    for node in body.graph.nodes:
        if node.op == "placeholder":
            made[node] = next(given)
        elif node.op == "output":
            results = torch.fx.node.map_arg(node.args[0], lambda each: made[each])
        else:
            made[node] = graph.node_copy(node, lambda each: made[each])
            for key in ("nn_module_stack", "stack_trace"):
                made[node].meta[key] = region.meta.get(key)
    return list(results) if isinstance(results, tuple | list) else [results]


def _called(region: torch.fx.Node, function: Any, args: tuple[Any, ...], value: Any) -> torch.fx.Node:
    """A call of an operator beside a region, which gives `value`."""
    node = region.graph.call_function(function, args)
    node.meta = {key: region.meta.get(key) for key in ("nn_module_stack", "stack_trace")} | {"val": value}
    return node


def _replace(region: torch.fx.Node, results: Sequence[Any]) -> None:
    if isinstance(region.meta["val"], torch.Tensor):
        region.replace_all_uses_with(results[0])
    for user in list(region.users):
        user.replace_all_uses_with(results[user.args[1]])
        region.graph.erase_node(user)
    region.graph.erase_node(region)


def _is_taken_apart(region: torch.fx.Node) -> bool:
    """Whether a region gives one array, or each use of what it gives is of one of several."""
    values = region.meta["val"]
    several = values if isinstance(values, tuple | list) else [values]
    if not all(isinstance(each, torch.Tensor) for each in several):
        return False
    return several is not values or all(user.target is operator.getitem for user in region.users)


def _cond(region: torch.fx.Node) -> None:
    """Both ways, and a choice among their results."""
    truth, *ways, operands = region.args
    bodies = [_body(each) for each in ways]
    if not isinstance(truth, torch.fx.Node) or not isinstance(truth.meta.get("val"), torch.Tensor):
        return
    if None in bodies or not _is_taken_apart(region):
        return
    with region.graph.inserting_before(region):
        both = zip(*(_copied(region, each, operands) for each in bodies if each is not None), strict=True)
        values = region.meta["val"]
        values = [values] if isinstance(values, torch.Tensor) else values
        chosen = [
            _called(region, torch.ops.aten.where.self, (truth, *pair), value)
            for pair, value in zip(both, values, strict=True)
        ]
        _replace(region, chosen)


def _scan(region: torch.fx.Node) -> None:
    """Each step, one after the other, of a number that is fixed."""
    body, state, rows, more = region.args[:4]
    step = _body(body)
    steps = rows[0].meta["val"].shape[0] if rows else None
    if (
        isinstance(region.meta["val"], torch.Tensor)
        or step is None
        or not isinstance(steps, int)
        or not 0 < steps <= _MOST_STEPS
        or not _is_taken_apart(region)
    ):
        return
    carried, several = list(state), []
    with region.graph.inserting_before(region):
        for at in range(steps):
            own = [
                _called(
                    region,
                    torch.ops.aten.select.int,
                    (row, 0, at),
                    row.meta["val"].new_empty(row.meta["val"].shape[1:]),
                )
                for row in rows
            ]
            found = _copied(region, step, [*carried, *own, *more])
            carried = found[: len(state)]
            several.append(found[len(state) :])
        values = region.meta["val"][len(state) :]
        stacked = [
            _called(region, torch.ops.aten.stack.default, (list(each), 0), value)
            for each, value in zip(zip(*several, strict=True), values, strict=True)
        ]
        _replace(region, [*carried, *stacked])


#: Operator -> what puts its region in, if it can.
_ROWS: Final[dict[str, Callable[[torch.fx.Node], None]]] = {"cond": _cond, "scan": _scan}
