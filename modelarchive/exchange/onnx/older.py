"""Operators as older opsets had them, said as the newest has them: attributes that became inputs, other defaults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive.exchange.onnx.model import Node
from modelarchive.exchange.onnx.values import Constant, Operand
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.deferred import Deferred

#: The opset from which on operators broadcast as NumPy does, and none trains unless it is asked to.
_FIRST: Final = 7
#: Operators that meant before it what they mean today; attributes that they had beside are refused as unknown ones.
_EARLY_NAMES: Final = """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant Conv ConvTranspose
    DepthToSpace Div Dropout Elu Equal Exp Flatten Floor Gather Gemm GlobalAveragePool GlobalMaxPool Greater
    HardSigmoid Hardmax Identity InstanceNormalization LRN LeakyRelu Less Log LogSoftmax LpNormalization MatMul Max
    MaxPool Mean Min Mul Neg Not Or PRelu Pad Pow Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Selu Shape Sigmoid Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Xor
"""
_EARLY: Final = frozenset(_EARLY_NAMES.split())


@dataclass
class _Older:
    """One use of an operator, on its way to the newest form.

    Attributes:
        node: The node.
        operands: What it takes.
    """

    node: Node
    operands: list[Operand]

    def take(self, name: str, kind: str, default: Any = None) -> Any:
        """The value of an attribute that the newest form does not have; it is gone then."""
        found = self.node.get(name, kind, default)
        self.node.attributes.pop(name, None)
        return found

    def give(self, place: int, name: str, values: Any, dtype: Any) -> None:
        """An input instead, if there is a value."""
        if values is None:
            return
        missing = place + 1 - len(self.operands)
        self.operands += [None] * missing
        self.node.inputs += ("",) * (place + 1 - len(self.node.inputs))
        self.operands[place] = Constant(Deferred.of(np.asarray(values, dtype)))
        self.node.inputs = (*self.node.inputs[:place], f"{self.node.name}_{name}", *self.node.inputs[place + 1 :])

    def say(self, **attributes: Any) -> None:
        """Attributes of the newest form, where the node does not have them."""
        for name, value in attributes.items():
            kind = {bytes: "s", int: "i", list: "ints"}[type(value)]
            self.node.attributes.setdefault(name, {"name": name, kind: value})


_Change: TypeAlias = Callable[[_Older], None]


def _inputs(*moved: tuple[str, int, str, Any]) -> _Change:
    """Attributes that became inputs: the name, which input, the field of the attribute, and the dtype."""

    def change(older: _Older) -> None:
        for name, place, kind, dtype in moved:
            if name in older.node.attributes:
                older.give(
                    place, name, older.take(name, kind), _dtype_of(older.operands[0]) if dtype is None else dtype
                )

    return change


def _dtype_of(operand: Operand) -> Any:
    return operand.array.dtype.newbyteorder("=") if isinstance(operand, Constant) else None


def _clip(older: _Older) -> None:
    for place, name in ((1, "min"), (2, "max")):
        value = older.take(name, "f")
        # Beyond what a float has: no bound.
        if value is not None and abs(value) < 3.4e38:
            older.give(place, name, value, np.float32)


def _slice(older: _Older) -> None:
    starts, ends = older.take("starts", "ints"), older.take("ends", "ints")
    if starts is None or ends is None:
        raise Refusal("Slice without starts and ends is not supported")
    older.give(1, "starts", starts, np.int64)
    older.give(2, "ends", ends, np.int64)
    older.give(3, "axes", older.take("axes", "ints"), np.int64)


def _resize_of_ten(older: _Older) -> None:
    """Resize of opset 10, and Upsample: the scales are the second input, and places are multiplied by them.

    The nearest element is the one before; of a smaller result, the one behind.
    """
    older.operands.insert(1, None)
    older.node.inputs = (older.node.inputs[0], "", *older.node.inputs[1:])
    older.say(coordinate_transformation_mode=b"asymmetric", nearest_mode=b"")


def _upsample(older: _Older) -> None:
    if len(older.operands) < 2:
        older.give(1, "scales", older.take("scales", "floats"), np.float32)
    if older.node.text("mode", "nearest") == "bilinear":
        older.node.attributes["mode"] = {"name": "mode", "s": b"linear"}
    older.node.op = "Resize"
    _resize_of_ten(older)


def _dropout(older: _Older) -> None:
    older.give(1, "ratio", older.take("ratio", "f"), np.float32)


def _batch_norm(older: _Older) -> None:
    if not older.node.get("spatial", "i", 1):
        raise Refusal("BatchNormalization with statistics for each element (spatial = 0) is not supported")
    older.node.attributes.pop("spatial", None)


def _scatter(older: _Older) -> None:
    older.node.op = "ScatterElements"


def _trained(older: _Older) -> None:
    """Before opset 7 what is no test is training."""
    if not older.take("is_test", "i", 0):
        raise Refusal(f"{older.node.op} of opset 6 and older without is_test trains, which is not supported")
    older.node.attributes.pop("consumed_inputs", None)


def _axis_of_concat(older: _Older) -> None:
    older.say(axis=1)


def _reshape(older: _Older) -> None:
    older.give(1, "shape", older.take("shape", "ints"), np.int64)


def _pads(older: _Older) -> None:
    if "paddings" in older.node.attributes:
        older.give(1, "pads", older.take("paddings", "ints"), np.int64)


_AXES: Final = _inputs(("axes", 1, "ints", np.int64))

#: Operator -> (the opset that has another form, what makes that of the older one), the oldest first.
_OLDER: Final[dict[str, Sequence[tuple[int, _Change]]]] = {
    "Squeeze": [(13, _AXES)],
    "Unsqueeze": [(13, _AXES)],
    "Split": [(13, _inputs(("split", 1, "ints", np.int64)))],
    "Clip": [(11, _clip)],
    "Pad": [(2, _pads), (11, _inputs(("pads", 1, "ints", np.int64), ("value", 2, "f", np.float32)))],
    "Slice": [(10, _slice)],
    "TopK": [(10, _inputs(("k", 1, "i", np.int64)))],
    "Upsample": [(11, _upsample)],
    "Resize": [(11, _resize_of_ten)],
    "Dropout": [(7, _trained), (12, _dropout)],
    "BatchNormalization": [(7, _trained), (14, _batch_norm)],
    "Scatter": [(29, _scatter)],
    "Concat": [(4, _axis_of_concat)],
    "Reshape": [(5, _reshape)],
}


def renewed(node: Node, operands: list[Operand], opset: int) -> tuple[Node, list[Operand]]:
    """A node of an opset, and what it takes, as the newest opset has them.

    Raises:
        Refusal: The older form is not supported.
    """
    changes = [change for before, change in _OLDER.get(node.op, ()) if opset < before]
    if opset < _FIRST and "::" not in node.op and node.op not in _EARLY:
        raise Refusal(f"{node.op} of opset {opset} is not supported, only from opset {_FIRST} on")
    if not changes:
        return node, operands
    copy = replace(node, attributes=dict(node.attributes), used=set())
    older = _Older(copy, list(operands))
    for change in changes:
        change(older)
    return older.node, older.operands
