"""The shapes of a symbol's inputs, which need not be in it: inferred backwards from what takes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from modelarchive.exchange.mxnet.lifting_layers import MODES, packed_inputs
from modelarchive.exchange.mxnet.ndarrays import DTYPES
from modelarchive.exchange.mxnet.symbol import VARIABLE, Attributes, Entry, SymbolGraph
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.axes import Size
from modelarchive.nn.parameter import dtype_name
from modelarchive.store.deferred import Deferred

Shape: TypeAlias = list[Size]

#: Operators whose first input has the shape of the result.
_SAME: Final = frozenset(
    [
        "Activation",
        "LeakyReLU",
        "Dropout",
        "Cast",
        "cast",
        "_copy",
        "identity",
        "BlockGrad",
        "clip",
        "relu",
        "sigmoid",
        "tanh",
        "BatchNorm",
        "LayerNorm",
        "InstanceNorm",
        "softmax",
        "log_softmax",
        "SoftmaxOutput",
        "_plus_scalar",
        "_minus_scalar",
        "_rminus_scalar",
        "_mul_scalar",
        "_div_scalar",
        "_rdiv_scalar",
        "elemwise_add",
        "elemwise_sub",
        "elemwise_mul",
        "elemwise_div",
        "_npx_activation",
        "_npx_batch_norm",
        "_npx_dropout",
        "_npx_relu",
        "_npx_leaky_relu",
        "_npx_layer_norm",
        "_npi_multiply_scalar",
        "_npi_add_scalar",
        "_npi_subtract_scalar",
        "_npi_rsubtract_scalar",
        "_npi_true_divide_scalar",
        "_npi_tanh",
        "_npx_sigmoid",
        "_npx_softmax",
        "masked_softmax",
    ]
)
_CONVOLUTIONS: Final = ("Convolution", "Convolution_v1", "_npx_convolution")
_DENSE: Final = ("FullyConnected", "_npx_fully_connected")
#: Usual sizes of images, the first that are tried.
_USUAL: Final = (224, 299, 28, 32, 64, 96, 128, 227, 256, 331, 384, 512)


def declared_shapes(symbol: SymbolGraph, arrays: Mapping[str, Deferred], *, guess: bool = False) -> dict[str, Shape]:
    """Name of an input -> its shape, as far as it can be inferred: None for an axis that is free.

    Inputs of which not even the number of axes can be inferred are left out.

    Args:
        symbol: The symbol.
        arrays: Its parameters.
        guess: Take what an Embedding, a Dense or a LayerNorm is given for sequences where nothing else is known.
    """
    wanted: dict[Entry, Shape] = {}
    for position in range(len(symbol.nodes) - 1, -1, -1):
        node = symbol.nodes[position]
        if node.op == VARIABLE or not node.inputs:
            continue
        try:
            result = wanted.get((position, 0))
            if node.op in ("RNN", "_npx_rnn"):
                shape: Shape | None = [None, None, _recurrent_inputs(symbol, position, arrays)]
            else:
                shape = _first_input(node.op, node.attributes, result, _weight(symbol, position, arrays))
        except Refusal:
            continue
        if shape is None and guess:
            shape = _sequence(node.op, node.attributes, _weight(symbol, position, arrays))
        if shape is not None:
            wanted.setdefault(node.inputs[0], shape)
    found = {}
    for position, node in enumerate(symbol.nodes):
        if node.op != VARIABLE or node.name in arrays:
            continue
        shape = wanted.get((position, 0))
        if "__shape__" in node.attributes.texts:
            # Before NumPy's shapes a size of 0 is one that is not known; with them it is -1.
            with contextlib.suppress(Refusal):
                shape = [size if size > 0 else None for size in node.attributes.sizes("__shape__") if size >= -1]
        if shape is not None and all(not isinstance(size, int) or size > 0 for size in shape):
            found[node.name] = [None, *shape[1:]]
    return found


def declared_inputs(
    symbol: SymbolGraph, arrays: Mapping[str, Deferred], shapes: Mapping[str, Shape], dtypes: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The inputs that the outputs need, as an architecture declares them; shape None where it is not known.

    Args:
        symbol: The symbol.
        arrays: The parameters.
        shapes: Name -> shape, as far as it is known.
        dtypes: Name -> dtype, where the symbol does not decide.
    """
    found = []
    for position in symbol.needed():
        node = symbol.nodes[position]
        if node.op != VARIABLE or node.name in arrays:
            continue
        code = node.attributes.texts.get("__dtype__", "0")
        dtype = DTYPES.get(int(code) if code.isascii() and code.isdigit() and len(code) < 3 else 0, DTYPES[0])
        shape = shapes.get(node.name)
        found.append(
            {
                "name": node.name,
                "shape": None if shape is None else list(shape),
                "dtype": dtypes.get(node.name, dtype_name(dtype)),
            }
        )
    return found


def _weight(symbol: SymbolGraph, position: int, arrays: Mapping[str, Deferred]) -> tuple[int, ...]:
    """The shape of the second input, if it is a stored parameter."""
    inputs = symbol.nodes[position].inputs
    array = arrays.get(symbol.nodes[inputs[1][0]].name) if len(inputs) > 1 else None
    return () if array is None else array.shape


def _recurrent_inputs(symbol: SymbolGraph, position: int, arrays: Mapping[str, Deferred]) -> int | None:
    """The size of a recurrence's input; None if it does not follow from its parameters."""
    node = symbol.nodes[position]
    at = node.inputs[1][0] if len(node.inputs) > 1 else position
    while symbol.nodes[at].inputs and at != position:
        at = symbol.nodes[at].inputs[0][0]
    array = arrays.get(symbol.nodes[at].name)
    if array is not None and len(array.shape) == 2:
        return array.shape[1]
    mode = MODES.get(node.attributes.text("mode"))
    if array is None or mode is None:
        return None
    hidden, layers = node.attributes.integer("state_size"), node.attributes.integer("num_layers")
    directions = 2 if node.attributes.flag("bidirectional", default=False) else 1
    return packed_inputs(array.size, max(1, mode[1] * hidden), hidden, layers, directions)


def _first_input(op: str, at: Attributes, result: Shape | None, weight: tuple[int, ...]) -> Shape | None:
    if op in _CONVOLUTIONS and len(weight) > 2:
        rank = len(weight) - 2
        free: Shape = [None] * rank
        if at.text("layout", "None").endswith("C"):
            return [None, *free, weight[-1] * at.integer("num_group", 1)]
        return [None, weight[1] * at.integer("num_group", 1), *free]
    if op in _DENSE and len(weight) == 2:
        if at.flag("flatten", default=True):
            return [None, weight[1]]
        return None if result is None else [*result[:-1], weight[1]]
    if op in ("Embedding", "_npx_embedding"):
        return None if result is None else result[:-1]
    if op in ("Pooling", "_npx_pooling"):
        rank = len(at.sizes("kernel", "()"))
        channels = result[1] if result is not None and len(result) == rank + 2 else None
        return [None, channels, *[None] * rank] if rank else None
    if result is None:
        return None
    if op in ("SwapAxis", "swapaxes"):
        one, two = at.integer("dim1", 0), at.integer("dim2", 0)
        shape = list(result)
        if max(abs(one), abs(two)) < len(shape):
            shape[one], shape[two] = shape[two], shape[one]
            return shape
    return result if op in _SAME else None


def _sequence(op: str, at: Attributes, weight: tuple[int, ...]) -> Shape | None:
    """What an operator is given that sequences are given to, by far most often."""
    if op in ("Embedding", "_npx_embedding") and len(weight) == 2:
        return [None, None]
    if op in _DENSE and len(weight) == 2 and not at.texts.get("flatten", "True").startswith(("T", "t", "1")):
        return [None, None, weight[1]]
    if op in ("LayerNorm", "_npx_layer_norm") and len(weight) == 1 and at.texts.get("axis", "-1") == "-1":
        return [None, None, weight[0]]
    return None


def candidates(shapes: Mapping[str, Shape]) -> Iterator[dict[str, Shape]]:
    """The shapes as they are; then, where images have free sizes, with one size after the other."""
    yield {name: list(shape) for name, shape in shapes.items()}
    if not any(None in shape[1:] and len(shape) > 2 for shape in shapes.values()):
        return
    for size in dict.fromkeys((*_USUAL, *range(8, 65, 4))):
        yield {
            name: [shape[0], *(size if each is None else each for each in shape[1:])] if len(shape) > 2 else list(shape)
            for name, shape in shapes.items()
        }
