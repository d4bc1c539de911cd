"""What is written for MXNet: read again here; and by MXNet itself, where a Python that has it is named."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, ops, zoo
from modelarchive.exchange import mxnet
from modelarchive.exchange.mxnet.lowering import LOWERINGS
from modelarchive.ops.activation import ACTIVATIONS
from tests.cases.networks import network as zoo_network
from tests.conftest import ROOT
from tests.exchange.mxnet.files import FOREIGN

#: A Python that has MXNet 1.9.1, in an environment of its own.
PYTHON = os.environ.get("MODELARCHIVE_MXNET_PYTHON", "")
live = pytest.mark.skipif(not PYTHON, reason="MODELARCHIVE_MXNET_PYTHON names no Python that has MXNet")


class Arithmetic(nn.Block):
    def forward(self, x: Any, y: Any) -> Any:
        z = (x + y * 2 - 1) / (np.exp(y) + 3) ** 2 + np.maximum(x, 0.3) + np.minimum(x, y) - (2 - x) * 0.5 + 1 / (y + 5)
        z = z + x[:, 1:2] + x[:, :, 0][:, :, None] + x[:, ::-1]
        a, b = np.split(z, 2, axis=1)
        whole = np.concatenate([a, b, z.transpose(0, 2, 1)], axis=1)
        return whole, z.mean(axis=(1, 2)), z @ z, ops.softmax(z, axis=1), np.squeeze(z[:, None, :, :2], axis=1)


class Comparisons(nn.Block):
    def forward(self, x: Any, y: Any) -> Any:
        chosen = np.where(x > y, x, y), np.where(np.less(x, 0.5), x, y), np.where(np.equal(x, y), x, y + 1)
        return *chosen, x.var(axis=(0, 2)), np.where(np.less(0.25, x), x, y), np.var(y, axis=-1, keepdims=True)


class Padded(nn.Block):
    def forward(self, x: Any) -> Any:
        last = np.pad(x, ((0, 0), (1, 2), (2, 0), (0, 0)), mode="edge")
        line = np.pad(x[:, :, 0], ((0, 0), (1, 0), (0, 3)), constant_values=0.5)
        return last, line, np.pad(x, ((0, 0), (1, 1), (0, 2), (3, 0)))


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


IMAGE = image(2, 4, 12, 10)
SEQUENCE = image(2, 6, 4)
#: Of the zoo here, those that Gluon's model zoo has not.
ZOO = ("ViT", "BERT", "GPT-2", "Llama", "Llama 3", "Transformer", "U-Net, bilinear", "GoogLeNet", "GRU")
NETWORKS: dict[str, tuple[Callable[[], nn.Block], tuple[np.ndarray, ...]]] = {
    **{
        name: (lambda name=name: nn.Sequential(nn.Activation(name)), (IMAGE * 4,))  # type: ignore[misc]
        for name in ACTIVATIONS
    },
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2D(6, (3, 2), (2, 1), ((1, 0), (0, 2)), groups=2),
            nn.Conv2DTranspose(4, 3, strides=2, padding=1, output_padding=1, groups=2, activation="tanh"),
            nn.Conv2D(3, 1, use_bias=False),
        ),
        (IMAGE,),
    ),
    "channels last": (
        lambda: nn.Sequential(
            nn.Conv2D(6, 3, layout="NHWC"), nn.MaxPool2D(2, layout="NHWC"), nn.GlobalAvgPool2D(layout="NHWC")
        ),
        (image(2, 9, 8, 3),),
    ),
    "normalisation": (
        lambda: nn.Sequential(
            nn.BatchNorm(scale=False),
            nn.BatchNorm(center=False),
            nn.GroupNorm(2),
            nn.InstanceNorm(),
            nn.PReLU(),
            nn.LayerNorm(),
            nn.RMSNorm(),
        ),
        (IMAGE,),
    ),
    "normalisation of other axes": (
        lambda: nn.Sequential(
            nn.GroupNorm(5, axis=-1),
            nn.InstanceNorm(axis=2),
            nn.InstanceNorm(axis=-1, scale=True, center=True),
            nn.LayerNorm((1, -1)),
            nn.LayerNorm(scale=False, center=False),
            nn.RMSNorm((3, 1)),
            nn.RMSNorm(1, scale=False),
            nn.PReLU(axis=-1),
        ),
        (IMAGE,),
    ),
    "pooling": (
        lambda: nn.Sequential(
            nn.MaxPool2D(3, 2, 1),
            nn.AvgPool2D(3, 2, 1, count_include_pad=False, ceil_mode=True),
            nn.AdaptiveAvgPool2D(2),
        ),
        (IMAGE,),
    ),
    "the only window of a pool is a partial one": (
        lambda: nn.Sequential(
            nn.AvgPool2D((3, 4), (2, 2), (0, 1), ceil_mode=True), nn.MaxPool2D((2, 2), (3, 3), ceil_mode=True)
        ),
        (image(1, 2, 2, 2),),
    ),
    "pooling of a line": (lambda: nn.Sequential(nn.AdaptiveAvgPool1D(3)), (image(2, 4, 10),)),
    "padding": (Padded, (IMAGE,)),
    "shapes": (
        lambda: nn.Sequential(
            nn.Pad(((1, 2), (0, 1)), mode="reflect"),
            nn.Upsample(2),
            nn.Upsample(size=(9, 7), mode="linear", align_corners=True),
            nn.Upsample((2, 3), mode="linear"),
            nn.Permute((0, 2, 3, 1)),
            nn.Reshape((None, -1)),
            nn.Dropout(0.3),
            nn.Identity(),
            nn.Softmax(-1),
        ),
        (IMAGE,),
    ),
    **{
        f"{kind.__name__} {both}": (
            lambda kind=kind, both=both: nn.Sequential(kind(5, 2, layout="NTC", bidirectional=both, use_bias=not both)),  # type: ignore[misc]
            (SEQUENCE,),
        )
        for kind in (nn.RNN, nn.LSTM, nn.GRU)
        for both in (False, True)
    },
    "states": (lambda: nn.Sequential(nn.LSTM(5, layout="TNC", return_state=True)), (SEQUENCE,)),
    "arithmetic": (Arithmetic, (image(2, 12, 12), image(2, 12, 12)[::-1].copy())),
    "comparisons": (Comparisons, (image(2, 3, 4), image(2, 3, 4)[:, ::-1].copy())),
    "celu": (lambda: nn.Sequential(nn.Activation("celu", 0.7)), (IMAGE,)),
    "lenet": (zoo.LeNet, (image(1, 1, 28, 28),)),
    "resnet18": (zoo.resnet18, (image(1, 3, 64, 64),)),
    "mobilenet": (zoo.MobileNetV2, (image(1, 3, 64, 64),)),
    "classifier": (lambda: zoo.LSTMClassifier(50, 8, 8, 2), (np.arange(14).reshape(2, 7),)),
}


class Attending(nn.Block):
    """Attention in all its forms, to keys of another number than the queries."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.PositionalEmbedding("learned", 20, offset=2)
        self.waves = nn.PositionalEmbedding("sinusoidal", offset=1)
        turns = {"dim": 4, "style": "interleaved"}
        self.grouped = nn.MultiHeadAttention(12, 4, 2, head_dim=6, causal=True, rotary=turns)
        self.packed = nn.MultiHeadAttention(12, 3, packed=True, use_bias=(True, True, True, False), scale=0.3)
        self.halves = nn.MultiHeadAttention(12, 2, rotary={}, use_bias=False)

    def forward(self, x: Any, memory: Any, chosen: Any, added: Any) -> Any:
        y = self.waves(self.place(x))
        grouped = self.grouped(y, memory, memory, chosen)
        return grouped, self.packed(y, memory, memory, added), self.halves(y, memory)


def attending() -> tuple[nn.Block, tuple[np.ndarray, ...], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    chosen = rng.uniform(size=(2, 1, 5, 7)) > 0.3
    chosen[0, 0, 2] = False  # a query that may attend to nothing
    added = np.where(rng.uniform(size=(2, 1, 5, 7)) > 0.3, 0, -np.inf).astype(np.float32)
    added[1, 0, 1] = -np.inf
    inputs = (image(2, 5, 12), image(2, 7, 12), chosen, added)
    network = Attending()
    network.initialize(seed=0)
    return network, inputs, list(network(*inputs))


def made(name: str) -> tuple[nn.Block, tuple[np.ndarray, ...], list[np.ndarray]]:
    """A network with values in all parameters, its inputs and outputs."""
    make, inputs = NETWORKS[name]
    network = make()
    network.initialize(seed=0)
    network(*inputs)
    rng = np.random.default_rng(1)
    for parameter in network.collect_params().values():
        if parameter.shape is not None and len(parameter.shape) == 1:
            parameter.set_data(rng.uniform(0.5, 1.5, parameter.shape).astype("float32"))
    found = network(*inputs)
    return network, inputs, list(found) if isinstance(found, tuple) else [found]


def close(found: Any, expected: list[np.ndarray]) -> None:
    several = found if isinstance(found, tuple | list) else [found]
    assert len(several) == len(expected)
    for one, other in zip(several, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * max(1, float(np.abs(other).max())))


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    network, inputs, expected = made(name)
    mxnet.write(network, tmp_path / "net-symbol.json", inputs=inputs)
    bundle = mxnet.read(tmp_path / "net-0000.params", inputs=[(None, *each.shape[1:]) for each in inputs])
    close(bundle.build()(*inputs), expected)


@pytest.mark.slow
@live
def test_mxnet_gives_the_same_outputs(tmp_path: Path) -> None:
    for name in NETWORKS:
        network, inputs, expected = made(name)
        write_with_outputs(network, inputs, expected, tmp_path / f"own_{name.replace(' ', '_')}")
    for name in ZOO:
        network, inputs = zoo_network(name)
        found = network(*inputs)
        write_with_outputs(
            network, inputs, found if isinstance(found, tuple) else [found], tmp_path / f"zoo_{name.replace(' ', '_')}"
        )
    for name in ("lenet", "resnet", "spam"):
        mxnet.write(mxnet.read(FOREIGN / f"{name}-symbol.json"), tmp_path / f"again_{name}-symbol.json", durable=False)
        with np.load(FOREIGN / f"{name}-io.npz") as io:
            np.savez(tmp_path / f"again_{name}-io.npz", x0=io["x"], y0=io["y"])
        mxnet.write(mxnet.read(FOREIGN / f"{name}.params"), tmp_path / f"{name}.params", durable=False)
    assert in_mxnet(tmp_path) == f"{len(NETWORKS) + len(ZOO) + 3} models, 3 files of parameters"


@pytest.mark.slow
@live
@pytest.mark.parametrize("free", [False, True], ids=["fixed lengths", "free lengths"])
def test_mxnet_attends_alike(tmp_path: Path, free: bool) -> None:
    network, inputs, expected = attending()
    declared: Any = inputs
    if free:
        shapes = [[None, None, 12], [None, None, 12], [None, 1, None, None], [None, 1, None, None]]
        declared = [{"shape": shape, "dtype": str(each.dtype)} for shape, each in zip(shapes, inputs, strict=True)]
    write_with_outputs(network, inputs, expected, tmp_path / "attending", declared)
    shapes = [each["shape"] if isinstance(each, dict) else each.shape for each in declared]
    again = mxnet.read(tmp_path / "attending-symbol.json", inputs=shapes)
    close(again.build()(*inputs), expected)
    write_with_outputs(again, inputs, expected, tmp_path / "again")
    assert in_mxnet(tmp_path) == "2 models, 0 files of parameters"


@pytest.mark.slow
@live
def test_mxnet_reads_arrays_without_axes_beside_others(tmp_path: Path) -> None:
    arrays = {"none": np.float32(2.5), "empty": np.ones((0, 3), "f4"), "plain": np.ones((2, 3), "f4")}
    notes = mxnet.write({name: np.asarray(each) for name, each in arrays.items()}, tmp_path / "x.params")
    assert [note.where for note in notes] == ["none", "empty"]
    code = """
import sys, mxnet as mx
with mx.util.np_shape(True):
    print({name: array.shape for name, array in mx.nd.load(sys.argv[1]).items()})
"""
    done = subprocess.run([PYTHON, "-c", code, tmp_path / "x.params"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'none': (), 'empty': (0, 3), 'plain': (2, 3)}"


def test_every_array_of_a_file_is_of_one_version(tmp_path: Path) -> None:
    plain = {"a": np.ones(3, "f4"), "b": np.ones((2, 2), "f4")}
    for arrays, version in ((plain, b"\xc9\xfa\x93\xf9"), ({**plain, "c": np.ones((), "f4")}, b"\xca\xfa\x93\xf9")):
        mxnet.write(arrays, tmp_path / "x.params")
        assert (tmp_path / "x.params").read_bytes().count(version) == len(arrays)
        found = mxnet.read(tmp_path / "x.params").parameters
        assert {name: found[name].shape for name in found} == {name: each.shape for name, each in arrays.items()}


def write_with_outputs(network: Any, inputs: Any, expected: Any, stem: Path, declared: Any = None) -> None:
    mxnet.write(network, f"{stem}-symbol.json", inputs=inputs if declared is None else declared, durable=False)
    arrays = {f"x{at}": each for at, each in enumerate(inputs)}
    np.savez(f"{stem}-io.npz", **arrays, **{f"y{at}": each for at, each in enumerate(expected)})


def in_mxnet(folder: Path) -> str:
    """What MXNet says of the files of a folder, once it has compared the outputs."""
    script = ROOT / "tests" / "exchange" / "mxnet" / "in_mxnet.py"
    done = subprocess.run([PYTHON, script, folder, FOREIGN], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_parameters_are_written_as_gluon_names_them(tmp_path: Path) -> None:
    for name in ("mlp", "lenet", "resnet", "spam"):
        mxnet.write(mxnet.read(FOREIGN / f"{name}.params"), tmp_path / f"{name}.params")
        assert (tmp_path / f"{name}.params").read_bytes() == (FOREIGN / f"{name}.params").read_bytes()


def test_arrays_of_every_dtype_come_back(tmp_path: Path) -> None:
    dtypes = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool", ml_dtypes.bfloat16]
    arrays = {f"{np.dtype(dtype)}": np.arange(6).reshape(2, 3).astype(dtype) for dtype in dtypes}
    arrays |= {"turned": np.arange(6.0).reshape(2, 3).T, "big": np.arange(3, dtype=">i4"), "scalar": np.array(2.5)}
    notes = mxnet.write(arrays, tmp_path / "all.params")
    found = mxnet.read(tmp_path / "all.params").parameters
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype.newbyteorder("=") or array.dtype == ml_dtypes.bfloat16
    assert [note.where for note in notes] == ["scalar"]


def test_all_that_mxnet_cannot_hold_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    arrays = {"a": np.zeros(2, "uint32"), "b": np.zeros(2), "c": np.zeros(2, "complex64")}
    with pytest.raises(ma.ConversionError) as caught:
        mxnet.write(arrays, tmp_path / "net.params")
    assert [where for where, _ in caught.value.unsupported] == ["a", "c"]
    with pytest.raises(ma.ConversionError) as caught:
        _write_what_mxnet_lacks(tmp_path)
    assert len(caught.value.unsupported) == 2
    assert list(tmp_path.iterdir()) == []


def _write_what_mxnet_lacks(folder: Path) -> None:
    class Two(nn.Block):
        def forward(self, x: Any) -> Any:
            return np.argmax(x, axis=1), np.einsum("bti,bsi->bts", x, x)

    mxnet.write(Two(), folder / "net-symbol.json", inputs=SEQUENCE)


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    network, inputs, _ = made("lenet")
    first = next(iter(network.collect_params()))
    network.collect_params()[first].trainable = False
    ma.save_model(tmp_path / "net.h5", network, inputs=inputs, metadata={"license": "MIT"})
    notes = mxnet.write(tmp_path / "net.h5", tmp_path / "net-symbol.json")
    assert [note.where for note in notes] == ["metadata['license']", first]
    notes = mxnet.write(tmp_path / "net.h5", tmp_path / "net.params")
    assert {"(architecture)", "metadata['license']"} <= {note.where for note in notes}
    with pytest.raises(ma.ConversionError, match="architecture"):
        mxnet.write({"x": np.zeros(3)}, tmp_path / "other-symbol.json")


def test_a_kind_without_a_row_is_written_as_its_formula(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {word: row for word, row in LOWERINGS.items() if word not in ("LayerNorm", "RMSNorm")}
    monkeypatch.setattr("modelarchive.exchange.mxnet.exporting.LOWERINGS", rows)
    network = nn.Sequential(nn.LayerNorm((1, 2)), nn.RMSNorm((2, 1)), nn.LayerNorm(center=False))
    network.initialize(seed=0)
    mxnet.write(network, tmp_path / "net-symbol.json", inputs=SEQUENCE)
    operators = {each["op"] for each in json.loads((tmp_path / "net-symbol.json").read_text("utf-8"))["nodes"]}
    assert {"mean", "sqrt", "broadcast_div"} < operators
    assert "LayerNorm" not in operators
    bundle = mxnet.read(tmp_path / "net-0000.params", inputs=[(None, *SEQUENCE.shape[1:])])
    close(bundle.build()(SEQUENCE), [np.asarray(network(SEQUENCE))])
