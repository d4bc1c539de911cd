"""How ensembles of decision trees are lifted: all trees at once, one step down for each round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.onnx.lifting_context import Context
from modelarchive.exchange.onnx.lifting_learned import Learned
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lifting

_ML: Final = "ai.onnx.ml::"
#: Levels of a tree, the most.
_MAX_DEPTH: Final = 128
_LEAF: Final = "LEAF"


@dataclass(frozen=True)
class _Forest:
    """The trees of a file, their nodes counted through.

    Attributes:
        roots: The first node of each tree.
        features: Which feature each node looks at.
        limits: What it compares it with.
        ways: The next node where it holds, and where it does not; a leaf leads to itself.
        missing: Whether a missing number goes where it holds.
        kinds: How each node compares, a place in `_MODES`; of a leaf as some other does.
        depth: How many steps lead from a root to any leaf.
        numbers: (tree, number in it) -> the node.
    """

    roots: np.ndarray
    features: np.ndarray
    limits: np.ndarray
    ways: tuple[np.ndarray, np.ndarray]
    missing: np.ndarray
    kinds: np.ndarray
    depth: int
    numbers: dict[tuple[int, int], int]


def _whole(context: Context, name: str, count: int | None = None, default: Any = None) -> np.ndarray:
    found = context.node.integers(name, default)
    array = np.asarray([] if found is None else found, np.int64)
    if count is not None and array.size != count:
        raise Refusal(f"{name} has {array.size:,} numbers, expected {count:,}")
    return array


def _forest(context: Context) -> _Forest:
    trees = _whole(context, "nodes_treeids")
    count = trees.size
    context.make(16 * count)
    ids, features = _whole(context, "nodes_nodeids", count), _whole(context, "nodes_featureids", count)
    modes = context.node.texts("nodes_modes")
    limits = Learned.numbers(context, "nodes_values")
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
    if unknown := {mode for mode in modes if mode not in (_LEAF, *_MODES)}:
        raise Refusal(f"{context.node.op} of nodes of the kind {min(unknown)!r} is not supported")
    if min(map(np.min, ways)) < 0:
        raise Refusal(f"{context.node.op} of nodes that lead nowhere is not supported")
    some = next((mode for mode in modes if mode != _LEAF), _MODES[0])
    kinds = np.asarray([_MODES.index(some if mode == _LEAF else mode) for mode in modes], np.int64)
    reached = np.zeros(count, np.bool_)
    for way in ways:
        reached[way[~leaf]] = True
    roots = np.flatnonzero(~reached)
    depth = _depth(context, roots, (ways[0], ways[1]), leaf)
    features = np.where(leaf, 0, features)
    if roots.size != len(set(trees.tolist())) or features.min(initial=0) < 0:
        raise Refusal(f"{context.node.op} of trees with several roots is not supported")
    return _Forest(roots, features, limits, (ways[0], ways[1]), missing != 0, kinds, depth, numbers)


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


#: How nodes compare, as TreeEnsemble counts them.
_MODES: Final = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
#: How a node compares -> the ops, and whether their truth is turned round.
_COMPARED: Final[dict[str, tuple[str, bool]]] = {
    "BRANCH_LEQ": ("greater", True),
    "BRANCH_GT": ("greater", False),
    "BRANCH_LT": ("less", False),
    "BRANCH_GTE": ("less", True),
    "BRANCH_EQ": ("equal", False),
    "BRANCH_NEQ": ("equal", True),
}


def _holds(context: Context, forest: _Forest, node: Ref, value: Ref, limit: Ref) -> Ref:
    """Whether each node's comparison holds, by its own kind."""
    known = context.op("equal", value, value)
    kinds = np.unique(forest.kinds)
    found: Ref | None = None
    for kind in kinds.tolist():
        name, turned = _COMPARED[_MODES[kind]]
        holds = context.op(name, value, limit)
        if turned:
            # What is missing compares with nothing.
            holds = context.op("equal", holds, context.literal(False, "bool"))
            holds = context.op("multiply", holds, known) if _MODES[kind] != "BRANCH_NEQ" else holds
        if found is not None:
            own = context.op("take", context.fixed(forest.kinds), node, axis=0)
            holds = context.op("where", context.op("equal", own, context.literal(kind, "int64")), holds, found)
        found = holds
    if found is None:
        raise Refusal(f"{context.node.op} without nodes is not supported")
    if not forest.missing.any():
        return found
    lost = context.op("equal", known, context.literal(False, "bool"))
    tracks = context.op("multiply", lost, context.op("take", context.fixed(forest.missing), node, axis=0))
    return context.op("maximum", found, tracks)


def _leaves(context: Context, forest: _Forest, x: Ref) -> Ref:
    """The leaf of each tree for each row: (batch, trees)."""
    width = context.shape(0)[-1]
    if context.rank(0) != 2 or width is None or forest.features.max(initial=0) >= width:
        raise Refusal(f"{context.node.op} over {width} features is not supported")
    features, limits, yes, no = (context.fixed(each) for each in (forest.features, forest.limits, *forest.ways))
    node = context.op("broadcast_to", context.fixed(forest.roots.reshape(1, -1)), x, shape=[None, forest.roots.size])
    for _ in range(forest.depth):
        value = context.op("gather", x, context.op("take", features, node, axis=0), axis=1)
        holds = _holds(context, forest, node, value, context.op("take", limits, node, axis=0))
        one, two = (context.op("take", way, node, axis=0) for way in (yes, no))
        node = context.op("where", holds, one, two)
    return node


def _weighed(context: Context, forest: _Forest, prefix: str, count: int) -> Ref:
    """What the leaves of each row add to each target: (batch, targets)."""
    ids = _whole(context, f"{prefix}_ids")
    trees, places = (_whole(context, f"{prefix}_{name}", ids.size) for name in ("treeids", "nodeids"))
    weights = Learned.numbers(context, f"{prefix}_weights")
    context.make(len(forest.features) * count)
    if weights is None or weights.size != ids.size or not 0 <= ids.min(initial=0) <= ids.max(initial=0) < count:
        raise Refusal(f"{context.node.op} of {ids.size:,} weights for {count} targets is not supported")
    table = np.zeros((len(forest.features), count), np.float32)
    for tree, place, target, weight in zip(trees.tolist(), places.tolist(), ids.tolist(), weights, strict=True):
        if (tree, place) not in forest.numbers:
            raise Refusal(f"{context.node.op} of a weight at a node that does not exist is not supported")
        table[forest.numbers[tree, place], target] += weight
    leaves = _leaves(context, forest, Learned.floats(context))
    each = context.op("take", context.fixed(table), leaves, axis=0)
    return _joined(context, each, context.node.text("aggregate_function", "SUM"))


def _joined(context: Context, each: Ref, style: str) -> Ref:
    """What all trees say, (batch, trees, targets), as one."""
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
    count, base = context.node.integer("n_targets", 1), Learned.numbers(context, "base_values")
    if not 1 <= count <= 4096:
        raise Refusal(f"TreeEnsembleRegressor of {count} targets is not supported")
    found = _weighed(context, _forest(context), "target", count)
    found = found if base is None else context.op("add", found, context.fixed(base.reshape(1, -1)))
    return Learned.transformed(context, found)


def _classifier(context: Context) -> tuple[Any, ...]:
    """Scores of the classes and the label of the largest; of two classes the file may weigh one only."""
    node = context.node
    labels, texts = Learned.labels_of(context, "classlabels_int64s"), node.texts("classlabels_strings", [])
    count, base = len(texts) if labels is None else labels.size, Learned.numbers(context, "base_values")
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
    return Learned.labelled(context, places, labels), Learned.transformed(context, found)


def _of_two(context: Context, labels: np.ndarray | None, base: np.ndarray | None, weighed: set[int]) -> tuple[Any, ...]:
    """One score: a probability where all weights are positive, else how much it speaks for the second class."""
    style, weights = context.node.text("post_transform", "NONE"), Learned.numbers(context, "class_weights")
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
    return Learned.labelled(context, places, labels), context.activation("sigmoid", found) if logistic else found


#: How TreeEnsemble counts the ways of joining trees.
_JOINED: Final = ("AVERAGE", "SUM", "MIN", "MAX")


def _ensemble(context: Context) -> Ref:
    """The operator of version 5: nodes and leaves in lists of their own, in the input's dtype."""
    node, count = context.node, context.node.integer("n_targets", 1)
    style = node.integer("aggregate_function", 1)
    if (after := node.integer("post_transform", 0)) != 0:
        raise Refusal(f"TreeEnsemble with post_transform = {after} is not supported: runtimes take it in several ways")
    dtype, targets, weights = context.dtype(0), _whole(context, "leaf_targetids"), _array(context, "leaf_weights")
    if not 1 <= count <= 4096 or not 0 <= style < len(_JOINED):
        raise Refusal(f"TreeEnsemble of {count} targets, joined in the way {style}, is not supported")
    if targets.size != weights.size or not 0 <= targets.min(initial=0) <= targets.max(initial=0) < count:
        raise Refusal(f"TreeEnsemble of {weights.size:,} leaves for {count} targets is not supported")
    if str(weights.dtype) != dtype or dtype not in ("float32", "float64"):
        raise Refusal(f"TreeEnsemble of {dtype} with weights of {weights.dtype} is not supported")
    forest = _split_forest(context, targets.size)
    if forest.limits.dtype != weights.dtype:
        raise Refusal(f"TreeEnsemble of {dtype} with splits of {forest.limits.dtype} is not supported")
    context.make(len(forest.features) * count)
    table = np.zeros((len(forest.features), count), weights.dtype)
    table[np.arange(len(forest.features) - targets.size, len(forest.features)), targets] = weights
    each = context.op("take", context.fixed(table), _leaves(context, forest, context.ref(0)), axis=0)
    return _joined(context, each, _JOINED[style])


def _array(context: Context, name: str) -> np.ndarray:
    tensor = context.node.tensor(name)
    if tensor is None or len(tensor.shape) != 1:
        raise Refusal(f"{context.node.op} without a list of {name} is not supported")
    context.make(tensor.size)
    return tensor.read()


def _split_forest(context: Context, leaves: int) -> _Forest:
    """Nodes that lead to nodes and to leaves; the leaves are counted behind the nodes."""
    features, roots = _whole(context, "nodes_featureids"), _whole(context, "tree_roots")
    count, total = features.size, features.size + leaves
    context.make(16 * total)
    modes, limits = _array(context, "nodes_modes").astype(np.int64), _array(context, "nodes_splits")
    missing = _whole(context, "nodes_missing_value_tracks_true", default=[0] * count)
    context.node.tensor("nodes_hitrates")
    ways = []
    for side in ("true", "false"):
        places, is_leaf = (_whole(context, f"nodes_{side}{name}", count) for name in ("nodeids", "leafs"))
        inside = np.where(is_leaf != 0, leaves, count)
        if ((places < 0) | (places >= inside)).any():
            raise Refusal("TreeEnsemble of nodes that lead nowhere is not supported")
        ways.append(np.concatenate([np.where(is_leaf != 0, count + places, places), np.arange(count, total)]))
    if modes.size != count or limits.size != count or missing.size not in (0, count) or not count:
        raise Refusal(f"TreeEnsemble of {count:,} nodes whose lists differ in length is not supported")
    if not 0 <= modes.min() <= modes.max() < len(_MODES):
        raise Refusal("TreeEnsemble of nodes that look for members of a set is not supported")
    if not roots.size or not 0 <= roots.min() <= roots.max() < count or features.min() < 0:
        raise Refusal("TreeEnsemble of roots or features that do not exist is not supported")
    depth = _depth(context, roots, (ways[0], ways[1]), np.arange(total) >= count)
    padded = [np.pad(each, (0, leaves)) for each in (features, limits, missing if missing.size else 0 * features)]
    kinds = np.pad(modes, (0, leaves), constant_values=modes[0])
    return _Forest(roots, padded[0], padded[1], (ways[0], ways[1]), padded[2] != 0, kinds, depth, {})


ROWS: Final[list[Lifting]] = [
    Lifting(f"{_ML}TreeEnsemble", "take, gather, less, where, sum", _ensemble, "no members of sets"),
    Lifting(f"{_ML}TreeEnsembleRegressor", "take, gather, less, where, sum", _regressor),
    Lifting(
        f"{_ML}TreeEnsembleClassifier",
        "take, gather, less, where, sum, argmax",
        _classifier,
        "no labels that are texts",
    ),
]
