"""MXNet's files from strangers: symbols are JSON of any shape, and parameters numbers of any size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelarchive.errors import ConversionError, FormatError, UnsafeFileError
from modelarchive.exchange import budget, mxnet
from modelarchive.exchange.drawing import MAX_PROBLEMS

X = {"op": "null", "name": "x", "inputs": []}


def symbol(folder: Path, nodes: list[Any], **more: Any) -> Path:
    """A symbol of such nodes, the last of which is its output, and an empty file of arrays beside it."""
    path = folder / "n-symbol.json"
    whole = {"nodes": nodes, "arg_nodes": [0], "heads": [[len(nodes) - 1, 0, 0]]} | more
    path.write_text(json.dumps(whole).replace('"@', "").replace('@"', ""))
    (folder / "n-0000.params").write_bytes((0x112).to_bytes(8, "little") + bytes(24))
    return path


def deep(levels: int) -> str:
    """Lists in each other, as raw JSON."""
    return "@" + "[" * levels + "1" + "]" * levels + "@"


@pytest.mark.parametrize("version", [-1, 10**12, 1.5, None, "x", [], deep(100)])
def test_versions_are_numbers_or_nothing(tmp_path: Path, version: Any) -> None:
    path = symbol(tmp_path, [X], attrs={"mxnet_version": ["int", version]})
    assert mxnet.read(path).metadata["source"]["version"] == ""


@pytest.mark.parametrize("version", ["@Infinity@", "@NaN@", "@1e999@", "@" + "9" * 5000 + "@", deep(980)])
def test_numbers_are_finite_and_short(tmp_path: Path, version: str) -> None:
    path = symbol(tmp_path, [X], attrs={"mxnet_version": ["int", version]})
    with pytest.raises(FormatError) as caught:
        mxnet.read(path)
    assert caught.value.file == str(path)


@pytest.mark.parametrize("levels", [150, 250, 480, 980, 5000])
@pytest.mark.parametrize("key", ["inputs", "attrs", "op", "name", "subgraphs", "other"])
def test_nesting_ends_somewhere(tmp_path: Path, key: str, levels: int) -> None:
    with pytest.raises(FormatError):
        mxnet.read(symbol(tmp_path, [X | {key: deep(levels)}], heads=deep(levels)))


def test_nodes_of_one_name_take_steps_by_their_number(tmp_path: Path) -> None:
    def steps(many: int) -> int:
        nodes = [X] + [{"op": "relu", "name": "a", "inputs": [[at, 0]]} for at in range(many)]
        path = symbol(tmp_path, nodes)
        with budget.reading(path, path.stat().st_size) as left:
            before = left.steps
            mxnet.read(path)
            return before - left.steps

    assert steps(800) < 2.1 * steps(400)


def test_parameters_that_are_packed_twice_each_time(tmp_path: Path) -> None:
    nodes = [X, {"op": "null", "name": "w", "inputs": []}]
    nodes.append({"op": "Reshape", "name": "flat", "attrs": {"shape": "(-1,)"}, "inputs": [[1, 0]]})
    nodes += [{"op": "Concat", "name": "c", "inputs": [[at, 0]] * 2} for at in range(2, 62)]
    path = symbol(tmp_path, nodes)
    with pytest.raises(UnsafeFileError, match="packed parameters") as caught:
        mxnet.read(path, parameters={"w": np.ones(3, "f4")})
    assert caught.value.rule == "budget"


def test_what_is_not_read_is_told(tmp_path: Path) -> None:
    nodes = [X, {"op": "relu", "name": "unneeded", "inputs": [[0, 0]]}, X | {"name": "y"},
             {"op": "relu", "name": "r", "inputs": [[2, 0]], "strange": 1}]  # fmt: skip
    told = {note.where: note.what for note in mxnet.read(symbol(tmp_path, nodes, further=[1])).notes}
    assert told["(nodes)"] == "2 nodes left out: no output needs them"
    assert "'further'" in told["(symbol)"]
    assert "'strange' of nodes" in told["(symbol)"]


def test_messages_stay_short(tmp_path: Path) -> None:
    nodes = [X] + [{"op": "nobody", "name": "n" * 1000, "inputs": [[0, 0]], "attrs": {"a": "b" * 500}}] * 3000
    nodes.append({"op": "add_n", "name": "all", "inputs": [[at, 0] for at in range(1, 3001)]})
    with pytest.raises(ConversionError) as caught:
        mxnet.read(symbol(tmp_path, nodes))
    assert len(caught.value.unsupported) == MAX_PROBLEMS + 1
    assert len(str(caught.value)) < 200_000
