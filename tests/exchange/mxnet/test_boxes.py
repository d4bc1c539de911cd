"""MXNet's operators of detectors: symbols made by hand, run here and by MXNet itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import mxnet
from tests.exchange.mxnet import running
from tests.exchange.mxnet.files import dense, file_of

generator = np.random.default_rng(0)


def boxes(*shape: int) -> np.ndarray:
    low, size = generator.uniform(0, 1, (2, *shape, 2))
    return np.concatenate([low, low + size - 0.1], -1).astype("f4")  # some are turned inside out


IMAGE = generator.standard_normal((2, 8, 4, 6)).astype("f4")
PLACES = generator.standard_normal((1, 3, 5, 7)).astype("f4")
#: Name -> operator, attributes, inputs.
CASES: dict[str, tuple[str, dict[str, str], list[np.ndarray]]] = {
    "overlap": ("_contrib_box_iou", {"format": "corner"}, [boxes(5), boxes(7)]),
    "overlap of centres": ("_contrib_box_iou", {"format": "center"}, [boxes(4), boxes(3)]),
    "overlap of batches": ("_contrib_box_iou", {}, [boxes(2, 3), boxes(4)]),
    "overlap with batches": ("_contrib_box_iou", {}, [boxes(6), boxes(2, 2)]),
    "places": ("_contrib_MultiBoxPrior", {}, [PLACES]),
    "places of sizes": (
        "_contrib_MultiBoxPrior",
        {"sizes": "(0.75, 0.5, 0.25)", "ratios": "(1, 2, 0.5)", "clip": "True"},
        [PLACES],
    ),
    "places of one ratio": ("_contrib_MultiBoxPrior", {"sizes": "0.3", "ratios": "[2.0, 3]"}, [PLACES]),
    "places in steps": ("_contrib_MultiBoxPrior", {"steps": "(0.1, 0.2)", "offsets": "(0, 0.3)"}, [PLACES]),
    "depth to space": ("depth_to_space", {"block_size": "2"}, [IMAGE]),
    "space to depth": ("space_to_depth", {"block_size": "2"}, [IMAGE]),
}


def symbol(folder: Path, operator: str, attributes: dict[str, str], count: int, stem: str = "x") -> Path:
    """A network of this operator alone, with a parameter that is added to nothing."""
    names = [f"data{at}" for at in range(count)]
    nodes: list[dict[str, Any]] = [{"op": "null", "name": name, "inputs": []} for name in names]
    nodes.append({"op": "null", "name": "zero_bias", "inputs": []})
    nodes.append({"op": operator, "name": "made", "attrs": attributes, "inputs": [[at, 0, 0] for at in range(count)]})
    nodes.append({"op": "broadcast_add", "name": "sum", "inputs": [[count + 1, 0, 0], [count, 0, 0]]})
    graph = {"nodes": nodes, "arg_nodes": list(range(count + 1)), "heads": [[count + 2, 0, 0]],
             "node_row_ptr": list(range(count + 4)), "attrs": {"mxnet_version": ["int", 10901]}}  # fmt: skip
    (folder / f"{stem}-symbol.json").write_text(json.dumps(graph))
    zero = dense((1,), 0, np.zeros(1, "f4").tobytes())
    (folder / f"{stem}-0000.params").write_bytes(file_of([zero], ["arg:zero_bias"]))
    return folder / f"{stem}-symbol.json"


def declarations(arrays: list[np.ndarray]) -> list[dict[str, Any]]:
    return [{"name": f"data{at}", "shape": list(each.shape), "dtype": "float32"} for at, each in enumerate(arrays)]


@pytest.mark.slow
@pytest.mark.skipif(not running.PYTHON, reason="MODELARCHIVE_MXNET_PYTHON names no Python that has MXNet")
def test_outputs_are_those_of_mxnet(tmp_path: Path) -> None:
    for at, (operator, attributes, arrays) in enumerate(CASES.values()):
        symbol(tmp_path, operator, attributes, len(arrays), f"case{at}")
        np.savez(tmp_path / f"case{at}-inputs.npz", *arrays)
    running.outputs(tmp_path)
    for at, (name, (_, _, arrays)) in enumerate(CASES.items()):
        bundle = mxnet.read(tmp_path / f"case{at}-symbol.json", inputs=declarations(arrays))
        with np.load(tmp_path / f"case{at}-outputs.npz") as outputs:
            (expected,) = outputs.values()
        found = bundle.build()(*arrays)
        assert found.shape == expected.shape, name
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_free_batch_stays_free(tmp_path: Path) -> None:
    path = symbol(tmp_path, "depth_to_space", {"block_size": "2"}, 1)
    bundle = mxnet.read(path, inputs=[{"name": "data0", "shape": [None, 8, 4, 6], "dtype": "float32"}])
    assert bundle.architecture is not None
    assert bundle.architecture["inputs"][0]["shape"] == [None, 8, 4, 6]
    assert bundle.build()(np.repeat(IMAGE, 2, 0)).shape == (4, 2, 8, 12)


REFUSED = {
    "_contrib_box_nms": "keeps boxes one after the other, .* cut the symbol before it",
    "_contrib_MultiBoxTarget": "finds what training compares with",
}


@pytest.mark.parametrize("operator", REFUSED)
def test_what_chooses_boxes_is_refused_with_the_next_step(operator: str, tmp_path: Path) -> None:
    with pytest.raises(ma.ConversionError, match=REFUSED[operator]):
        mxnet.read(symbol(tmp_path, operator, {}, 1), inputs=declarations([IMAGE]))


WRONG: dict[str, tuple[str, dict[str, str], list[int | None], str]] = {
    "a free image": ("_contrib_MultiBoxPrior", {}, [None, 3, None, 5], "pass inputs= with fixed sizes"),
    "too many boxes": ("_contrib_MultiBoxPrior", {}, [1, 1, 100000, 100000], "boxes are not made"),
    "no ratios": ("_contrib_MultiBoxPrior", {"ratios": "()"}, [1, 3, 4, 4], "are not supported"),
    "a ratio below nothing": ("_contrib_MultiBoxPrior", {"ratios": "(-1,)"}, [1, 3, 4, 4], "are not supported"),
    "words": ("_contrib_MultiBoxPrior", {"sizes": "(a,)"}, [1, 3, 4, 4], "a list of numbers"),
    "channels that do not fit": ("depth_to_space", {"block_size": "3"}, [1, 8, 4, 4], "are no blocks of 3 x 3"),
    "pixels that do not fit": ("space_to_depth", {"block_size": "3"}, [1, 8, 4, 4], "has no blocks of 3 x 3"),
    "no block": ("space_to_depth", {"block_size": "0"}, [1, 8, 4, 4], "not known"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    operator, attributes, shape, what = WRONG[name]
    with pytest.raises(ma.ConversionError, match=what):
        mxnet.read(symbol(tmp_path, operator, attributes, 1), inputs=[{"name": "data0", "shape": shape}])
