"""For each op of the vocabulary: inputs and literal arguments that say all of its meanings."""

from collections.abc import Iterator
from typing import Any

import numpy as np

import modelarchive as ma
from modelarchive import nn

#: What an input is: a shape, a number, or ``("indices", shape)``.
Case = tuple[list[Any], dict[str, Any]]

PAIRS: list[Case] = [
    ([(2, 3), (2, 3)], {}),
    ([(2, 1, 4), (3, 1)], {}),
    ([(2, 3), ()], {}),
    ([(2, 3), 2], {}),
    ([3, (2, 3)], {}),
]
ONE: list[Case] = [([(2, 3)], {}), ([()], {})]
REDUCED: list[Case] = [
    ([(2, 3, 4)], {"axis": axis, "keepdims": keep}) for axis in (None, 1, -1, [0, 2], []) for keep in (False, True)
]
ALONG: list[Case] = [([(2, 3, 4)], {"axis": axis}) for axis in (0, 1, -1)]
WHOLE = [None, None, None]
WAYS = [WHOLE, [1, None, None], [None, -1, None], [-2, 9, None], [None, None, 2], [3, 0, -1], [None, None, -2]]
INDICES: list[Any] = [[WHOLE, way] for way in WAYS]
INDICES += [[0], [-1, 2], [None, [1, 3, None]], [WHOLE, 1, None], []]
CUTS = [(2, 0), (3, 1), ([1, 5], 1), ([1, -1, 2], -1), ([-1], 0), ([2, -1], 1), ([-1, 1], 1), (1, 0)]
MATRICES = [
    ((2, 3), (3, 4)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((3,), (3,)),
    ((2, 2, 3), (3, 4)),
    ((2, 1, 2, 3), (5, 3, 4)),
]
SHAPES = [[None, -1], [None, 4, 3], [-1, 4], [6, 4], [-1], [None, None, 2, 2], [None, None, -1, 2]]
CONTRACTIONS = [
    ([(2, 3), (3, 4)], "ij,jk->ik"),
    ([(2, 3, 4), (2, 5, 4)], "bqd,bkd->bqk"),
    ([(3, 3)], "ii->i"),
    ([(2, 3, 4)], "aBc->cB"),
    ([(2, 3), (2,), (3,)], "ab,a,b->"),
]
NUMBERS = ("float32", "float64", "int64", "int32", "uint8", "int8", "bool")

#: Op -> its cases.
OP_CASES: dict[str, list[Case]] = {
    **dict.fromkeys(["add", "subtract", "multiply", "divide", "power", "maximum", "minimum"], PAIRS),
    **dict.fromkeys(["equal", "greater", "less"], PAIRS),
    **dict.fromkeys(["negative", "abs", "exp", "log", "sqrt", "rsqrt", "erf", "sin", "cos", "atan"], ONE),
    **dict.fromkeys(["floor", "round"], ONE),
    **dict.fromkeys(["floor_divide", "remainder", "bitwise_and", "bitwise_or", "bitwise_xor"], PAIRS),
    **dict.fromkeys(["left_shift", "right_shift"], PAIRS),
    "argsort": [([(2, 3, 4)], {"axis": axis, "descending": turn}) for axis in (0, 1, -1) for turn in (False, True)],
    "scatter": [
        ([shape, ("indices", places), written], {"axis": axis, "reduction": reduction})
        for shape, places, written, axis, reductions in (
            ((5, 3), (4, 3), (4, 3), 0, ("add", "multiply", "maximum", "minimum")),
            ((2, 5, 3), (1, 1, 3), (1, 1, 3), 1, ("none", "add")),
            ((3, 5), (2, 1), (), -1, ("none", "maximum")),
        )
        for reduction in reductions
    ],
    **dict.fromkeys(["sum", "mean", "max", "min"], REDUCED),
    "var": [
        (inputs, arguments | {"ddof": ddof})
        for inputs, arguments in REDUCED
        for ddof in (0, 1)
        if not (ddof and arguments["axis"] == [])
    ],
    "argmax": [([(2, 3, 4)], {"axis": axis, "keepdims": keep}) for axis in (None, 0, -1) for keep in (False, True)],
    "cumsum": ALONG,
    "conv": [
        ([(2, 4, 7), (6, 2, 3)], {"strides": [2], "padding": [[1, 1]], "dilation": [1]}),
        ([(2, 3, 6, 5), (4, 3, 3, 2)], {"strides": [1, 2], "padding": [[1, 0], [2, 2]], "dilation": [2, 1]}),
        ([(1, 6, 5, 5), (6, 1, 3, 3)], {"strides": [1, 1], "padding": [[1, 1], [1, 1]], "dilation": [1, 1]}),
        ([(1, 2, 4, 4, 3), (3, 2, 2, 2, 2)], {"strides": [1, 1, 1], "padding": [[0, 0]] * 3, "dilation": [1, 1, 1]}),
    ],
    "grid_sample": [
        ([(2, 3, 4, 5), (2, 3, 2, 2)], {"mode": mode, "padding_mode": padding, "align_corners": corners})
        for mode in ("linear", "nearest", "cubic")
        for padding in ("zeros", "border", "reflection")
        for corners in (False, True)
    ]
    + [
        ([(1, 2, 3, 4, 5), (1, 2, 2, 3, 3)], {"mode": mode, "padding_mode": "zeros", "align_corners": False})
        for mode in ("linear", "nearest")
    ],
    "softmax": ALONG,
    "clip": [([(2, 3)], {"low": low, "high": high}) for low, high in ((1, 2), (None, 2), (1, None), (2, 1))],
    "cast": [([(2, 3)], {"dtype": name}) for name in NUMBERS],
    "matmul": [([one, two], {}) for one, two in MATRICES],
    "einsum": [(inputs, {"pattern": pattern}) for inputs, pattern in CONTRACTIONS],
    "concatenate": [
        ([(2, 3), (2, 1)], {"axis": 1}),
        ([(2, 3), (2, 1)], {"axis": -1}),
        ([(2, 3), (1, 3), (4, 3)], {"axis": 0}),
    ],
    "stack": [([(2, 3), (2, 3)], {"axis": axis}) for axis in (0, 1, 2, -1)],
    "split": [([(4, 6)], {"sizes": sizes, "axis": axis}) for sizes, axis in CUTS],
    "reshape": [
        *(([(2, 3, 4)], {"shape": shape}) for shape in SHAPES),
        ([()], {"shape": [1, 1]}),
        ([(1, 1)], {"shape": []}),
    ],
    "transpose": [
        *(([(2, 3, 4)], {"axes": axes}) for axes in (None, [0, 2, 1], [-1, 0, 1])),
        ([()], {"axes": None}),
    ],
    "squeeze": [*(([(2, 1, 3, 1)], {"axis": axis}) for axis in (1, -1, [1, 3], None)), ([(2, 3)], {"axis": None})],
    "expand_dims": [([(2, 3)], {"axis": axis}) for axis in (0, -1, [0, 2], [1, -1])],
    "broadcast_to": [
        ([(3,), (2, 3)], {"shape": [None, 3]}),
        ([(2, 1, 3), (2, 5)], {"shape": [None, None, 3]}),
        ([(1,), (4,)], {"shape": [2, 5]}),
        ([(3,), (2, 3)], {"shape": [4, None, 3]}),
    ],
    "slice": [([(4, 5)], {"index": index}) for index in INDICES],
    "take": [([(4, 5), ("indices", shape)], {"axis": axis}) for shape in ((2,), (), (2, 3)) for axis in (0, 1, -1)],
    "gather": [
        ([(3, 4), ("indices", (3, 2))], {"axis": 1}),
        ([(3, 4), ("indices", (1, 2))], {"axis": -1}),
        ([(3, 1, 4), ("indices", (2, 5, 4))], {"axis": 0}),
    ],
    "where": [
        ([(2, 3), (2, 3), (2, 3)], {}),
        ([(2, 1), (3,), ()], {}),
        ([(2, 3), 1, (2, 3)], {}),
        ([(2, 3), (2, 3), 0], {}),
    ],
    "pad": [
        ([(2, 4, 5)], {"padding": padding, "mode": mode, "value": value})
        for padding in ([[1, 2]], [[0, 2], [3, 0]])
        for mode, value in (("constant", 0), ("constant", 1), ("reflect", 0), ("edge", 0), ("wrap", 0))
    ],
    "shape_of": [([(2, 3, 4)], {}), ([()], {})],
}


#: Ops of integers: where floats are asked for, they are tried with those.
OF_INTEGERS = {"bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"}


def op_architecture(op: str, case: Case, dtype: str, *, free: bool = False) -> tuple[dict[str, Any], list[np.ndarray]]:
    """A graph of one op, and arrays for its inputs; narrow floats are cast from float32 and back.

    Args:
        op: The op.
        case: Its inputs and arguments.
        dtype: Of the inputs that are no indices.
        free: Whether the sizes of the inputs are left open.
    """
    given, arguments = case
    dtype = "int32" if op in OF_INTEGERS and dtype.startswith(("float", "bfloat")) else dtype
    rng = np.random.default_rng(0)
    narrow = dtype in ("float16", "bfloat16", "float8_e4m3fn")
    declared, nodes, arrays, refs = [], [], [], []
    for place, each in enumerate(given):
        name = f"x{place}"
        if isinstance(each, int):
            nodes.append({"name": name, "op": "constant", "inputs": [], "arguments": {"value": each, "dtype": None}})
            refs.append(name)
            continue
        indices = each[:1] == ("indices",)
        array = rng.integers(-2, 3, each[1]) if indices else filled(rng, each, "float32" if narrow else dtype)
        shape = [None] * np.ndim(array) if free else list(np.shape(array))
        declared.append({"name": name, "shape": shape, "dtype": np.asarray(array).dtype.name})
        arrays.append(np.asarray(array))
        if narrow and not indices:
            nodes.append({"name": f"{name}c", "op": "cast", "inputs": [name], "arguments": {"dtype": dtype}})
            name = f"{name}c"
        refs.append(name)
    nodes.append({"name": op, "op": op, "inputs": refs, "arguments": arguments})
    outputs: list[Any] = [op]
    if op == "split":
        sizes = arguments["sizes"]
        outputs = [[op, part] for part in range(sizes if isinstance(sizes, int) else len(sizes))]
    if narrow:
        nodes += [
            {"name": f"y{place}", "op": "cast", "inputs": [ref], "arguments": {"dtype": "float32"}}
            for place, ref in enumerate(outputs)
        ]
        outputs = [f"y{place}" for place in range(len(outputs))]
    model = {"kind": "Graph", "inputs": [each["name"] for each in declared], "nodes": nodes, "outputs": outputs}
    return {"vocabulary": 1, "inputs": declared, "model": model}, arrays


def op_networks(op: str, dtype: str = "float32") -> Iterator[tuple[nn.Block, list[np.ndarray], list[dict[str, Any]]]]:
    """Networks of one op, inputs, and how these are declared: with fixed sizes and, of float32, with free ones.

    What there is not is left out: the op of this dtype, or of sizes that are not fixed.
    """
    for case in OP_CASES[op]:
        for free in (False, True) if dtype == "float32" else (False,):
            architecture, arrays = op_architecture(op, case, dtype, free=free)
            if free and op == "squeeze" and case[1]["axis"] is None:
                continue  # which axes have size 1 is not known then, as notes say
            try:
                net = ma.build(architecture, {})
                with np.errstate(all="ignore"):
                    net(*arrays)
            except (ValueError, TypeError):
                continue
            yield net, arrays, architecture["inputs"]


def filled(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Numbers that every op takes."""
    if dtype == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.startswith(("int", "uint")):
        return np.asarray(rng.integers(1, 5, shape)).astype(dtype)
    return np.asarray(rng.uniform(0.2, 3, shape)).astype(dtype)
