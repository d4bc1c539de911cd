"""How ONNX's control flow is lifted: branches that are decided or chosen between, and loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_loops import Rolled
from modelarchive.exchange.onnx.model import Graph
from modelarchive.exchange.onnx.values import NAMES_A_STEP, Constant, Operand, Several, Sizes, Unsupported
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting
from modelarchive.nn.dim import from_pair
from modelarchive.store.deferred import Deferred

#: Rounds of a loop that are written out.
_MAX_ROUNDS: Final = 4096
#: Rounds of a loop of a known count up to which it is written out in any case.
_LONG: Final = 64
_WHOLE: Final = [None, None, None]


def _inside(context: Context, graph: Graph, given: Sequence[Operand] = ()) -> tuple[Operand, ...]:
    """The results of a graph inside of the node, which sees what is around it."""
    budget.spend(f"{context.node.op} {context.name!r}", steps=1 + len(context.scope) // NAMES_A_STEP)
    if len(given) > len(graph.inputs):
        raise Refusal(f"the graph in {context.node.op} takes {len(graph.inputs)} inputs, found {len(given)}")
    names = [value.name for value in graph.inputs]
    return context.branch(graph, {**context.scope, **dict(zip(names, given, strict=False))})


def _branch(context: Context) -> Any:
    """The branch that is taken; where only the network knows, both are computed, and their results chosen from."""
    node = context.node
    node.used.update(("then_branch", "else_branch"))
    if context.is_constant(0):
        return _inside(context, node.graph("then_branch" if bool(context.number(0)) else "else_branch"))
    if isinstance(context.operand(0), Sizes):
        raise Refusal("a branch by a size that is not fixed is not supported: pass inputs=")
    condition = context.op("reshape", context.ref(0), shape=[])
    sides = [_inside(context, node.graph(name)) for name in ("then_branch", "else_branch")]
    if any(isinstance(each, Unsupported) for side in sides for each in side):
        return (Unsupported(),) * len(node.outputs)
    found = [[_ref(context, each) for each in side] for side in sides]
    for one, other in zip(*found, strict=True):
        before, after = context.known_of(one), context.known_of(other)
        if before != after:
            raise Refusal(
                "a branch by a value that is computed is supported where both give arrays of one shape and dtype, "
                f"found {before.array_dtype} {before.declared} and {after.array_dtype} {after.declared}: "
                "a value for the input that it depends on decides it (inputs=, --input NAME=VALUE)"
            )
    context.note("both branches are computed, and the results of one are taken")
    return tuple(context.op("where", condition, one, other) for one, other in zip(*found, strict=True))


def _ref(context: Context, operand: Operand) -> Ref:
    return context.builder.reference(operand, context.name)


def _loop(context: Context) -> Any:
    """A Scan; of few rounds, or where its condition has to be looked at, the body as often as these say."""
    body = context.node.graph("body")
    if context.has(1) and not context.is_constant(1):
        raise Refusal("a Loop whose end depends on values is not supported")
    goes_on = bool(context.number(1)) if context.has(1) else True
    if goes_on and context.has(0) and isinstance(context.operand(0), Sizes):
        context.asked.update(range(len(context)))
        return _rolled_loop(context, body, context.sizes(0)[0])
    most = _count(context) if context.has(0) else _MAX_ROUNDS + 1
    if goes_on and _LONG < most <= _MAX_ROUNDS and context.builder.rolled is not None:
        context.asked.update(range(len(context)))
        return _rolled_loop(context, body, most)
    carried = [context.operands[index] for index in range(2, len(context))]
    context.asked.update(range(len(context)))
    kept: list[list[Operand]] = [[] for _ in body.outputs[1 + len(carried) :]]
    done = 0
    while goes_on and done < most:
        if done >= _MAX_ROUNDS:
            raise Refusal(f"a Loop of more than {_MAX_ROUNDS:,} rounds is not supported")
        number = Constant(Deferred.of(np.asarray(done, np.int64)))
        results = _inside(context, body, [number, _truth(value=True), *carried])
        if any(isinstance(each, Unsupported) for each in results):
            return (Unsupported(),) * len(context.node.outputs)
        goes_on = _known_truth(results[0])
        carried = list(results[1 : 1 + len(carried)])
        for rows, each in zip(kept, results[1 + len(carried) :], strict=True):
            rows.append(each)
        done += 1
    return (*carried, *(_stacked(context, rows, 0) for rows in kept))


def _count(context: Context) -> int:
    if not context.is_constant(0):
        raise Refusal("a Loop whose count is computed is not supported: a value for the input that it depends on, or "
                      "fixed sizes, decide it (inputs=)")  # fmt: skip
    return min(context.whole(0), _MAX_ROUNDS + 1)


def _truth(*, value: bool) -> Constant:
    return Constant(Deferred.of(np.asarray(value, np.bool_)))


def _known_truth(operand: Operand) -> bool:
    if not isinstance(operand, Constant) or operand.array.size != 1:
        raise Refusal("a Loop whose end depends on values is not supported")
    return bool(operand.numpy().reshape(-1)[0])


def _stacked(context: Context, rows: list[Operand], axis: int) -> Ref | None:
    """The results of all rounds side by side; None where there was no round."""
    if not rows:
        return None
    return context.op("stack", *(_ref(context, each) for each in rows), axis=axis)


def _scan(context: Context) -> Any:
    """The body for each part of the inputs that are passed through, of which there is a known number."""
    node, body = context.node, context.node.graph("body")
    count = node.integer("num_scan_inputs")
    states = len(context) - count
    if context.opset < 9 or count < 1 or states < 0:
        raise Refusal(f"Scan of opset {context.opset} over {count} inputs is not supported")
    ahead = node.integers("scan_input_axes", [0] * count), node.integers("scan_input_directions", [0] * count)
    outputs = len(body.outputs) - states
    behind = node.integers("scan_output_axes", [0] * outputs), node.integers("scan_output_directions", [0] * outputs)
    axes = [context.axis(axis, index) for index, axis in enumerate(ahead[0], states)]
    rounds = {context.shape(index)[axis] for index, axis in enumerate(axes, states)}
    total = rounds.pop() if len(rounds) == 1 else 0
    if total is None or (total > 0 and context.builder.rolled is not None):
        context.asked.update(range(len(context)))
        sequences = [
            (index, axis, bool(turned)) for index, (axis, turned) in enumerate(zip(axes, ahead[1], strict=True), states)
        ]
        return _rolled_scan(
            context, body, sequences, [(axis, bool(turned)) for axis, turned in zip(*behind, strict=True)]
        )
    if not 1 <= total <= _MAX_ROUNDS:
        raise Refusal(
            f"Scan over {total} rounds is not supported, only over 1 to {_MAX_ROUNDS:,}, or an axis that is free"
        )
    carried = [context.operands[index] for index in range(states)]
    context.asked.update(range(len(context)))
    kept: list[list[Operand]] = [[] for _ in range(outputs)]
    for place in range(total):
        parts = [
            context.op("slice", context.ref(index), index=[*[_WHOLE] * axis, total - 1 - place if turned else place])
            for index, (axis, turned) in enumerate(zip(axes, ahead[1], strict=True), states)
        ]
        results = _inside(context, body, [*carried, *parts])
        if any(isinstance(each, Unsupported) for each in results):
            return (Unsupported(),) * len(node.outputs)
        carried = list(results[:states])
        for rows, each in zip(kept, results[states:], strict=True):
            rows.append(each)
    stacked = [
        _stacked(context, rows[::-1] if turned else rows, axis)
        for rows, axis, turned in zip(kept, *behind, strict=True)
    ]
    return (*carried, *stacked)


def _rolled_scan(
    context: Context,
    graph: Graph,
    sequences: Sequence[tuple[int, int, bool]],
    outputs: Sequence[tuple[int, bool]],
) -> tuple[Operand, ...]:
    """A Scan.

    Args:
        context: It.
        graph: Its body.
        sequences: Of each the input that it is, its axis of steps, and whether it is gone through backwards.
        outputs: Of each the axis of steps, and whether they are put together backwards.
    """
    first, axis, _ = sequences[0]
    body = Rolled(context, graph, from_pair(*(shape[axis] for shape in context.known(first).shapes)))
    states = [body.state(context.operands[index]) for index in range(first)]
    elements = [
        body.element(body.turned(context.ref(index), axis) if turned else context.ref(index), axis)
        for index, axis, turned in sequences
    ]
    results = body.results([*states, *elements])
    if any(isinstance(each, Unsupported) for each in results):
        return (Unsupported(),) * len(context.node.outputs)
    made = body.made(results[:first], results[first:], [axis for axis, _ in outputs])
    return (
        *made[:first],
        *(
            body.turned(each, axis % len(context.known_of(each).shapes[0])) if turned else each
            for each, (axis, turned) in zip(made[first:], outputs, strict=True)
        ),
    )


def _rolled_loop(context: Context, graph: Graph, count: Any) -> tuple[Operand, ...]:
    """A Loop of so many rounds, whatever is computed in them."""
    body = Rolled(context, graph, count)
    carried = context.operands[2:]
    stays = _unchanged(graph)
    is_state = [not isinstance(each, Several) and at not in stays for at, each in enumerate(carried)]
    given: list[Operand] = []
    for at, each in enumerate(carried):
        if is_state[at]:
            given.append(body.state(each))
        else:
            given.append(body.builder.moved(each) if at in stays else Several((), grows=True))
            if isinstance(each, Several) and each.grows:
                raise Refusal("a sequence that two loops inside of each other add to is not supported")
    go_on = Constant(Deferred.of(np.asarray(True)))
    goes_on, *results = body.results([body.step(), go_on, *given])
    if any(isinstance(each, Unsupported) for each in (goes_on, *results)):
        return (Unsupported(),) * len(context.node.outputs)
    if not isinstance(goes_on, Constant) or goes_on.array.size != 1 or not goes_on.numpy().all():
        raise Refusal("a Loop whose end depends on values is not supported, only one of as many rounds as an axis has "
                      "elements, or a known number")  # fmt: skip
    following = [each for at, each in enumerate(results[: len(carried)]) if is_state[at]]
    grown = [at for at, each in enumerate(is_state) if not each and at not in stays]
    added = [_added(results[at]) for at in grown]
    outputs = [*(each for each in added if each is not None), *results[len(carried) :]]
    made = body.made(following, outputs, [0] * len(outputs))
    states, stacked = made[: len(following)], made[len(following) :]
    found: list[Operand] = []
    for at, each in enumerate(carried):
        if is_state[at]:
            found.append(states.pop(0))
        elif at in stays or added[grown.index(at)] is None:
            found.append(each)
        else:
            found.append(_behind(context, each, stacked.pop(0)))
    return (*found, *stacked)


def _unchanged(graph: Graph) -> set[int]:
    """What each round hands on as it is given."""
    copies = {node.outputs[0]: node.inputs[0] for node in graph.nodes if node.op == "Identity"}
    found = set()
    for at, (one, other) in enumerate(zip(graph.inputs[2:], graph.outputs[1:], strict=False)):
        name = other.name
        while name in copies:
            name = copies.pop(name)
        if name == one.name:
            found.add(at)
    return found


def _added(operand: Operand) -> Operand:
    """What a round adds to a sequence; None: nothing."""
    if not isinstance(operand, Several) or not operand.grows or len(operand.parts) > 1:
        raise Refusal("a Loop that changes a sequence is supported where each round adds one part at its end")
    return operand.parts[0] if operand.parts else None


def _behind(context: Context, operand: Operand, rows: Ref) -> Several:
    """A sequence with rows added."""
    parts = operand.parts if isinstance(operand, Several) else ()
    before = [operand.rows] if isinstance(operand, Several) and operand.rows is not None else []
    if parts:
        before.append(context.op("stack", *(context.builder.reference(each) for each in parts), axis=0))
    return Several((), context.op("concatenate", *before, rows, axis=0) if before else rows)


ROWS: Final[list[Lifting]] = [
    Lifting(
        "If",
        "(one of its branches), where",
        _branch,
        "where only the network knows the condition, both branches are computed and have to be of one shape",
    ),
    Lifting(
        "Loop",
        "Scan, (its rounds), stack",
        _loop,
        "as many rounds as an axis has elements, or a known number, and then its condition may be computed of "
        "constants and sizes",
    ),
    Lifting("Scan", "Scan, slice, (its rounds), stack", _scan, "opset 9 or newer"),
]
