"""What the numbers in a model say of its inputs: sizes that it may be made for, values by which it decides."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from modelarchive.errors import ModelArchiveError
from modelarchive.exchange import budget
from modelarchive.exchange.onnx.inputs import inputs_of
from modelarchive.exchange.onnx.model import Model, Node
from modelarchive.exchange.onnx.values import Constant
from modelarchive.exchange.refusal import Refusal

#: Constants that are looked at, their elements, and how many sizes and values are told.
_LOOKED_AT: Final = 4096
_ELEMENTS: Final = 8
_SIZES: Final = 8
_VALUES: Final = 3
#: The largest size.
_LARGEST: Final = 1 << 16
_COMPARISONS: Final = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
#: Operators that give their input in another dtype or shape.
_SAME: Final = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


def sizes_in(model: Model) -> list[int]:
    """Whole numbers that a model has as constants, the most frequent first: one may be the size that an axis has."""
    counts: Counter[int] = Counter()
    for array in _constants(model).values():
        counts.update(int(each) for each in array.reshape(-1) if 1 < each <= _LARGEST)
    return [size for size, _ in counts.most_common(_SIZES)]


def deciding(model: Model) -> dict[str, list[Any]]:
    """Inputs of one number by which a graph decides -> the numbers that it compares them with; of a truth, both."""
    single = {
        value.name: value
        for value in inputs_of(model)
        if not value.problem and all(size == 1 for size in value.shape or ())
    }
    constants = _constants(model)
    found: dict[str, dict[Any, None]] = {}
    same = {name: name for name in single}
    for node in model.graph.nodes:
        budget.spend(f"{node.op} {node.name!r}", steps=1)
        given = [same[name] for name in node.inputs if name in same]
        if not given:
            continue
        if node.op in _SAME and node.inputs[0] in same and node.outputs:
            same[node.outputs[0]] = given[0]
        if node.op == "If" and single[given[0]].dtype == "bool":
            found.setdefault(given[0], {}).update({True: None, False: None})
        if node.op in _COMPARISONS:
            beside = [constants[name] for name in node.inputs if name in constants and constants[name].size == 1]
            found.setdefault(given[0], {}).update({array.item(): None for array in beside})
    return {name: list(numbers)[:_VALUES] for name, numbers in found.items() if numbers}


def _constants(model: Model) -> dict[str, np.ndarray]:
    """Small constants of whole numbers, by name: stored ones, and those of nodes."""
    found = {}
    for name, message in _small(model):
        with contextlib.suppress(ModelArchiveError, Refusal):
            array = model.tensors.array(message)
            if array.size <= _ELEMENTS and array.dtype.kind in "iu":
                found[name] = Constant(array).numpy()
        if len(found) >= _LOOKED_AT:
            break
    return found


def _small(model: Model) -> Iterator[tuple[str, Any]]:
    yield from model.graph.stored.items()
    for node in model.graph.nodes:
        if node.op == "Constant" and node.outputs and (message := _tensor_of(node)) is not None:
            yield node.outputs[0], message


def _tensor_of(node: Node) -> Any:
    return node.attributes.get("value", {}).get("t")
