"""ONNX models from strangers: each attack first works on a naive reader, and is then refused."""

import contextlib
import os
import struct
import tracemalloc

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import budget, onnx
from modelarchive.exchange.onnx import protobuf
from tests.conftest import ROOT
from tests.exchange.onnx.wire import field, function, graph, model, node, tensor, value

SECRET = struct.pack("<4f", 1, 2, 3, 4)
X, Y = value("x", ["batch", 4]), value("y", ["batch", 4])


def write(path, nodes, stored=(), functions=()):
    path.write_bytes(model(graph(nodes, stored, [X], [Y]), functions))
    return path


def sums(path, the_tensor):
    return write(path, [node("Add", ["x", "w"], ["y"])], [the_tensor])


@pytest.fixture
def folder(tmp_path):
    """A folder, and beside it what is none of its business."""
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def test_a_good_one_is_read(folder):
    (folder / "data").write_bytes(SECRET)
    path = sums(folder / "m.onnx", tensor("w", [4], external={"location": "data"}))
    assert onnx.read(path).parameters["w"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("location", ["../secret", "a/../../secret", "./../secret", "..\\secret", "", ".", "C:secret"])
def test_external_data_is_in_the_models_own_folder(folder, location):
    (folder / "a").mkdir()
    path = sums(folder / "m.onnx", tensor("w", [4], external={"location": location}))
    if location.endswith("/secret"):
        assert (folder / location).read_bytes() == SECRET  # who joins paths reads it
    with pytest.raises(ma.UnsafeFileError) as caught:
        onnx.read(path)
    assert caught.value.rule == "own folder only"


def test_external_data_has_no_absolute_path(folder):
    location = str(folder.parent / "secret")
    path = sums(folder / "m.onnx", tensor("w", [4], external={"location": location}))
    assert (folder / location).read_bytes() == SECRET
    with pytest.raises(ma.UnsafeFileError, match="own folder"):
        onnx.read(path)


@pytest.mark.parametrize("location", ["link", "inside/secret"])
def test_external_data_is_no_link(folder, location):
    (folder / "link").symlink_to("../secret")
    (folder / "inside").symlink_to("..", target_is_directory=True)
    path = sums(folder / "m.onnx", tensor("w", [4], external={"location": location}))
    assert (folder / location).read_bytes() == SECRET
    with pytest.raises(ma.UnsafeFileError) as caught:
        onnx.read(path)
    assert caught.value.rule == "own folder only"


@pytest.mark.parametrize(
    "entries",
    [{"offset": 4}, {"offset": -4}, {"offset": 2**70}, {"length": 2**50}, {"length": 8}, {"offset": "0x0"}],
)
def test_external_data_ends_where_its_file_ends(folder, entries):
    (folder / "data").write_bytes(SECRET)
    path = sums(folder / "m.onnx", tensor("w", [4], external={"location": "data", **entries}))
    with pytest.raises(ma.FormatError, match="'w'"):
        onnx.read(path)


def test_external_data_is_a_file(folder):
    os.mkfifo(folder / "pipe")  # who opens it waits for ever
    path = sums(folder / "m.onnx", tensor("w", [4], external={"location": "pipe"}))
    with pytest.raises(ma.FormatError, match="no file"):
        onnx.read(path)
    with pytest.raises(ma.FormatError, match="cannot be read"):
        onnx.read(sums(folder / "m.onnx", tensor("w", [4], external={"location": "nothing"})))


@pytest.mark.parametrize("shape", [[2**20, 2**30], [2**62, 4], [-1, 4], [1] * 65, [5], [3]])
def test_a_shape_is_that_of_the_data(folder, shape):
    path = sums(folder / "m.onnx", tensor("w", shape, SECRET))
    tracemalloc.start()
    with pytest.raises((ma.FormatError, ma.ConversionError), match="w"):
        onnx.read(path)
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def nested(levels):
    """If inside of If."""
    inner = graph([node("Identity", ["x"], ["y"])], outputs=[Y])
    for _ in range(levels):
        branches = [field(1, name) + field(6, inner) + field(20, 5) for name in ("then_branch", "else_branch")]
        inner = graph([node("If", ["condition"], ["y"], branches[0])], outputs=[Y])
    return inner


def test_graphs_inside_of_graphs_are_few(folder):
    def depth(data):  # a naive reader goes as deep as the file says
        level = 0
        while (at := data.find(b"then_branch")) >= 0:
            data, level = data[at + 11 :], level + 1
        return level

    data = model(nested(100))
    assert depth(data) == 100
    (folder / "m.onnx").write_bytes(data)
    with pytest.raises(ma.UnsafeFileError) as caught:
        onnx.read(folder / "m.onnx")
    assert caught.value.rule == "depth"


def test_fields_are_counted(folder, monkeypatch):
    path = write(folder / "m.onnx", [node("Identity", ["x"], ["y"])] * 1)
    monkeypatch.setattr(protobuf, "_MAX_FIELDS", 10)
    with pytest.raises(ma.UnsafeFileError) as caught:
        onnx.read(path)
    assert caught.value.rule == "size"


def test_functions_do_not_double_for_ever(folder, monkeypatch):
    # Thirty functions that each call the one below twice are a thousand million nodes.
    functions = [function("f0", [node("Neg", ["a"], ["b"])], ["a"], ["b"])]
    for level in range(1, 31):
        calls = [node(f"f{level - 1}", [one], [two], domain="mine") for one, two in (("a", "c"), ("c", "b"))]
        functions.append(function(f"f{level}", calls, ["a"], ["b"]))
    monkeypatch.setattr(budget, "STEPS", 2000)
    with pytest.raises(ma.UnsafeFileError, match="more steps") as caught:
        onnx.read(write(folder / "m.onnx", [node("f30", ["x"], ["y"], domain="mine")], functions=functions))
    assert caught.value.rule == "budget"


def test_a_function_that_calls_itself_ends(folder):
    again = function("f", [node("f", ["a"], ["b"], domain="mine")], ["a"], ["b"])
    with pytest.raises(ma.ConversionError, match="inside each other"):
        onnx.read(write(folder / "m.onnx", [node("f", ["x"], ["y"], domain="mine")], functions=[again]))


def whole_numbers(name, numbers, shape=None):
    shape = [len(numbers)] if shape is None else shape
    return tensor(name, shape, np.array(numbers, "<i8").tobytes(), code=7)


@pytest.mark.parametrize(
    ("nodes", "stored"),
    [
        ([node("ConstantOfShape", ["s"], ["c"])], [whole_numbers("s", [2**20, 2**20])]),
        ([node("Expand", ["o", "s"], ["c"])], [whole_numbers("s", [2**20, 2**20]), whole_numbers("o", [1])]),
        ([node("Tile", ["o", "s"], ["c"])], [whole_numbers("s", [2**40]), whole_numbers("o", [1])]),
        (
            [node("Range", ["zero", "many", "one"], ["c"])],
            [whole_numbers(name, [n], []) for name, n in (("zero", 0), ("many", 2**45), ("one", 1))],
        ),
    ],
)
def test_what_a_model_tells_to_make_is_not_made(folder, nodes, stored):
    nodes = [*nodes, node("ReduceSum", ["c"], ["z"]), node("Cast", ["z"], ["f"], field(1, "to") + field(3, 1))]
    path = write(folder / "m.onnx", [*nodes, node("Add", ["x", "f"], ["y"])], stored)
    tracemalloc.start()
    with contextlib.suppress(ma.UnsafeFileError, ma.ConversionError):
        onnx.read(path).build()
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_arrays_that_are_made_are_counted(folder):
    nodes = [node("ConstantOfShape", ["s"], ["w"]), node("MatMul", ["x", "w"], ["y"])]
    with pytest.raises(ma.UnsafeFileError) as caught:
        onnx.read(write(folder / "m.onnx", nodes, [whole_numbers("s", [4, 2**27])]))
    assert caught.value.rule == "budget"


def test_every_beginning_of_a_model_is_refused(folder):
    data = (ROOT / "tests" / "data" / "foreign" / "onnx" / "torch-image-script.onnx").read_bytes()
    for size in [*range(0, 200, 7), *range(200, len(data), 211)]:
        (folder / "m.onnx").write_bytes(data[:size])
        with pytest.raises((ma.FormatError, ma.ConversionError)):
            onnx.read(folder / "m.onnx")


@pytest.mark.slow
def test_changed_bytes_are_refused_or_read(folder):
    data = (ROOT / "tests" / "data" / "foreign" / "onnx" / "torch-image-script.onnx").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(120):
        changed = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[at] = rng.integers(0, 256)
        (folder / "m.onnx").write_bytes(bytes(changed))
        try:
            onnx.read(folder / "m.onnx").build()
        except ma.ModelArchiveError:
            refused += 1
    assert 5 < refused < 120
