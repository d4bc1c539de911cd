"""A network in an archive is cut at a layer: as the frameworks compute it, from its own bytes, and saved."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import maintenance, nn
from tests.hostile.test_two_stories import rewritten
from tests.structures import index_of

IMAGES = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)


@pytest.fixture
def keras() -> Any:
    return pytest.importorskip("keras")


def flat_model(keras: Any) -> Any:
    """A flat functional model with a skip, shared layers and a layer of two results behind each other."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = keras.Input((16, 16, 3), name="image")
    a = layers.Conv2D(4, 3, activation="relu", padding="same", name="conv")(x)
    b = layers.BatchNormalization(name="bn")(a)
    again = layers.Conv2D(4, 3, padding="same", name="again")
    b = layers.Add(name="add")([a, again(again(b))])
    pooled = layers.GlobalAveragePooling2D(name="gap")(b)
    hidden = layers.Dense(5, activation="relu", name="hidden")(pooled)
    return keras.Model(x, layers.Dense(3, activation="softmax", name="scores")(hidden))


@pytest.fixture
def path(tmp_path: Path, keras: Any) -> Path:
    ma.save_model(tmp_path / "flat.h5", flat_model(keras), metadata={"license": "MIT"})
    return tmp_path / "flat.h5"


@pytest.mark.parametrize("layer", ["conv", "bn", "add", "gap", "hidden"])
def test_a_keras_model_until_a_layer(path: Path, keras: Any, layer: str) -> None:
    model = flat_model(keras)
    expected = keras.Model(model.inputs[0], model.get_layer(layer).output)(IMAGES, training=False)
    expected = keras.ops.convert_to_numpy(expected)
    with ma.open(path) as archive:
        found = archive.build(until=layer)(IMAGES)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", ["add", "gap", "hidden"])
def test_both_sides_of_a_layer_make_the_whole(path: Path, layer: str) -> None:
    with ma.open(path) as archive:
        between = archive.build(until=layer)(IMAGES)
        found = archive.build(after=layer)(between)
        assert found.tobytes() == archive.build()(IMAGES).tobytes()


def test_what_is_extracted_is_a_model(path: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    head, tail, whole = tmp_path / "head.h5", tmp_path / "tail.h5", ma.load_model(path)
    maintenance.extract(path, "", head, until="gap")
    maintenance.extract(path, "", tail, after="gap")
    for file in (head, tail):
        with ma.open(file) as archive:
            archive.verify()
            assert archive.metadata["license"] == "MIT"
    between = ma.load_model(head, verify=True)(IMAGES)
    assert ma.load_model(tail, verify=True)(between).tobytes() == whole(IMAGES).tobytes()
    with torch.no_grad():
        x = ma.load_model(head, backend="torch")(torch.from_numpy(IMAGES))
        same = ma.load_model(path, until="gap", backend="torch", verify=True)(torch.from_numpy(IMAGES))
        assert torch.equal(x, same)
        y = ma.load_model(tail, backend="torch")(x).numpy()
    np.testing.assert_allclose(y, whole(IMAGES), rtol=1e-4, atol=1e-6)
    with ma.open(tail) as archive:
        assert set(archive) == {"hidden.weight", "hidden.bias", "scores.weight", "scores.bias"}


def test_a_file_of_another_system_is_cut_as_it_is_loaded(keras: Any, tmp_path: Path) -> None:
    model = flat_model(keras)
    model.save(tmp_path / "flat.keras")
    between = ma.load_model(tmp_path / "flat.keras", until="add")(IMAGES)
    expected = keras.ops.convert_to_numpy(keras.Model(model.inputs[0], model.get_layer("add").output)(IMAGES))
    np.testing.assert_allclose(between, expected, rtol=1e-5, atol=1e-5)
    found = ma.load_model(tmp_path / "flat.keras", after="add")(between)
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(model(IMAGES)), rtol=1e-5, atol=1e-6)


def test_an_onnx_model_until_a_node(tmp_path: Path) -> None:
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    source = Path(__file__).parents[1] / "data" / "foreign" / "onnx" / "torch-image.onnx"
    model = onnx.load(source)
    path = tmp_path / "net.h5"
    ma.convert(source, path)
    with ma.open(path) as archive:
        declared = archive.architecture["inputs"][0]
        nodes = [node["name"] for node in archive.architecture["model"]["nodes"] if "inputs" in node]
        x = np.random.default_rng(0).random(
            [size if isinstance(size, int) else 2 for size in declared["shape"]], np.float32
        )
        tried = 0
        for node in model.graph.node:
            name = re.sub(r"[^A-Za-z0-9_-]", "_", node.name)
            if name not in nodes or len(node.output) != 1:
                continue
            changed = onnx.ModelProto()
            changed.CopyFrom(model)
            del changed.graph.output[:]
            changed.graph.output.append(onnx.helper.make_empty_tensor_value_info(node.output[0]))
            session = runtime.InferenceSession(changed.SerializeToString(), providers=["CPUExecutionProvider"])
            expected = session.run(None, {session.get_inputs()[0].name: x})[0]
            np.testing.assert_allclose(archive.build(until=name)(x), expected, rtol=1e-4, atol=1e-5)
            tried += 1
    assert tried > 3


def row(path: Path) -> None:
    net = nn.Sequential(*(nn.Dense(512, in_units=512, use_bias=False) for _ in range(8)))
    net.initialize("ones")
    ma.save_model(path, net, inputs=np.zeros((1, 512), "f4"), durable=False)


@pytest.mark.parametrize(("cut", "own"), [({"until": "1"}, ["0", "1"]), ({"after": "5"}, ["6", "7"])])
def test_a_cut_is_made_from_its_own_bytes(tmp_path: Path, cut: dict[str, str], own: list[str]) -> None:
    """Every other array may be gone: overwritten here."""
    path = tmp_path / "x.h5"
    row(path)
    entries = index_of(path).arrays
    data = bytearray(path.read_bytes())
    for name, entry in entries.items():
        if name.partition(".")[0] not in own:
            data[entry.offset : entry.offset + entry.nbytes] = bytes(entry.nbytes)
    path.write_bytes(data)
    with ma.open(path) as archive:
        part = archive.build(**cut)
    assert list(part.children) == own
    assert all((parameter.data() == 1).all() for parameter in part.collect_params().values())
    maintenance.extract(path, "", tmp_path / "out.h5", **cut)
    with ma.open(tmp_path / "out.h5") as archive:
        archive.verify()
        assert list(archive) == [f"{name}.weight" for name in own]
    assert (tmp_path / "out.h5").stat().st_size < 3 * 2**20


class Words(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, 4)
        self.hidden = nn.Dense(4, flatten=False)
        self.output = nn.Dense(3, flatten=False, in_units=4)
        self.output.weight = self.embedding.weight

    def forward(self, x: Any) -> Any:
        return self.output(self.hidden(self.embedding(x)))


def test_words_and_tied_weights_go_along(tmp_path: Path) -> None:
    path, out, x = tmp_path / "x.h5", tmp_path / "out.h5", np.array([[0, 2, 1]])
    net = Words()
    net.initialize(seed=0)
    y = net(x)
    ma.save_model(path, net, inputs=x, tokens={"embedding.weight": ["a", "b", "c"]})
    maintenance.extract(path, "", out, until="hidden")
    with ma.open(out) as archive:
        assert dict(archive.tokens) == {"embedding.weight": ["a", "b", "c"]}
        archive.verify()
    between = ma.load_model(out)(x)
    maintenance.extract(path, "", out, after="hidden")
    with ma.open(out) as archive:
        archive.verify()
        assert set(archive) == {"output.weight", "output.bias"}
        assert not archive.tokens
    assert ma.load_model(out)(between).tobytes() == y.tobytes()


def test_a_block_and_a_layer_in_it(tmp_path: Path) -> None:
    path, x = tmp_path / "x.h5", np.ones((1, 3), "f4")
    net = nn.Sequential(nn.Dense(4), nn.Sequential(nn.Dense(5), nn.Dense(6), nn.Dense(7)))
    net.initialize(seed=0)
    net(x)
    ma.save_model(path, net, inputs=x)
    with ma.open(path) as archive:
        assert list(archive.build("1", until="1").children) == ["0", "1"]
        assert list(archive.build("1", slice(1, 3), after="1").children) == ["2"]
        assert archive.build(until="1.0")(x).tobytes() == net[1][0](net[0](x)).tobytes()
        with pytest.raises(ma.SpecError, match=r"did you mean '1\.1'|there are"):
            archive.build(until="1.9")


def test_parameters_alone_are_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    net = nn.Sequential(nn.Dense(2, in_units=2), nn.Dense(2, in_units=2))
    net.initialize(seed=0)
    net.save_parameters(path)
    with pytest.raises(ma.FormatError, match="holds no architecture"):
        maintenance.extract(path, "", tmp_path / "out.h5", until="0")
    assert not (tmp_path / "out.h5").exists()


def test_a_block_is_read_without_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelarchive.architecture import structure

    path = tmp_path / "x.h5"
    net = nn.Sequential(*(nn.Sequential(nn.Dense(2, in_units=2), nn.Dense(2, in_units=2)) for _ in range(50)))
    net.initialize(seed=0)
    x = np.ones((1, 2), "f4")
    ma.save_model(path, net, inputs=x, durable=False)
    read: list[str] = []
    original = structure.Reader.block

    def counted(self: Any, data: Any, pointer: str, path: str) -> Any:
        read.append(path)
        return original(self, data, pointer, path)

    monkeypatch.setattr(structure.Reader, "block", counted)
    part = ma.load_model(path, block="7")
    assert read == ["7", "7.0", "7.1"]
    np.testing.assert_array_equal(part(x), net[7](x))
    # What it takes is known to the whole alone, which is read when that is asked for.
    ma.save_model(tmp_path / "part.h5", ma.load_model(path, block="8"), durable=False)
    with ma.open(tmp_path / "part.h5") as archive:
        assert archive.architecture["inputs"] == [{"name": "x", "shape": [None, 2], "dtype": "float32"}]


def test_a_key_that_is_written_in_escapes(tmp_path: Path) -> None:
    """Block 1 shares the parameters of block 0, and freezes them; reading block 0 alone would not show that."""
    path = tmp_path / "x.h5"
    net = nn.Sequential(nn.Dense(2, in_units=2), nn.Dense(2, in_units=2), nn.Dense(2, in_units=2))
    net.initialize(seed=0)
    net[1].share_parameters(net[0].collect_params())
    ma.save_model(path, net, inputs=np.ones((1, 2), "f4"), durable=False)

    def change(text: str) -> str:
        data = json.loads(text)
        data["model"]["children"][1]["block"]["frozen"] = ["weight"]
        return json.dumps(data, separators=(",", ":")).replace('"shares"', '"\\u0073hares"')

    rewritten(path, "/architecture/data", change)
    with ma.open(path) as archive:
        assert "shares" in archive.architecture["model"]["children"][1]["block"]
        assert not archive.build("0").weight.trainable
        assert archive.build("2").weight.trainable


def test_what_is_invalid_elsewhere_is_told_by_verify(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    row(path)
    rewritten(path, "/architecture/data", lambda text: text.replace('"units": 512', '"units": 511', 1))
    assert ma.load_model(path, block="5")(np.ones((1, 512), "f4")).shape == (1, 512)
    with ma.open(path) as archive:
        for refuse in (archive.verify, archive.build, lambda: archive.build(until="5"), lambda: archive.build("0")):
            with pytest.raises((ma.SpecError, ma.ParameterError)):
                refuse()


@pytest.mark.parametrize(("name", "given"), [("block", 0), ("until", 1), ("after", 1)])
def test_a_number_is_no_path(name: str, given: int, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Dense(2, in_units=3), nn.Dense(1, in_units=2))
    network.initialize(seed=0)
    ma.save_model(tmp_path / "x.h5", network, inputs=np.zeros((1, 3), np.float32))
    with pytest.raises(TypeError, match=rf"{name} is {given}, expected a path as a text: {name}='{given}'"):
        ma.load_model(tmp_path / "x.h5", **{name: given})
    with pytest.raises(TypeError, match="expected one path as a text"):
        ma.load_model(tmp_path / "x.h5", **{name: ["0", "1"]})
