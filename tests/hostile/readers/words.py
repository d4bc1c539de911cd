"""Words that mean something in files of other systems, or that nobody expects there."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.keras.lifting import LAYERS
from modelarchive.exchange.mxnet.lifting import LIFTINGS as MXNET
from modelarchive.exchange.onnx.lifting import LIFTINGS as ONNX

#: Dtypes, places, names of code, and what is none of these.
WORDS: Final = (
    *("F64", "BF16", "<f8", "|O", "<U9", ">i4", "float16", "int4", "../x", "x", "", "layers", "data", "weight", "0"),
    *("torch", "os", "system", "builtins", "eval", "numpy", "ndarray", "collections", "OrderedDict", "FloatStorage"),
    *("Identity", "Reshape", "Expand", "ConstantOfShape", "Loop", "Conv", "Dense", "Lambda", "null", "Flatten", "é\0"),
)
#: Every operator and layer that is read, of any system.
OPERATORS: Final = tuple(dict.fromkeys((*ONNX, *MXNET, *LAYERS)))
