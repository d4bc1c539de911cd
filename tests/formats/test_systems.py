"""The table of systems: what a row promises is there, and a row is all that is needed outside the system's room."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn
from modelarchive.cli import main
from modelarchive.exchange.bundle import Bundle, Note, bundle_of
from modelarchive.formats import FORMATS, SYSTEMS, System, format_of_name, recognise, systems
from modelarchive.formats.systems import Backend, ModelClass, listed
from modelarchive.models.rooms import expected, room, system_of

X = np.ones((2, 3), np.float32)


def network() -> nn.Block:
    net = nn.Sequential(nn.Dense(4), nn.Dense(2))
    net.initialize(seed=0)
    net(X)
    return net


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "archive"])
def test_a_room_has_what_its_row_promises(name: str) -> None:
    system = SYSTEMS[name]
    promised = ["read"] * bool(system.reads) + ["write"] * bool(system.writes)
    promised += ["arrays_of", "parameters_of", "remarks_on_freezing", system.reader] if system.classes else []
    promised += [system.backend.build, system.backend.arrays] if system.backend else []
    promised += [word for word, is_there in (("fitting", system.fits), ("mistaken", system.mistakes),
                                             ("way_for", system.library),
                                             ("counterpart_of", system.library)) if is_there]  # fmt: skip
    assert [word for word in promised if word and not callable(getattr(room(name), word, None))] == []
    assert not system.suffixes or system.signs or system.guesses or system.members or system.folder
    assert bool(system.what) == bool(system.suffixes) == bool(system.reads or system.writes)


def test_no_two_rows_claim_the_same() -> None:
    for one, other in combinations(SYSTEMS.values(), 2):
        assert not set(one.suffixes) & set(other.suffixes)
        assert not set(one.classes) & set(other.classes)
        assert one.what != other.what or not one.what
    assert all(name == system.name for name, system in SYSTEMS.items())


def test_words_in_a_row() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"], last="or") == "a or b"
    assert listed("abc") == "a, b and c"
    assert expected("a Block", after="a Bundle") == "a Block, a torch.nn.Module, a keras.Model or a Bundle"


def test_a_model_is_of_the_system_whose_class_is_nearest() -> None:
    torch = pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    assert system_of(model) is SYSTEMS["keras"]  # on PyTorch it is a torch.nn.Module too
    assert system_of(torch.nn.Linear(3, 2)) is SYSTEMS["torch"]
    program = torch.export.export(torch.nn.Linear(3, 2), (torch.ones(1, 3),))
    assert system_of(program) is SYSTEMS["torch"]
    assert system_of(program, receiving=True) is None
    for other in (network(), {}, None, torch.nn.Linear, "path"):
        assert system_of(other) is None


# ---------------------------------------------------------------------- a system that is one row and a room


class Toy:
    """What the toy framework calls a model."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays


def toy_room() -> ModuleType:
    found: Any = ModuleType("modelarchive.exchange.toy")

    def read(path: Any, *, parameters_only: bool = False) -> Bundle:
        text = json.loads(Path(path).read_text().removeprefix("TOY "))
        arrays = {name: np.array(values, np.float32) for name, values in text["arrays"].items()}
        return Bundle(arrays, None if parameters_only else text["architecture"], "toys have none")

    def write(source: Any, path: Any, *, durable: bool = True) -> list[Note]:
        bundle = bundle_of(source)
        arrays = {name: array.tolist() for name, array in bundle.parameters.items()}
        Path(path).write_text("TOY " + json.dumps({"architecture": bundle.architecture, "arrays": arrays}))
        return [Note("(metadata)", "left out: toys have none")] if bundle.metadata else []

    found.read, found.write = read, write
    found.build_toy = lambda bundle, *, color="red": (color, Toy(dict(bundle.parameters)))
    found.toys_of = lambda data, *, device: [Toy(data)]
    found.read_model = lambda model, inputs: Bundle(model.arrays, reason="toys have none")
    found.arrays_of = lambda model: model.arrays
    found.remarks_on_freezing = lambda model: []
    return found  # type: ignore[no-any-return]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> System:
    framework: Any = ModuleType("toyland")
    framework.Toy = Toy
    monkeypatch.setitem(sys.modules, "toyland", framework)
    monkeypatch.setitem(sys.modules, "modelarchive.exchange.toy", toy_room())
    row = System(
        "toy",
        "Toyland",
        (".toy",),
        "a toy",
        reads="toys",
        writes="toys",
        signs=(lambda look: look.head.startswith(b"TOY "),),
        models=True,
        alone=True,
        classes=(ModelClass("toyland", "Toy"),),
        backend=Backend("build_toy", ("color",), arrays="toys_of"),
    )
    for table, value in ((SYSTEMS, row), (FORMATS, row), (systems.BACKENDS, row.backend)):
        monkeypatch.setitem(table, "toy", value)
    return row


def test_a_system_that_is_only_read(toy: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ma.save_model(tmp_path / "net.h5", network(), inputs=X)
    monkeypatch.setitem(FORMATS, "toy", replace(toy, writes=""))
    with pytest.raises(ValueError, match=r"x\.toy' would be a toy, which is read and not written"):
        ma.convert(tmp_path / "net.h5", tmp_path / "x.toy")
    assert main(["convert", str(tmp_path / "net.h5"), str(tmp_path / "x.toy")]) == 2
    with pytest.raises(ValueError, match=r"ends in none of (?!.*\.toy)"):
        format_of_name("x.wood")


def test_a_row_is_all_that_a_system_needs(toy: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = network()
    ma.save_model(tmp_path / "net.h5", net, inputs=X, metadata={"license": "MIT"})
    notes = ma.convert(tmp_path / "net.h5", tmp_path / "net.toy")
    assert [str(note) for note in notes] == ["(metadata): left out: toys have none"]
    assert format_of_name("X.TOY") == recognise(tmp_path / "net.toy") == "toy"
    assert np.array_equal(ma.load_model(tmp_path / "net.toy")(X), net(X))
    assert list(ma.load(tmp_path / "net.toy")) == list(net.collect_params())
    color, built = ma.load_model(tmp_path / "net.h5", backend="toy", color="blue")
    assert (color, list(built.arrays)) == ("blue", list(net.collect_params()))
    assert main(["convert", str(tmp_path / "net.toy"), str(tmp_path / "again.h5"), "--parameters-only"]) == 0
    assert main(["show", str(tmp_path / "net.toy")]) == 0
    assert main(["convert", "--help"]) == 0
    assert "Toyland" in capsys.readouterr().out
    receiver = network()
    assert len(ma.load_parameters(built, receiver).copied) == 4


def test_errors_know_of_it(toy: System, tmp_path: Path) -> None:
    ma.save_model(tmp_path / "net.h5", network(), inputs=X)
    ma.convert(tmp_path / "net.h5", tmp_path / "net.toy")
    with pytest.raises(ma.FormatError, match="is a toy, not a model archive"):
        ma.open(tmp_path / "net.toy")
    with pytest.raises(ma.FormatError, match="is a toy, which has no digests"):
        ma.load(tmp_path / "net.toy", verify=True)
    with pytest.raises(ValueError, match=r"expected 'numpy', 'torch', 'keras', 'onnxruntime' or 'toy'"):
        ma.load_model(tmp_path / "net.h5", backend="wood")
    with pytest.raises(TypeError, match="color=, which backend='numpy' does not take: give backend='toy'"):
        ma.load_model(tmp_path / "net.h5", color="red")
    with pytest.raises(ValueError, match=r"ends in none of .*\.toy"):
        ma.convert(tmp_path / "net.h5", tmp_path / "x.wood")
    with pytest.raises(TypeError, match=r"a keras\.Model, a toyland\.Toy or a Bundle"):
        ma.save_model(tmp_path / "x.h5", object())
    with pytest.raises(ma.ConversionError, match="toys have none"):
        ma.save_model(tmp_path / "x.h5", Toy({"a": X}))
