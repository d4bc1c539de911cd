"""The table of TensorFlow's functions in models of Keras 2: the operations of Keras 3 that they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modelarchive.exchange.keras.config import Config
from modelarchive.exchange.keras.model import Call, Layer
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.strict import short


@dataclass(frozen=True)
class Function:
    """A function of TensorFlow.

    Attributes:
        operation: The class of Keras 3 that is the same.
        arguments: Names of the arguments behind the first that are arguments of the operation too.
        settings: Names of those that are settings of the operation -> name there.
        given: Settings that it has in any case, or if it does not say otherwise.
    """

    operation: str
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)


_REDUCTION: Final = {"axis": "axis", "keepdims": "keepdims"}
_AXIS: Final = {"axis": "axis"}


def _several(names: str, operation: str, arguments: tuple[str, ...] = ()) -> dict[str, Function]:
    return {name: Function(operation, arguments) for name in names.split()}


#: Name, as the config has it -> function.
FUNCTIONS: Final[dict[str, Function]] = {
    **_several("__operators__.add math.add", "Add", ("y",)),
    **_several("math.subtract", "Subtract", ("y",)),
    **_several("math.multiply", "Multiply", ("y",)),
    **_several("math.truediv math.divide", "TrueDivide", ("y",)),
    **_several("math.pow", "Power", ("y",)),
    **_several("math.maximum", "Maximum", ("y",)),
    **_several("math.minimum", "Minimum", ("y",)),
    **_several("math.greater", "Greater", ("y",)),
    **_several("math.less", "Less", ("y",)),
    **_several("math.negative", "Negative"),
    **_several("math.abs", "Absolute"),
    **_several("math.exp", "Exp"),
    **_several("math.log", "Log"),
    **_several("math.sqrt", "Sqrt"),
    **_several("math.rsqrt", "Rsqrt"),
    **_several("math.square", "Square"),
    **_several("math.erf", "Erf"),
    **_several("math.sin", "Sin"),
    **_several("math.cos", "Cos"),
    **_several("nn.relu", "Relu"),
    **_several("nn.relu6", "Relu6"),
    **_several("math.sigmoid nn.sigmoid", "Sigmoid"),
    **_several("math.tanh nn.tanh", "Tanh"),
    **_several("nn.silu nn.swish", "Silu"),
    **_several("nn.elu", "Elu"),
    **_several("nn.selu", "Selu"),
    **_several("math.softplus nn.softplus", "Softplus"),
    **_several("identity", "Copy"),
    **_several("stop_gradient", "StopGradient"),
    "nn.gelu": Function("Gelu", (), {"approximate": "approximate"}, {"approximate": False}),
    "nn.leaky_relu": Function("LeakyRelu", (), {"alpha": "negative_slope"}, {"negative_slope": 0.2}),
    "nn.softmax": Function("Softmax", (), _AXIS, {"axis": -1}),
    "math.reduce_mean": Function("Mean", (), _REDUCTION),
    "math.reduce_sum": Function("Sum", (), _REDUCTION),
    "math.reduce_max": Function("Max", (), _REDUCTION),
    "math.reduce_min": Function("Min", (), _REDUCTION),
    "concat": Function("Concatenate", (), _AXIS),
    "stack": Function("Stack", (), _AXIS, {"axis": 0}),
    "reshape": Function("Reshape", (), {"shape": "newshape"}),
    "transpose": Function("Transpose", (), {"perm": "axes"}),
    "compat.v1.transpose": Function("Transpose", (), {"perm": "axes"}),
    "expand_dims": Function("ExpandDims", (), _AXIS),
    "squeeze": Function("Squeeze", (), _AXIS),
    "compat.v1.squeeze": Function("Squeeze", (), _AXIS),
    "cast": Function("Cast", (), {"dtype": "dtype"}),
    "clip_by_value": Function("Clip", (), {"clip_value_min": "x_min", "clip_value_max": "x_max"}),
    "linalg.matmul": Function("Matmul", ("b",)),
    "__operators__.getitem": Function("GetItem", ("slice_spec",)),
}


def as_operation(layer: Layer, call: Call) -> tuple[Layer, Call]:
    """A TFOpLambda or SlicingOpLambda as the operation that it is, and its call.

    Raises:
        Refusal: The function is not supported, or not with these arguments.
    """
    name = layer.config.values.get("function", "__operators__.getitem")
    found = FUNCTIONS.get(name) if isinstance(name, str) else None
    if found is None:
        raise Refusal(f"TensorFlow's function {short(name)} is not supported")
    given = {key: value for key, value in call.kwargs.items() if key != "name"}
    # TensorFlow's defaults, written out: transpose_b, conjugate, ...
    given = {
        key: value for key, value in given.items() if key in found.settings or not (value is None or value is False)
    }
    config = dict(found.given) | {there: given.pop(here) for here, there in found.settings.items() if here in given}
    further = [_slices(given.pop(argument)) for argument in found.arguments if argument in given]
    if given:
        raise Refusal(f"TensorFlow's {name} is called with {short(given)}, which is not supported")
    operation = Layer(layer.name, found.operation, "keras.ops", Config({"name": layer.name, **config}), [])
    return operation, Call([*call.args, *further], {})


def _slices(value: Any) -> Any:
    """The places of an index, as Keras 2 wrote them."""
    if isinstance(value, list):
        return [_slices(each) for each in value]
    if isinstance(value, dict) and set(value) == {"start", "stop", "step"}:
        return slice(value["start"], value["stop"], value["step"])
    return value
