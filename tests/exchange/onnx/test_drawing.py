"""Layers that are added to a graph: each with its own constants, whatever memory they lie in."""

from __future__ import annotations

import numpy as np

from modelarchive.exchange.onnx.drawing import NestedBuilder
from modelarchive.exchange.onnx.values import Constant
from modelarchive.nn.trials import first_trial
from modelarchive.store.deferred import Deferred


def _array(number: float) -> Deferred:
    array = np.full((4, 4), number, np.float32)
    return Deferred(array.shape, array.dtype, lambda: array)


def test_layers_of_other_computed_constants_are_other_layers() -> None:
    builder = NestedBuilder({})
    x = builder.input("x", first_trial([{"shape": [None, 4], "dtype": "float32"}]).values[0])
    fields = {"units": 4, "use_bias": False, "in_units": 4}
    arrays = [_array(number) for number in range(50)]
    for array in arrays:  # each constant is gone before the next comes, and leaves it its place in memory
        builder.stored_layer("dense", "Dense", fields, [x], {"weight": Constant(array)})
    assert len([node for node in builder.nodes if "block" in node]) == 50
    assert sorted(float(each.read()[0, 0]) for each in builder.arrays.values()) == list(range(50))


def test_a_layer_of_the_same_constant_is_called_again() -> None:
    builder = NestedBuilder({})
    x = builder.input("x", first_trial([{"shape": [None, 4], "dtype": "float32"}]).values[0])
    weight = Constant(_array(1))
    fields = {"units": 4, "use_bias": False, "in_units": 4}
    for _ in range(3):
        builder.stored_layer("dense", "Dense", fields, [x], {"weight": weight})
    assert [next(iter(set(node) & {"block", "call"})) for node in builder.nodes] == ["block", "call", "call"]
