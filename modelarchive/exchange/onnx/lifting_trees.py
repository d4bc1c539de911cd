"""How ensembles of decision trees are lifted: all trees at once, one step down for each round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_learned import ML, floats, labelled, labels_of, learned, transformed
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

#: Levels of a tree, the most.
_MAX_DEPTH: Final = 128
_LEAF: Final = "LEAF"


@dataclass(frozen=True)
class Forest:
    """The trees of a file, their nodes counted through.

    Attributes:
        roots: The first node of each tree.
        features: Which feature each node looks at.
        limits: What it compares it with.
        ways: The next node where it holds, and where it does not; a leaf leads to itself.
        missing: Whether a missing number goes where it holds.
        mode: How nodes compare.
        depth: How many steps lead from a root to any leaf.
        numbers: (tree, number in it) -> the node.
    """

    roots: np.ndarray
    features: np.ndarray
    limits: np.ndarray
    ways: tuple[np.ndarray, np.ndarray]
    missing: np.ndarray
    mode: str
    depth: int
    numbers: dict[tuple[int, int], int]


def _whole(context: Context, name: str, count: int | None = None, default: Any = None) -> np.ndarray:
    found = context.node.integers(name, default)
    array = np.asarray([] if found is None else found, np.int64)
    if count is not None and array.size != count:
        raise Refusal(f"{name} has {array.size:,} numbers, expected {count:,}")
    return array


def _forest(context: Context) -> Forest:
    trees = _whole(context, "nodes_treeids")
    count = trees.size
    context.make(16 * count)
    ids, features = _whole(context, "nodes_nodeids", count), _whole(context, "nodes_featureids", count)
    modes = context.node.texts("nodes_modes")
    limits = learned(context, "nodes_values")
    context.node.numbers("nodes_hitrates", None)
    missing = _whole(context, "nodes_missing_value_tracks_true", default=[0] * count)
    missing = missing if missing.size else np.zeros(count, np.int64)
    numbers = {pair: place for place, pair in enumerate(zip(trees.tolist(), ids.tolist(), strict=True))}
    if limits is None or limits.size != count or len(modes) != count or missing.size != count or len(numbers) != count:
        raise Refusal(f"{context.node.op} of {count:,} nodes whose lists differ in length is not supported")
    leaf = np.asarray([mode == _LEAF for mode in modes])
    ways = []
    for name in ("nodes_truenodeids", "nodes_falsenodeids"):
        targets = _whole(context, name, count).tolist()
        found = [
            place if leaf[place] else numbers.get((tree, target), -1)
            for place, (tree, target) in enumerate(zip(trees.tolist(), targets, strict=True))
        ]
        ways.append(np.asarray(found, np.int64))
    kinds = {mode for mode in modes if mode != _LEAF}
    if min(map(np.min, ways)) < 0 or len(kinds) > 1:
        raise Refusal(f"{context.node.op} of nodes that compare in several ways ({', '.join(sorted(kinds)[:4])}), or "
                      "lead nowhere, is not supported")  # fmt: skip
    reached = np.zeros(count, np.bool_)
    for way in ways:
        reached[way[~leaf]] = True
    roots = np.flatnonzero(~reached)
    depth = _depth(context, roots, (ways[0], ways[1]), leaf)
    mode = kinds.pop() if kinds else "BRANCH_LEQ"
    features = np.where(leaf, 0, features)
    if roots.size != len(set(trees.tolist())) or features.min(initial=0) < 0:
        raise Refusal(f"{context.node.op} of trees with several roots is not supported")
    return Forest(roots, features, limits, (ways[0], ways[1]), missing != 0, mode, depth, numbers)


def _depth(context: Context, roots: np.ndarray, ways: tuple[np.ndarray, np.ndarray], leaf: np.ndarray) -> int:
    """How many steps it takes until all are at leaves."""
    level, depth = roots, 0
    while not leaf[level].all():
        depth += 1
        if depth > _MAX_DEPTH:
            raise Refusal(f"{context.node.op} of trees deeper than {_MAX_DEPTH} is not supported")
        budget.spend(f"{context.node.op} {context.name!r}", steps=8, elements=level.size)
        inner = level[~leaf[level]]
        level = np.unique(np.concatenate([way[inner] for way in ways]))
    return depth


#: How a node compares -> the ops, and whether their truth is turned round.
_COMPARED: Final[dict[str, tuple[str, bool]]] = {
    "BRANCH_LEQ": ("greater", True),
    "BRANCH_GT": ("greater", False),
    "BRANCH_LT": ("less", False),
    "BRANCH_GTE": ("less", True),
    "BRANCH_EQ": ("equal", False),
    "BRANCH_NEQ": ("equal", True),
}


def _leaves(context: Context, forest: Forest) -> Ref:
    """The leaf of each tree for each row: (batch, trees)."""
    x = floats(context)
    width = context.shape(0)[-1]
    if context.rank(0) != 2 or width is None or forest.features.max(initial=0) >= width:
        raise Refusal(f"{context.node.op} over {width} features is not supported")
    if forest.mode not in _COMPARED:
        raise Refusal(f"{context.node.op} of nodes of the kind {forest.mode!r} is not supported")
    name, turned = _COMPARED[forest.mode]
    features, limits, yes, no = (context.fixed(each) for each in (forest.features, forest.limits, *forest.ways))
    missing = context.fixed(forest.missing) if forest.missing.any() else None
    node = context.op("broadcast_to", context.fixed(forest.roots.reshape(1, -1)), x, shape=[None, forest.roots.size])
    for _ in range(forest.depth):
        value = context.op("gather", x, context.op("take", features, node, axis=0), axis=1)
        holds = context.op(name, value, context.op("take", limits, node, axis=0))
        known = context.op("equal", value, value)
        if turned:
            # What is missing compares with nothing.
            holds = context.op("equal", holds, context.literal(False, "bool"))
            holds = context.op("multiply", holds, known) if forest.mode != "BRANCH_NEQ" else holds
        if missing is not None:
            lost = context.op("equal", known, context.literal(False, "bool"))
            tracks = context.op("multiply", lost, context.op("take", missing, node, axis=0))
            holds = context.op("maximum", holds, tracks)
        one, two = (context.op("take", way, node, axis=0) for way in (yes, no))
        node = context.op("where", holds, one, two)
    return node


def _weighed(context: Context, forest: Forest, prefix: str, count: int) -> Ref:
    """What the leaves of each row add to each target: (batch, targets)."""
    ids = _whole(context, f"{prefix}_ids")
    trees, places = (_whole(context, f"{prefix}_{name}", ids.size) for name in ("treeids", "nodeids"))
    weights = learned(context, f"{prefix}_weights")
    context.make(len(forest.features) * count)
    if weights is None or weights.size != ids.size or not 0 <= ids.min(initial=0) <= ids.max(initial=0) < count:
        raise Refusal(f"{context.node.op} of {ids.size:,} weights for {count} targets is not supported")
    table = np.zeros((len(forest.features), count), np.float32)
    for tree, place, target, weight in zip(trees.tolist(), places.tolist(), ids.tolist(), weights, strict=True):
        if (tree, place) not in forest.numbers:
            raise Refusal(f"{context.node.op} of a weight at a node that does not exist is not supported")
        table[forest.numbers[tree, place], target] += weight
    each = context.op("take", context.fixed(table), _leaves(context, forest), axis=0)
    style = context.node.text("aggregate_function", "SUM")
    ways: dict[str, Callable[[], Ref]] = {
        "SUM": lambda: context.op("sum", each, axis=[1], keepdims=False),
        "AVERAGE": lambda: context.op("mean", each, axis=[1], keepdims=False),
        "MIN": lambda: context.op("min", each, axis=[1], keepdims=False),
        "MAX": lambda: context.op("max", each, axis=[1], keepdims=False),
    }
    if style not in ways:
        raise Refusal(f"aggregate_function = {style!r} is not supported")
    return ways[style]()


def _regressor(context: Context) -> Ref:
    count, base = context.node.integer("n_targets", 1), learned(context, "base_values")
    if not 1 <= count <= 4096:
        raise Refusal(f"TreeEnsembleRegressor of {count} targets is not supported")
    found = _weighed(context, _forest(context), "target", count)
    found = found if base is None else context.op("add", found, context.fixed(base.reshape(1, -1)))
    return transformed(context, found)


def _classifier(context: Context) -> tuple[Any, ...]:
    """Scores of the classes and the label of the largest; of two classes the file may weigh one only."""
    node = context.node
    labels, texts = labels_of(context, "classlabels_int64s"), node.texts("classlabels_strings", [])
    count, base = len(texts) if labels is None else labels.size, learned(context, "base_values")
    if not 2 <= count <= 4096:
        raise Refusal(f"TreeEnsembleClassifier of {count} classes is not supported")
    weighed = set(_whole(context, "class_ids").tolist())
    if count == 2:
        return _of_two(context, labels, base, weighed)
    found = _weighed(context, _forest(context), "class", count)
    if base is not None and base.size != count:
        raise Refusal(f"TreeEnsembleClassifier of {count} classes with {base.size} base values is not supported")
    found = found if base is None else context.op("add", found, context.fixed(base.reshape(1, -1)))
    places = context.op("argmax", found, axis=1, keepdims=False)
    return labelled(context, places, labels), transformed(context, found)


def _of_two(context: Context, labels: np.ndarray | None, base: np.ndarray | None, weighed: set[int]) -> tuple[Any, ...]:
    """One score: a probability where all weights are positive, else how much it speaks for the second class."""
    style, weights = context.node.text("post_transform", "NONE"), learned(context, "class_weights")
    if weighed != {0} or weights is None or (base is not None and base.size != 1) or style not in ("NONE", "LOGISTIC"):
        raise Refusal("TreeEnsembleClassifier of two classes is supported where the first one is weighed alone, as "
                      "converters write it: else runtimes take it in several ways")  # fmt: skip
    score = _weighed(context, _forest(context), "class", 1)
    score = score if base is None else context.op("add", score, context.literal(float(base[0]), "float32"))
    positive = bool((weights >= 0).all())
    limit = context.literal(0.5 if positive else 0, "float32")
    places = context.as_dtype(context.op("reshape", context.op("greater", score, limit), shape=[-1]), "int64")
    logistic = style == "LOGISTIC"
    whole = context.literal(1 if positive and not logistic else 0, "float32")
    found = context.op("concatenate", context.op("subtract", whole, score), score, axis=1)
    return labelled(context, places, labels), context.activation("sigmoid", found) if logistic else found


TREES: Final[list[Lifting]] = [
    Lifting(f"{ML}TreeEnsembleRegressor", "take, gather, less, where, sum", _regressor),
    Lifting(
        f"{ML}TreeEnsembleClassifier", "take, gather, less, where, sum, argmax", _classifier, "no labels that are texts"
    ),
]
