"""The table of ops and its dispatch."""

import inspect

import numpy as np
import pytest

from modelarchive import ops
from modelarchive.ops.registry import BY_NUMPY, KIND_FUNCTIONS, OPS

ARITHMETIC = {"add", "subtract", "multiply", "divide", "power", "maximum", "minimum", "negative", "abs"}
FUNCTIONS = {"exp", "log", "sqrt", "rsqrt", "sin", "cos", "atan", "erf", "clip", "cast", "equal", "greater", "less"}
SHAPING = {"concatenate", "stack", "reshape", "transpose", "squeeze", "expand_dims", "slice"}
SELECTIONS = {"split", "take", "gather", "argsort", "scatter", "where", "pad", "broadcast_to", "shape_of"}
SELECTIONS |= {"conv", "grid_sample"}
INTEGERS = {"floor", "round", "floor_divide", "remainder", "left_shift", "right_shift"}
INTEGERS |= {"bitwise_and", "bitwise_or", "bitwise_xor"}
REDUCTIONS = {"matmul", "einsum", "sum", "mean", "max", "min", "var", "argmax", "cumsum", "softmax"}


class Recorder:
    """Stands for a symbol of the tracer."""

    def __record_op__(self, name, inputs, arguments):
        return "op", name, inputs, arguments

    def __record_block__(self, kind, inputs, config):
        return "block", kind, inputs, config


def test_the_vocabulary_is_complete_and_closed():
    assert set(OPS) == ARITHMETIC | FUNCTIONS | SHAPING | SELECTIONS | REDUCTIONS | INTEGERS


def test_public_names_are_the_ops_and_the_functions_of_kinds():
    assert set(ops.__all__) == {*OPS, *KIND_FUNCTIONS, "OPS", "Op"}
    assert all(getattr(ops, name) is not None for name in ops.__all__)


@pytest.mark.parametrize("name", [*OPS, *KIND_FUNCTIONS])
def test_every_function_is_documented_and_takes_its_arrays_by_position(name):
    entry = {**OPS, **KIND_FUNCTIONS}[name]
    assert entry.doc == inspect.getdoc(getattr(ops, name))
    assert entry.doc[0].isupper() or entry.doc[0] == "`"
    assert (entry.kind is None) == (name in OPS)


def test_a_call_with_a_symbol_is_recorded_with_all_its_literals():
    x = Recorder()
    assert ops.add(x, 2.0) == ("op", "add", (x, 2.0), {})
    assert ops.add(2.0, x) == ("op", "add", (2.0, x), {})
    assert ops.sum(x, 1) == ("op", "sum", (x,), {"axis": 1, "keepdims": False})
    assert ops.reshape(x, shape=(None, -1)) == ("op", "reshape", (x,), {"shape": (None, -1)})
    one = np.ones(1)
    kind, name, inputs, arguments = ops.concatenate([one, x], axis=1)
    assert (kind, name, arguments) == ("op", "concatenate", {"axis": 1})
    assert inputs[0] is one
    assert inputs[1] is x


def test_a_function_of_a_kind_is_recorded_as_that_block():
    x = Recorder()
    assert ops.relu(x) == ("block", "Activation", (x,), {"activation": "relu"})
    assert ops.elu(x) == ("block", "Activation", (x,), {"activation": "elu", "alpha": 1.0})
    assert ops.leaky_relu(x, alpha=0.2)[-1] == {"activation": "leaky_relu", "alpha": 0.2}
    assert ops.flatten(x) == ("block", "Flatten", (x,), {})


def test_a_wrong_call_is_a_type_error_also_when_recorded():
    for x in (Recorder(), np.ones((2, 2), np.float32)):
        with pytest.raises(TypeError):
            ops.sum(x, axes=1)
        with pytest.raises(TypeError):
            ops.add(x)


def test_an_op_runs_from_flat_inputs_and_json_arguments():
    x, y = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    assert OPS["concatenate"](x, y, axis=0).shape == (4, 3)
    assert OPS["stack"](x, y, axis=2).shape == (2, 3, 2)
    assert OPS["sum"](x, axis=[0, 1], keepdims=True).shape == (1, 1)
    assert OPS["transpose"](x, axes=[1, 0]).shape == (3, 2)
    assert OPS["squeeze"](x[:1], axis=[0]).shape == (3,)
    assert OPS["expand_dims"](x, axis=[0, 3]).shape == (1, 2, 3, 1)


@pytest.mark.parametrize(
    ("function", "name"),
    [(np.add, "add"), (np.true_divide, "divide"), (np.concatenate, "concatenate"), (np.abs, "abs"), (np.max, "max")],
)
def test_numpy_functions_mean_ops(function, name):
    assert BY_NUMPY[function] is OPS[name]
