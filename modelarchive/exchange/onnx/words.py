"""The words that ONNX and the vocabulary have for the same thing: dtypes, ops and activations; for both directions."""

from __future__ import annotations

from typing import Final

#: Code of ``TensorProto.DataType`` -> the vocabulary's word for the dtype.
DTYPES: Final[dict[int, str]] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    19: "float8_e5m2",
}
#: The vocabulary's word for a dtype -> code of ``TensorProto.DataType``.
CODES: Final[dict[str, int]] = {name: code for code, name in DTYPES.items()}

#: Float8 -> the largest number, where what is beyond it is held down to.
LARGEST: Final[dict[str, float]] = {"float8_e4m3fn": 448.0, "float8_e5m2": 57344.0}

#: Ops of one array that keep its shape -> operator of ONNX that means the same.
UNARY: Final[dict[str, str]] = {
    "negative": "Neg",
    "abs": "Abs",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "erf": "Erf",
}
#: Ops of two arrays that broadcast -> operator of ONNX that means the same for arrays of one dtype.
BINARY: Final[dict[str, str]] = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "power": "Pow",
    "maximum": "Max",
    "minimum": "Min",
    "equal": "Equal",
    "greater": "Greater",
    "less": "Less",
    "matmul": "MatMul",
}
#: Activations that an operator of ONNX means with its default attributes -> that operator.
ACTIVATIONS: Final[dict[str, str]] = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "hard_swish": "HardSwish",
    "mish": "Mish",
}
