"""The table of TensorFlow's functions in models of Keras 2: the operations of Keras 3 that they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from modelarchive.exchange.keras.config import Config
from modelarchive.exchange.keras.lifting_tensorflow_formulas import FORMULAS
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
_FUNCTIONS: Final[dict[str, Function]] = {
    **_several("__operators__.add math.add", "Add", ("y",)),
    **_several("math.subtract", "Subtract", ("y",)),
    **_several("math.multiply", "Multiply", ("y",)),
    **_several("math.truediv math.divide", "TrueDivide", ("y",)),
    **_several("math.pow", "Power", ("y",)),
    **_several("math.maximum", "Maximum", ("y",)),
    **_several("math.minimum", "Minimum", ("y",)),
    **_several("math.greater", "Greater", ("y",)),
    **_several("math.less", "Less", ("y",)),
    **_several("math.greater_equal", "GreaterEqual", ("y",)),
    **_several("math.less_equal", "LessEqual", ("y",)),
    **_several("math.equal", "Equal", ("y",)),
    **_several("math.not_equal", "NotEqual", ("y",)),
    **_several("math.logical_and", "LogicalAnd", ("y",)),
    **_several("math.logical_or", "LogicalOr", ("y",)),
    **_several("math.logical_xor", "LogicalXor", ("y",)),
    **_several("math.logical_not", "LogicalNot"),
    **_several("math.floormod", "Mod", ("y",)),
    **_several("math.floordiv", "FloorDivide", ("y",)),
    **_several("math.divide_no_nan", "DivideNoNan", ("y",)),
    **_several("math.atan2", "Arctan2", ("x",)),
    **_several("where", "Where", ("x", "y")),
    **_several("nn.bias_add", "Add", ("bias",)),
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
    **_several("math.tan", "Tan"),
    **_several("math.sinh", "Sinh"),
    **_several("math.cosh", "Cosh"),
    **_several("math.asin", "Arcsin"),
    **_several("math.acos", "Arccos"),
    **_several("math.atan", "Arctan"),
    **_several("math.asinh", "Arcsinh"),
    **_several("math.acosh", "Arccosh"),
    **_several("math.atanh", "Arctanh"),
    **_several("math.log1p", "Log1p"),
    **_several("math.expm1", "Expm1"),
    **_several("math.floor", "Floor"),
    **_several("math.ceil", "Ceil"),
    **_several("math.round round", "Round"),
    **_several("math.sign sign", "Sign"),
    **_several("math.reciprocal", "Reciprocal"),
    **_several("math.is_nan", "Isnan"),
    **_several("math.is_finite", "Isfinite"),
    **_several("nn.softsign math.softsign", "Softsign"),
    **_several("math.log_sigmoid", "LogSigmoid"),
    **_several("image.rgb_to_grayscale", "RGBToGrayscale"),
    **_several("zeros_like", "ZerosLike"),
    **_several("ones_like", "OnesLike"),
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
    "nn.log_softmax": Function("LogSoftmax", (), _AXIS, {"axis": -1}),
    "math.reduce_prod": Function("Prod", (), _REDUCTION),
    "math.reduce_any": Function("Any", (), _REDUCTION),
    "math.reduce_all": Function("All", (), _REDUCTION),
    "math.reduce_logsumexp": Function("Logsumexp", (), _REDUCTION),
    "math.reduce_std": Function("Std", (), _REDUCTION),
    "math.reduce_variance": Function("Var", (), _REDUCTION),
    "norm": Function("Norm", (), _REDUCTION),
    "math.cumsum": Function("Cumsum", (), _AXIS, {"axis": 0}),
    "math.cumprod": Function("Cumprod", (), _AXIS, {"axis": 0}),
    "reverse": Function("Flip", (), _AXIS),
    "roll": Function("Roll", (), {"shift": "shift", "axis": "axis"}),
    "tile": Function("Tile", (), {"multiples": "repeats"}),
    "repeat": Function("Repeat", (), {"repeats": "repeats", "axis": "axis"}),
    "pad": Function("Pad", ("constant_values",), {"paddings": "pad_width", "mode": "mode"}),
    "gather": Function("Take", ("indices",), _AXIS, {"axis": 0}),
    "one_hot": Function("OneHot", (), {"depth": "num_classes", "axis": "axis", "dtype": "dtype"}),
    "unstack": Function("Unstack", (), {"num": "num", "axis": "axis"}),
    "broadcast_to": Function("BroadcastTo", (), {"shape": "shape"}),
    "tensordot": Function("Tensordot", ("b",), {"axes": "axes"}),
    "nn.depth_to_space": Function("DepthToSpace", (), {"block_size": "block_size"}),
    "nn.space_to_depth": Function("SpaceToDepth", (), {"block_size": "block_size"}),
    **{
        f"nn.{theirs}": Function(ours, (), {"ksize": "pool_size", "strides": "strides", "padding": "padding"})
        for theirs, ours in (
            *((f"max_pool{end}", "MaxPool") for end in ("1d", "2d", "3d")),
            *((f"avg_pool{end}", "AveragePool") for end in ("1d", "2d", "3d")),
        )
    },
    "concat": Function("Concatenate", (), _AXIS),
    "stack": Function("Stack", (), _AXIS, {"axis": 0}),
    "transpose": Function("Transpose", (), {"perm": "axes"}),
    "expand_dims": Function("ExpandDims", (), _AXIS),
    "squeeze": Function("Squeeze", (), _AXIS),
    "cast": Function("Cast", (), {"dtype": "dtype"}),
    "clip_by_value": Function("Clip", (), {"clip_value_min": "x_min", "clip_value_max": "x_max"}),
    "__operators__.getitem": Function("GetItem", ("slice_spec",)),
}


#: Functions that have several names.
_ALIASES: Final = {
    "nn.l2_normalize": "math.l2_normalize",
    "argmax": "math.argmax",
    "argmin": "math.argmin",
    "compat.v1.norm": "norm",
    "linalg.norm": "norm",
    "matmul": "linalg.matmul",
}
#: What TensorFlow has for an argument that is none: of these values nothing is meant.
_USUAL: Final[Mapping[str, Sequence[Any]]] = {
    "validate_indices": (None,),
    "batch_dims": (0,),
    "ord": ("euclidean", 2),
    "data_format": ("NHWC", "NWC", "NDHWC"),
    "on_value": (1, 1.0),
    "off_value": (0, 0.0),
    "out_type": ("int32",),
}


def as_operation(layer: Layer, call: Call) -> tuple[Layer, Call]:
    """A TFOpLambda or SlicingOpLambda as the operation that it is, and its call.

    Raises:
        Refusal: The function is not supported, or not with these arguments.
    """
    name = layer.config.values.get("function", "__operators__.getitem")
    short_name = name.removeprefix("compat.v1.") if isinstance(name, str) else ""
    short_name = _ALIASES.get(short_name, short_name)
    given = {key: value for key, value in call.kwargs.items() if key != "name"}
    # TensorFlow's defaults, written out: transpose_b, conjugate, ...
    if (own := f"tf.{short_name}") in FORMULAS:
        kept = {key: value for key, value in given.items() if not (value is None or value is False)}
        return Layer(layer.name, own, "tensorflow.ops", Config({"name": layer.name}), []), Call(call.args, kept)
    found = _FUNCTIONS.get(short_name)
    if found is None:
        raise Refusal(f"TensorFlow's function {short(name)} is not supported")
    given = {
        key: value
        for key, value in given.items()
        if key in found.settings or not (value is None or value is False or value in _USUAL.get(key, ()))
    }
    config = dict(found.given) | {
        there: _word(given.pop(here)) for here, there in found.settings.items() if here in given
    }
    if config.get("keepdims", True) is None:
        del config["keepdims"]
    further = [_slices(given.pop(argument)) for argument in found.arguments if argument in given]
    if given:
        raise Refusal(f"TensorFlow's {name} is called with {short(given)}, which is not supported")
    operation = Layer(layer.name, found.operation, "keras.ops", Config({"name": layer.name, **config}), [])
    return operation, Call([*call.args, *further], {})


def _word(value: Any) -> Any:
    """A word in capitals, as of padding, which Keras has in small letters."""
    return value.lower() if isinstance(value, str) else value


def _slices(value: Any) -> Any:
    """The places of an index, as Keras 2 wrote them."""
    if isinstance(value, list):
        return [_slices(each) for each in value]
    if isinstance(value, dict) and set(value) == {"start", "stop", "step"}:
        return slice(value["start"], value["stop"], value["step"])
    if isinstance(value, dict) and value.get("class_name") == "__ellipsis__":
        return ...
    return value
