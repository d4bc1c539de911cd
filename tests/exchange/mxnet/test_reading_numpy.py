"""Models that MXNet 2 exported, whose arrays are NumPy's, read without MXNet: outputs are those that MXNet recorded."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import mxnet
from modelarchive.formats import recognise
from tests.exchange.mxnet.files import FOREIGN, dense, file_of, written

FOLDER = FOREIGN / "numpy2"
NAMES = sorted(path.name.removesuffix("-symbol.json") for path in FOLDER.glob("*-symbol.json"))
#: What is read whole without a word on its inputs.
WHOLE = ("mlp", "lenet", "resnet", "layers", "lstm", "lstm_both", "gru", "gru_both", "rnn", "rnn_both", "tied",
         "one_axis", "three_axes", "lstm_cell", "encoder", "interleaved")  # fmt: skip
#: What has sizes of its own in it, and needs others where an axis is free.
FIXED = ("moving0", "moving1", "moving6", "reductions2", "selection2", "lstm_states")


def recorded(name: str) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Inputs by their names in the symbol, and what MXNet made of them."""
    nodes = json.loads((FOLDER / f"{name}-symbol.json").read_text("utf-8"))["nodes"]
    inputs = [node["name"] for node in nodes if node["op"] == "null" and node["name"].startswith("data")]
    with np.load(FOLDER / f"{name}-io.npz") as io:
        given = {each: io[f"x{each.removeprefix('data') or 0}"] for each in inputs}
        return given, [io[f"y{at}"] for at in range(sum(key[0] == "y" for key in io))]


def declarations(given: dict[str, np.ndarray], *, free: bool) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": [None, *x.shape[1:]] if free else list(x.shape), "dtype": str(x.dtype)}
        for name, x in given.items()
    ]


def check(network: Any, name: str, inputs: list[str] | None = None) -> None:
    given, expected = recorded(name)
    found = network(*(given[each] for each in inputs or given))
    found = list(found) if isinstance(found, tuple | list) else [found]
    assert [(each.dtype, each.shape) for each in found] == [(each.dtype, each.shape) for each in expected]
    for one, other in zip(found, expected, strict=True):
        close = 2e-3 if other.dtype == np.float16 else 1e-5
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=close)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_their_dtypes_are_those_that_mxnet_recorded(name: str) -> None:
    given, _ = recorded(name)
    bundle = mxnet.read(FOLDER / f"{name}-symbol.json", inputs=declarations(given, free=False))
    assert bundle.architecture is not None
    check(bundle.build(), name, [each["name"] for each in bundle.architecture["inputs"]])


@pytest.mark.parametrize("name", sorted({*NAMES} - {*FIXED}))
def test_the_first_axis_may_be_free(name: str) -> None:
    given, _ = recorded(name)
    bundle = mxnet.read(FOLDER / f"{name}-symbol.json", inputs=declarations(given, free=True))
    assert bundle.architecture is not None
    check(bundle.build(), name, [each["name"] for each in bundle.architecture["inputs"]])


@pytest.mark.parametrize("name", WHOLE)
def test_networks_come_in_whole_by_their_names(tmp_path: Path, name: str) -> None:
    for end in ("symbol.json", "0000.params"):
        ma.convert(FOLDER / f"{name}-{end}", tmp_path / "net.h5")
        check(ma.load_model(tmp_path / "net.h5"), name, list(recorded(name)[0]))


def test_parameters_are_recognised_by_the_names_in_them() -> None:
    assert recognise(FOLDER / "mlp-0000.params") == "mxnet"
    assert list(ma.load(FOLDER / "mlp-0000.params"))[:2] == ["0.weight", "0.bias"]


def test_dtypes_are_followed_where_nothing_is_known_of_shapes(tmp_path: Path) -> None:
    nodes = [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "Cast", "name": "whole", "attrs": {"dtype": "int32"}, "inputs": [[0, 0]]},
        {"op": "_npi_true_divide_scalar", "name": "half", "attrs": {"scalar": "2", "is_int": "1"}, "inputs": [[1, 0]]},
        {"op": "_npi_add", "name": "sum", "inputs": [[2, 0], [1, 0]]},
    ]
    network = read(tmp_path, nodes).build()
    assert network(np.array([3.0], np.float32)).dtype == np.float32


def read(folder: Path, nodes: list[dict[str, Any]], **options: Any) -> Any:
    symbol = {"nodes": nodes, "arg_nodes": [0], "heads": [[len(nodes) - 1, 0, 0]], "attrs": {"is_np_shape": ["int", 1]}}
    (folder / "made-symbol.json").write_text(json.dumps(symbol), "utf-8")
    parameters = written(folder, file_of([dense((1,), 0, b"\0\0\0\0")], ["arg:unused"]))
    return mxnet.read(folder / "made-symbol.json", parameters=parameters, **options)


def _after(op: str, count: int = 1, **attributes: str) -> list[dict[str, Any]]:
    data = {"op": "null", "name": "data", "inputs": []}
    return [data, {"op": op, "name": "node", "attrs": attributes, "inputs": [[0, 0]] * count}]


REFUSED = {
    "unknown": _after("_npi_arctan2", 2),
    "attribute": _after("_npi_sum", axis="1", unheard="of"),
    "no integers": _after("_npi_roll", shift="x"),
    "an axis that is not there": _after("_npi_flip", axis="(7,)"),
    "a huge array": _after("_npi_arange", 0, start="0", stop="1e15", step="1"),
    "many tiles": _after("tile", reps="(1000000,)"),
    "many repeats": _after("_npi_repeats", repeats="(1000000,)", axis="1"),
    "a huge triangle": _after("_npi_tri", 0, N="10000000", M="None", k="0"),
    "a far diagonal": _after("_npi_eye", 0, N="3", M="3", k="99999999999"),
    "many differences": _after("_npi_diff", n="100000", axis="1"),
    "many parts": _after("_split_v2", axis="1", sections="100000", indices="()"),
    "a deep one-hot": _after("one_hot", depth="100000000"),
    "no such dtype": _after("_npi_sum", dtype="nobody"),
    "a wrong pattern": _after("_npi_einsum", subscripts="ij,jk->zz"),
    "unfinished split": _after("_npx_reshape", newshape="(-6, 2)"),
    "unknown code": _after("_npx_reshape", newshape="(-9,)"),
    "more than there are": _after("topk", k="100", ret_typ="value"),
    "many decimals": _after("_npi_around", decimals="1000"),
    "pairs": _after("_npi_pad", mode="constant", pad_width="((1,2),(3"),
    "integers between halves": [
        *_after("Cast", dtype="int32"),
        {"op": "clip", "name": "node", "attrs": {"a_min": "0.5", "a_max": "2"}, "inputs": [[1, 0]]},
    ],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named_with_the_next_step(tmp_path: Path, name: str) -> None:
    with pytest.raises(ma.ConversionError, match="node") as caught:
        read(tmp_path, REFUSED[name], inputs=[(None, 4)])
    assert "parameters-only" in str(caught.value)


def test_the_parameters_of_a_refused_symbol_come_alone(tmp_path: Path) -> None:
    for end in ("symbol.json", "0000.params"):
        shutil.copy(FOLDER / f"mlp-{end}", tmp_path / f"mlp-{end}")
    path = tmp_path / "mlp-symbol.json"
    path.write_text(path.read_text("utf-8").replace('"Activation"', '"ROIPooling"'), "utf-8")
    with pytest.raises(ma.ConversionError, match="'ROIPooling' is not supported"):
        ma.convert(path, tmp_path / "net.h5")
    notes = ma.convert(path, tmp_path / "net.h5", parameters_only=True)
    assert notes[0].where == "(architecture)"
    whole = mxnet.read(FOLDER / "mlp-0000.params")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        loaded = ma.load(path)
    assert any("there is none" in str(each.message) for each in said)
    for found in (loaded, ma.load(tmp_path / "net.h5")):
        assert sorted(each.tobytes() for each in found.values()) == sorted(
            each.tobytes() for each in whole.parameters.values()
        )


def test_order_is_found_without_a_limit_on_what_is_infinite(tmp_path: Path) -> None:
    x = np.array([[-np.inf, 3, -np.inf, 1, 2, 3]], np.float32)
    network = read(tmp_path, _after("topk", k="6", ret_typ="value"), inputs=[(1, 6)]).build()
    np.testing.assert_array_equal(network(x), [[3, 3, 2, 1, -np.inf, -np.inf]])
    network = read(tmp_path, _after("sort", is_ascend_s="1"), inputs=[(1, 6)]).build()
    np.testing.assert_array_equal(network(x), np.sort(x))
    wide = np.random.default_rng(0).permutation(600).reshape(2, 300).astype(np.float32)
    network = read(tmp_path, _after("argsort", is_ascend_s="0", dtype="int64"), inputs=[(2, 300)]).build()
    np.testing.assert_array_equal(network(wide), np.argsort(-wide, axis=1))


def test_whole_numbers_are_found_where_a_fraction_ends(tmp_path: Path) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 3e38, -0.5, 8388609, 16777215, -1.5], np.float32)
    for op, function in (("_npi_floor", np.floor), ("_npi_ceil", np.ceil), ("_npi_trunc", np.trunc)):
        network = read(tmp_path, _after(op), inputs=[(None,)]).build()
        np.testing.assert_array_equal(network(x), function(x))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64"])
def test_the_least_number_of_a_dtype_has_no_negative(tmp_path: Path, dtype: str) -> None:
    info = np.iinfo(dtype)
    x = np.array([[5, info.min, info.max, info.min + 1]], dtype)
    declared = [{"name": "data", "shape": [1, 4], "dtype": dtype}]
    network = read(tmp_path, _after("_npi_argmin", axis="1"), inputs=declared).build()
    np.testing.assert_array_equal(network(x), np.argmin(x, axis=1))
    network = read(tmp_path, _after("argsort", is_ascend="1", dtype="int64"), inputs=declared).build()
    np.testing.assert_array_equal(network(x), np.argsort(x, axis=1))
