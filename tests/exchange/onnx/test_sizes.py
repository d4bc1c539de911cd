"""Several free axes at once, that leave their places, are joined and taken apart: what ONNX Runtime gives."""

import warnings

import numpy as np
import pytest

from modelarchive.errors import ConversionError
from modelarchive.exchange import onnx as exchange
from tests.exchange.onnx import there_and_back
from tests.exchange.onnx.test_operators import node, normal
from tests.exchange.onnx.test_reading_live import compared, make, session


def sizes(name, *parts):
    """Nodes that make a shape of an input's axes (by number, of "x") and of numbers (as texts)."""
    made, names = [node("Shape", "x", outputs=("shape",))], []
    for place, part in enumerate(parts):
        if isinstance(part, int):
            made.append(node("Gather", "shape", f"axis{part}", outputs=(f"{name}{place}",)))
            names.append(f"{name}{place}")
        else:
            names.append(f"n{part}")
    return [*made, node("Concat", *names, outputs=(name,), axis=0)]


STORED = {f"axis{axis}": np.array([axis]) for axis in range(4)} | {
    f"n{number}": np.array([int(number)]) for number in ("-1", "1", "2", "4", "8")
}


def both(path, *inputs):
    """As read, and as written once more."""
    bundle = compared(path, *inputs)
    again = path.with_name("again.onnx")
    exchange.write(bundle, again)
    for one, two in zip(*(each.run(None, dict(zip([x.name for x in each.get_inputs()], inputs, strict=True)))
                          for each in (session(path), session(again))), strict=True):  # fmt: skip
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-5)


#: The shape of the input, and shapes that it is brought into one after the other.
WAYS = {
    "rows, and back": (["b", "t", 8], [("-1", "8"), (0, 1, "8")]),
    "heads before the batch": (["b", "t", 8], [(0, 1, "2", "4"), ("-1", "4")]),
    "an axis that moves": (["b", "t", 8], [(0, "1", "1", 1, "8")]),
    "an axis that is split behind one": (["b", "t", 8], [(0, 1, "4", "2"), (0, 1, "8")]),
    "joined with numbers between": (["b", 2, "t", 4], [("-1", 2, "4"), (0, "2", 2, "4")]),
    "all in one": (["b", "t"], [("-1",), (0, 1, "1")]),
    "three": (["b", "c", "t"], [("-1", 2), (0, 1, 2)]),
}


@pytest.mark.parametrize("name", WAYS)
def test_shapes_of_several_free_axes(name, tmp_path):
    declared, shapes = WAYS[name]
    steps, last = [], "x"
    for place, shape in enumerate(shapes):
        own = sizes(f"s{place}_", *shape)
        steps += own if not place else [each for each in own if each.output[0] != "shape"]
        steps += [node("Reshape", last, f"s{place}_", outputs=(f"y{place}",)),
                  node("Neg", f"y{place}", outputs=(f"z{place}",))]  # fmt: skip
        last = f"z{place}"
    path = make(tmp_path, steps, {"x": (declared, "f")}, {last: (None, "f")}, STORED)
    for lengths in ({"b": 2, "t": 3, "c": 5}, {"b": 1, "t": 7, "c": 1}, {"b": 4, "t": 4, "c": 4}):
        both(path, normal(*(lengths.get(size, size) for size in declared)))


def test_places_in_an_array_of_free_axes(tmp_path):
    """As a mask is looked up: by the number of the sequence and of the token."""
    steps = [
        *sizes("s", 0, 1),
        node("Range", "zero", "s_b", "one", outputs=("rows",)),
        node("Range", "zero", "s_t", "one", outputs=("columns",)),
        node("Unsqueeze", "rows", "axis1", outputs=("r",)),
        node("Expand", "r", "s", outputs=("rr",)),
        node("Expand", "columns", "s", outputs=("cc",)),
        node("Unsqueeze", "rr", "axis2", outputs=("rrr",)),
        node("Unsqueeze", "cc", "axis2", outputs=("ccc",)),
        node("Concat", "rrr", "ccc", outputs=("places",), axis=2),
        node("GatherND", "x", "places", outputs=("found",)),
        node("Tile", "found", "times"),
    ]
    scalars = [node("Squeeze", f"s{place}", outputs=(f"s_{name}",)) for place, name in enumerate("bt")]
    steps[4:4] = [*scalars, node("Concat", "s0", "n2", outputs=("times",), axis=0)]
    stored = STORED | {"zero": np.array(0), "one": np.array(1)}
    path = make(tmp_path, steps, {"x": (["b", "t"], "f")}, {"y": (None, "f")}, stored)
    for shape in ((2, 3), (1, 5), (3, 3)):
        both(path, normal(*shape))


def test_sizes_keep_the_dtype_that_the_file_gives_them(tmp_path):
    """TensorFlow's converters count in int32."""
    steps = [
        node("Shape", "x", outputs=("s",)),
        node("Cast", "s", outputs=("i",), to=6),
        node("Mod", "i", "four", outputs=("m",)),
        node("Sub", "four", "m", outputs=("d",)),
        node("Cast", "d", outputs=("y",), to=1),
    ]
    path = make(tmp_path, steps, {"x": (["b", 3], "f")}, {"y": (None, "f")}, {"four": np.array(4, np.int32)})
    both(path, normal(5, 3))


def test_a_range_as_long_as_a_result(tmp_path):
    """The length behind a convolution, counted by arithmetic and not by Shape."""
    steps = [
        node("Conv", "x", "w", outputs=("c",), strides=[3]),
        node("Shape", "x", outputs=("s",), start=2, end=3),
        node("Sub", "s", "five", outputs=("t",)),
        node("Div", "t", "three", outputs=("u",)),
        node("Add", "u", "one1", outputs=("v",)),
        node("Squeeze", "v", outputs=("n",)),
        node("Range", "zero", "n", "one", outputs=("r",)),
        node("Cast", "r", outputs=("f",), to=1),
        node("Add", "c", "f"),
    ]
    stored = {"w": normal(4, 2, 5), "five": np.array([5]), "three": np.array([3]), "one1": np.array([1]),
              "zero": np.array(0), "one": np.array(1)}  # fmt: skip
    path = make(tmp_path, steps, {"x": (["b", 2, "t"], "f")}, {"y": (None, "f")}, stored)
    for length in (5, 17, 40):
        both(path, normal(2, 2, length))


@pytest.mark.slow
@pytest.mark.parametrize("opset", [17, 18, 23])
def test_an_attention_of_free_batch_and_length(opset, tmp_path):
    """As both of PyTorch's exporters write it."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.out = torch.nn.Linear(8, 24), torch.nn.Linear(8, 8)

        def forward(self, x, mask):
            q, k, v = (each.reshape(x.shape[0], x.shape[1], 2, 4).transpose(1, 2) for each in self.mix(x).chunk(3, -1))
            allowed = mask.bool()[:, None, None, :].expand(-1, -1, x.shape[1], -1)
            found = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
            return self.out(found.transpose(1, 2).reshape(-1, 8)).view(x.shape[0], x.shape[1], 8)

    given = (torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.int64))
    options = {"dynamic_shapes": [{0: "batch", 1: "length"}] * 2} if opset > 17 else {
        "dynamic_axes": {name: {0: "batch", 1: "length"} for name in ("x", "m")}, "input_names": ["x", "m"]
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Net().eval(), given, tmp_path / "m.onnx", opset_version=opset, dynamo=opset > 17,
                          verbose=False, **options)  # fmt: skip
    found = there_and_back.there_and_back(tmp_path / "m.onnx")
    assert found.is_close, str(found)
    assert exchange.read(tmp_path / "m.onnx").architecture["inputs"][0]["shape"][:2] == ["batch", "length"]


@pytest.mark.parametrize(("start", "more"), [(1, 1), (0, 0), (2, 0), (0, -1), (1, -1)])
def test_what_ends_at_a_size(start, more, tmp_path):
    """The second axis from a place on, up to its size and some: as differences of neighbours are exported."""
    steps = [
        node("Slice", "x", "zero", "n1", "n1", outputs=("first",)),
        node("Concat", "first", "x", outputs=("longer",), axis=1),
        node("Shape", "x", outputs=("length",), start=1, end=2),
        node("Add", "length", "more", outputs=("end",)),
        node("Slice", "longer" if more >= 0 else "x", "start", "end", "n1", outputs=("y",)),
    ]
    stored = {"zero": np.array([0]), "n1": np.array([1]), "start": np.array([start]), "more": np.array([more])}
    path = make(tmp_path, steps, {"x": (["b", "t", 3], "f")}, {"y": (None, "f")}, stored)
    for length in (3, 4, 9):
        both(path, normal(2, length, 3))


def test_the_larger_of_sizes_that_are_the_same_is_that_size(tmp_path):
    """TensorFlow's converters take products apart so; of others it is not known: the axes are of one size."""
    steps = [
        *sizes("s", 0, 1, "2"),
        node("Gather", "shape", "axis0", outputs=("again",)),
        node("Max", "s0", "again", "s0", outputs=("most",)),
        node("Min", "most", "again", outputs=("least",)),
        node("Concat", "least", "s1", "n2", "n-1", outputs=("to",), axis=0),
        node("Reshape", "x", "to"),
    ]
    path = make(tmp_path, steps, {"x": (["b", "t", 8], "f")}, {"y": (None, "f")}, STORED)
    for shape in ((2, 3, 8), (1, 5, 8), (4, 4, 8)):
        both(path, normal(*shape))
    steps[-4] = node("Max", "s0", "s1", outputs=("most",))
    path = make(tmp_path, steps, {"x": (["b", "t", 8], "f")}, {"y": (None, "f")}, STORED)
    assert exchange.read(path).architecture["inputs"][0]["shape"] == ["b", "b", 8]


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_windows_of_two_over_free_sizes_are_padded_behind(op, tmp_path):
    more = {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}
    path = make(tmp_path, [node(op, "x", **more)], {"x": (["b", 3, "h", "w"], "f")}, {"y": (None, "f")})
    for size in ((6, 7), (9, 8), (2, 5), (1, 3)):
        both(path, normal(2, 3, *size))
    refused = {"SAME_LOWER": more | {"auto_pad": "SAME_LOWER"}, "ceil": more | {"ceil_mode": 1},
               "three": more | {"kernel_shape": [3, 3]}}  # fmt: skip
    for attributes in refused.values():
        path = make(tmp_path, [node(op, "x", **attributes)], {"x": (["b", 3, "h", "w"], "f")}, {"y": (None, "f")})
        with pytest.raises(ConversionError, match="with sizes that are not fixed is not supported"):
            exchange.read(path)


def test_images_are_resized_to_sizes_beside_scales_that_are_empty(tmp_path):
    """As TensorFlow's converters write what doubles an image of any size."""
    steps = [
        *sizes("s", 0, 1, 2, 3),
        node("Mul", "s2", "n2", outputs=("h",)),
        node("Mul", "s3", "n2", outputs=("w",)),
        node("Concat", "s0", "s1", "h", "w", outputs=("to",), axis=0),
        node("Resize", "x", "none", "none", "to", mode="nearest", nearest_mode="floor",
             coordinate_transformation_mode="asymmetric"),
    ]  # fmt: skip
    stored = STORED | {"none": np.zeros(0, np.float32)}
    path = make(tmp_path, steps, {"x": (["b", 3, "h", "w"], "f")}, {"y": (None, "f")}, stored)
    for size in ((6, 7), (2, 3)):
        both(path, normal(1, 3, *size))
