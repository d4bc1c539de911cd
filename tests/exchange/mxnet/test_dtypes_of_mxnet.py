"""Operators of MXNet 1.9 whose dtypes, roundings and borders are its own: made by hand, run here and by MXNet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from tests.exchange.mxnet import running
from tests.exchange.mxnet.files import dense, file_of

generator = np.random.default_rng(0)
WHOLE = np.array([-7, -3, -1, 1, 2, 3, 6], "i4")
OTHER = np.array([2, -2, 3, 2, -4, 2, 4], "i4")
BYTES = np.array([0, 1, 2, 3, 7, 200], "u1")
REAL = np.array([0.0, -0.5, 1e-4, 3.0, -2.5, 1e19, -1e30, np.inf], "f4")
IMAGE = generator.standard_normal((2, 3, 7, 6)).astype("f4") - 1
TABLE = generator.standard_normal((3, 4)).astype("f4")
#: Operator, attributes, inputs.
CASES: dict[str, tuple[str, dict[str, str], list[np.ndarray]]] = {
    **{
        f"{op} {number}": (op, {"scalar": number}, [WHOLE])
        for op in ("_plus_scalar", "_div_scalar", "_mod_scalar", "_rmod_scalar", "_rdiv_scalar", "_lesser_scalar")
        for number in ("2", "-3.7")
    },
    "maximum": ("_maximum_scalar", {"scalar": "1.9"}, [BYTES]),
    "and": ("_logical_and_scalar", {"scalar": "0.5"}, [BYTES]),
    "equal": ("_equal_scalar", {"scalar": "2.5"}, [BYTES]),
    "divide": ("elemwise_div", {}, [WHOLE, OTHER]),
    "modulo": ("broadcast_mod", {}, [WHOLE, OTHER]),
    "modulo of a small number": ("_mod_scalar", {"scalar": "0.001"}, [TABLE]),
    "arcsinh": ("arcsinh", {}, [REAL]),
    "arccosh": ("arccosh", {}, [np.array([1, 1.0001, 2, 1e19, np.inf], "f4")]),
    "sum": ("sum", {"axis": "(0, 1)"}, [TABLE]),
    "product": ("prod", {"axis": "(0, 1)"}, [TABLE]),
    "norm": ("norm", {"axis": "0"}, [TABLE[0]]),
    "largest": ("argmax", {"axis": "0"}, [TABLE[0].astype("f8")]),
    "smallest": ("argmin", {"axis": "1"}, [(10 * TABLE).astype("i4")]),
    "take": ("take", {"axis": "-1"}, [TABLE, np.array([-5, -1, 0, 3, 4, 9], "i4")]),
    "take again": ("take", {"axis": "0", "mode": "wrap"}, [TABLE, np.array([-5, -1, 0, 3, 4, 9], "i4")]),
    "gather": ("gather_nd", {}, [TABLE, np.array([[-1, 0, 2, -2], [-4, -1, 3, 1]], "i4")]),
    "first maximum": ("Pooling_v1", {"kernel": "(2, 3)", "pad": "(1, 1)", "pool_type": "max"}, [IMAGE]),
    "first mean": (
        "Pooling_v1",
        {"kernel": "(2, 3)", "pad": "(1, 2)", "stride": "(2, 1)", "pool_type": "avg"},
        [IMAGE],
    ),
    "first, partial": (
        "Pooling_v1",
        {"kernel": "(3, 2)", "stride": "(2, 3)", "pool_type": "max", "pooling_convention": "full"},
        [IMAGE[:, :, :6, :5]],
    ),
    "sums": ("Pooling", {"kernel": "(2, 3)", "pad": "(1, 1)", "stride": "(2, 2)", "pool_type": "sum"}, [IMAGE]),
    "sum of all": ("Pooling", {"kernel": "(2, 3)", "pool_type": "sum", "global_pool": "True"}, [IMAGE]),
}
#: The same, refused: MXNet makes integers of the results, counts windows of nothing, or leaves it to the machine.
REFUSED: dict[str, tuple[str, dict[str, str], list[np.ndarray]]] = {
    "behind": (
        "Pooling",
        {"kernel": "(1, 1)", "stride": "(3, 1)", "pool_type": "max", "pooling_convention": "full"},
        [IMAGE[:, :, :6]],
    ),
    "partial mean": (
        "Pooling_v1",
        {"kernel": "(3, 2)", "stride": "(2, 2)", "pool_type": "avg", "pooling_convention": "full"},
        [IMAGE[:, :, :6]],
    ),
    "below": ("_plus_scalar", {"scalar": "-1"}, [BYTES]),
    **{op: (op, {}, [WHOLE]) for op in ("mean", "norm", "exp", "sqrt", "sigmoid", "rsqrt", "erf", "log1p", "cbrt")},
    "power": ("_power_scalar", {"scalar": "2"}, [WHOLE]),
    "powers": ("broadcast_power", {}, [WHOLE, OTHER]),
    "hypotenuse": ("broadcast_hypot", {}, [WHOLE, OTHER]),
    **{
        f"{op} of MXNet 2": (op, {}, [WHOLE])
        for op in ("_npx_sigmoid", "_npi_reciprocal", "_npi_norm", "_npx_smooth_l1", "_npi_average")
    },
    "a mean in integers": ("_npi_mean", {"dtype": "int32"}, [WHOLE]),
    "a product in integers": ("_npi_prod", {"dtype": "int32"}, [TABLE]),
    "logarithms": ("_npi_logaddexp_scalar", {"scalar": "1", "is_int": "True"}, [WHOLE]),
}
TRUTHS = np.array([True, False, True])
#: Operator, attributes, input, and what MXNet 2.0.0b1 makes of it.
OF_TWO: list[tuple[str, dict[str, str], np.ndarray, np.ndarray]] = [
    ("_npi_not_equal_scalar", {"scalar": "-1.5", "is_int": "False"}, TRUTHS, np.array([False, True, False])),
    ("_npi_less_equal_scalar", {"scalar": "-1.5", "is_int": "False"}, TRUTHS, np.array([True, True, True])),
    ("_npi_less_scalar", {"scalar": "2", "is_int": "True"}, TRUTHS, np.array([False, True, False])),
    ("_npi_fix", {}, WHOLE, WHOLE.astype("f4")),
    ("_npi_fix", {}, BYTES, BYTES.astype("f2")),
    ("_npi_prod", {"dtype": "float64"}, TRUTHS, np.array(0.0)),
]


def symbol(folder: Path, stem: str, operator: str, attributes: dict[str, str], count: int) -> Path:
    """A network of this operator, and beside it a parameter, without which MXNet takes no file."""
    names = [*(f"data{at}" for at in range(count)), "beside_bias"]
    nodes: list[dict[str, Any]] = [{"op": "null", "name": name, "inputs": []} for name in names]
    nodes.append({"op": operator, "name": "made", "attrs": attributes, "inputs": [[at, 0, 0] for at in range(count)]})
    nodes.append({"op": "_copy", "name": "same", "inputs": [[count, 0, 0]]})
    graph = {"nodes": nodes, "arg_nodes": list(range(count + 1)), "heads": [[count + 1, 0, 0], [count + 2, 0, 0]],
             "node_row_ptr": list(range(count + 4)), "attrs": {"mxnet_version": ["int", 10901]}}  # fmt: skip
    path = folder / f"{stem}-symbol.json"
    path.write_text(json.dumps(graph))
    zero = dense((1,), 0, np.zeros(1, "f4").tobytes())
    (folder / f"{stem}-0000.params").write_bytes(file_of([zero], ["arg:beside_bias"]))
    return path


def declared(arrays: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    return [{"name": f"data{at}", "shape": list(x.shape), "dtype": str(x.dtype)} for at, x in enumerate(arrays)]


@pytest.mark.skipif(not running.PYTHON, reason="MODELARCHIVE_MXNET_PYTHON names no Python")
def test_values_dtypes_and_shapes_are_those_of_mxnet(tmp_path: Path) -> None:
    for stem, (operator, attributes, arrays) in CASES.items():
        symbol(tmp_path, stem, operator, attributes, len(arrays))
        np.savez(tmp_path / f"{stem}-inputs.npz", *arrays)
    running.outputs(tmp_path)
    for stem, (_, _, arrays) in CASES.items():
        with np.load(tmp_path / f"{stem}-outputs.npz") as stored:
            expected = stored["arr_0"]
        network = ma.load_model(tmp_path / f"{stem}-symbol.json", inputs=declared(arrays))
        with np.errstate(all="ignore"):
            found = network(*arrays)[0]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), stem
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=stem)


@pytest.mark.parametrize("stem", REFUSED)
def test_what_mxnet_rounds_or_leaves_open_is_refused(tmp_path: Path, stem: str) -> None:
    operator, attributes, arrays = REFUSED[stem]
    path = symbol(tmp_path, "x", operator, attributes, len(arrays))
    with pytest.raises(ma.ConversionError, match=r"integers|begins behind|partial|is no uint8|in int32 is not"):
        ma.load_model(path, inputs=declared(arrays))


@pytest.mark.parametrize(("operator", "attributes", "x", "expected"), OF_TWO)
def test_truths_and_integers_are_those_of_mxnet_2(
    tmp_path: Path, operator: str, attributes: dict[str, str], x: np.ndarray, expected: np.ndarray
) -> None:
    found = ma.load_model(symbol(tmp_path, "x", operator, attributes, 1), inputs=declared([x]))(x)[0]
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("sizes", ["(0, 2)", "(0, 0)"])
def test_a_cell_begins_with_zeros_for_each_of_a_batch(tmp_path: Path, sizes: str) -> None:
    """Cells that Gluon 1.x unrolls begin with zeros for 0 sequences, which is a number that nothing says."""
    null: list[dict[str, Any]] = [
        {"op": "null", "name": name, "inputs": []} for name in ("data", "h2h_weight", "h2h_bias")
    ]
    nodes: list[dict[str, Any]] = [
        *null,
        {"op": "_zeros", "name": "begin", "attrs": {"shape": sizes, "dtype": "float32"}, "inputs": []},
        {
            "op": "FullyConnected",
            "name": "h2h",
            "attrs": {"num_hidden": "3"},
            "inputs": [[3, 0, 0], [1, 0, 0], [2, 0, 0]],
        },
        {"op": "elemwise_add", "name": "sum", "inputs": [[0, 0, 0], [4, 0, 0]]},
    ]
    graph = {"nodes": nodes, "arg_nodes": [0, 1, 2], "heads": [[5, 0, 0]], "attrs": {"mxnet_version": ["int", 10901]}}
    (tmp_path / "cell-symbol.json").write_text(json.dumps(graph))
    weight, bias = generator.standard_normal((3, 2)).astype("f4"), generator.standard_normal(3).astype("f4")
    arrays = [dense(each.shape, 0, each.tobytes()) for each in (weight, bias)]
    (tmp_path / "cell-0000.params").write_bytes(file_of(arrays, ["arg:h2h_weight", "arg:h2h_bias"]))
    inputs = [{"name": "data", "shape": [None, 3]}]
    if sizes == "(0, 0)":
        with pytest.raises(ma.ConversionError, match="zeros of a size that is not said"):
            ma.load_model(tmp_path / "cell-symbol.json", inputs=inputs)
        return
    network = ma.load_model(tmp_path / "cell-symbol.json", inputs=inputs)
    for batch in (1, 4):
        x = generator.standard_normal((batch, 3)).astype("f4")
        np.testing.assert_allclose(network(x), x + bias, rtol=1e-6)
