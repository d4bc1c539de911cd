"""Each system reads what it writes: the kinds, ops and networks of the vocabulary there and back, and parameters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import huggingface, mxnet, safetensors
from modelarchive.exchange import numpy as npz
from tests.cases.kinds import KIND_CASES
from tests.cases.networks import NETWORKS
from tests.cases.ops import OP_CASES
from tests.conftest import ROOT
from tests.exchange.document import filled
from tests.exchange.round_trips import (
    DOCUMENT,
    NAMES_DIFFER,
    RECORD,
    SYSTEMS,
    Case,
    System,
    every,
    of_network,
    of_op,
    outcome,
    table,
    values,
)
from tests.sampling import some
from tests.structures import every_dtype

RECORDED = json.loads(RECORD.read_text("utf-8"))
FOLDERS = ROOT / "tests" / "data" / "foreign" / "huggingface"
#: How many draws of a kind: a model of Keras takes a while to make.
EXAMPLES = {"Keras": 2}
pytestmark = [
    pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:Using a softmax over axis:UserWarning"),
]


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> str:
    for each in SYSTEMS[request.param].needs:
        pytest.importorskip(each)
    return str(request.param)


def check(name: str, case: Case, folder: Path) -> None:
    """Nothing is wrong, and what is otherwise stands in the document."""
    found = outcome(SYSTEMS[name], case, folder)
    assert not found.wrong, f"{name}, {case.word}: {'; '.join(found.wrong)}"
    known = {_what(each) for each in RECORDED[name].get(case.word, ())}
    if name == "Keras":
        known.add(NAMES_DIFFER)  # it counts its operations, and names them so
    unlisted = [each for each in found.listed if _what(each) not in known]
    assert not unlisted, f"run python -m tests.exchange.round_trips {name} --write, if this is meant: {unlisted}"


def _what(listed: str) -> str:
    """Without the reason, whose words may change."""
    return listed.partition(":")[0]


@pytest.mark.parametrize("kind", some(KIND_CASES))
def test_every_kind(system: str, kind: str, tmp_path: Path) -> None:
    every(kind, EXAMPLES.get(system, 4), lambda case: check(system, case, tmp_path))


@pytest.mark.parametrize("op", some(OP_CASES))
def test_every_op(system: str, op: str, tmp_path: Path) -> None:
    for at, case in enumerate(of_op(op)):
        if system != "Keras" or at % 5 == 0:
            check(system, case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(system: str, name: str, tmp_path: Path) -> None:
    if system == "Keras":
        return  # tests/exchange/keras/test_writing.py has its networks, with Keras' own loading between
    check(system, of_network(name), tmp_path)


def test_the_document_has_the_table() -> None:
    assert DOCUMENT.read_text("utf-8") == filled(DOCUMENT, table(RECORDED))
    words = {*KIND_CASES, *OP_CASES, *NETWORKS}
    assert {word for words_of in RECORDED.values() for word in words_of} <= words


def test_it_sees_what_comes_back_otherwise(tmp_path: Path) -> None:
    onnx = SYSTEMS["ONNX"]

    def other(written: Any, declared: Any) -> ma.Bundle:
        bundle = onnx.read(written, declared)
        bundle.parameters = {name: np.asarray(array) + 1 for name, array in bundle.parameters.items()}
        return bundle

    case = of_network("LeNet")
    found = outcome(System((), onnx.write, other), case, tmp_path)
    assert "outputs differ" in found.wrong
    assert found.listed


@pytest.mark.parametrize("folder", sorted(each.parent.name for each in FOLDERS.glob("*/model*.safetensors")))
def test_folders_of_hugging_face(folder: str, tmp_path: Path) -> None:
    first = huggingface.read(FOLDERS / folder)
    huggingface.write(first, tmp_path / "one", durable=False)
    second = huggingface.read(tmp_path / "one")
    assert second.architecture == first.architecture
    assert values(second) == values(first)
    huggingface.write(second, tmp_path / "two", durable=False)
    once, twice = ({each.name: each.read_bytes() for each in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert once == twice


def _torch() -> tuple[Callable[..., Any], Callable[..., Any]]:
    pytest.importorskip("torch")
    from modelarchive.exchange import torch

    return torch.write, torch.read


#: Suffix -> what writes and reads files of parameters.
PARAMETERS: dict[str, Callable[[], tuple[Callable[..., Any], Callable[..., Any]]]] = {
    "safetensors": lambda: (safetensors.write, safetensors.read),
    "npz": lambda: (npz.write, npz.read),
    "params": lambda: (mxnet.write, mxnet.read),
    "pt": _torch,
}


@pytest.mark.parametrize("suffix", PARAMETERS)
@pytest.mark.parametrize("dtype", every_dtype())
def test_parameters_of_every_dtype(suffix: str, dtype: str, tmp_path: Path) -> None:
    write, read = PARAMETERS[suffix]()
    array = every_dtype()[dtype]
    arrays = {"a": array, "b.c": array[:1].copy(), "none": array[:0].copy()}
    files = [tmp_path / f"{turn}.{suffix}" for turn in range(2)]
    try:
        notes = write(arrays, files[0], durable=False)
    except ma.ConversionError as error:
        assert dtype in str(error)  # noqa: PT017
        return
    bundle = read(files[0])
    found = {name: np.asarray(each) for name, each in bundle.parameters.items()}
    # A format that lacks a dtype may hold its values in a wider one, and says so.
    assert notes or {each.dtype for each in found.values()} == {array.dtype}
    assert {name: (each.shape, each.astype(array.dtype).tobytes()) for name, each in found.items()} == {
        name: (each.shape, each.tobytes()) for name, each in arrays.items()
    }
    write(found, files[1], durable=False)
    assert files[0].read_bytes() == files[1].read_bytes()
