"""Files are told by their content, and converted into what a suffix says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import formats, models, nn
from modelarchive.exchange import Bundle, Note, bundle_of
from tests.conftest import ROOT

FOREIGN = ROOT / "tests" / "data" / "foreign"
X = np.ones((2, 4), np.float32)


@pytest.fixture
def net() -> nn.Block:
    net = nn.Sequential()
    net.add(features=nn.Sequential(nn.Dense(3)), output=nn.Dense(2))
    net.initialize(seed=0)
    net(X)
    return net


@pytest.fixture
def model(net: nn.Block, tmp_path: Path) -> Path:
    ma.save_model(tmp_path / "net.h5", net, inputs=X, metadata={"license": "MIT"})
    return tmp_path / "net.h5"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("safetensors/dtypes.safetensors", "safetensors"),
        ("safetensors/model.safetensors.index.json", "safetensors"),
        ("numpy/new.npz", "numpy"),
        ("numpy/old-compressed.npz", "numpy"),
        ("numpy/new.npy", "numpy"),
        ("vectors/glove.txt", "vectors"),
        ("vectors/word2vec.txt", "vectors"),
        ("vectors/word2vec.bin", "vectors"),
    ],
)
def test_recognised_by_content(path: str, name: str, tmp_path: Path) -> None:
    assert formats.recognise(FOREIGN / path) == name
    shutil.copy(FOREIGN / path, tmp_path / "something")
    assert formats.recognise(tmp_path / "something") == name


def test_archives_are_recognised(model: Path, tmp_path: Path) -> None:
    ma.save(tmp_path / "x.h5", [1, 2])
    for path in (model, tmp_path / "x.h5", *(ROOT / "tests/data/format-1").glob("*.h5")):
        assert formats.recognise(path) == "archive"


@pytest.mark.parametrize("raw", [b"", b"\0", b"hello", b"# comment\n", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04" + bytes(50)])
def test_what_is_nothing(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(raw)
    for function in (ma.load, ma.load_model, models.read):
        with pytest.raises(ma.FormatError):
            function(tmp_path / "x")
    with pytest.raises(ma.FormatError):
        ma.convert(tmp_path / "x", tmp_path / "y.h5")
    assert not (tmp_path / "y.h5").exists()


def test_what_is_not_there(tmp_path: Path) -> None:
    for function in (ma.load, ma.load_model, models.read):
        with pytest.raises(FileNotFoundError):
            function(tmp_path / "x.npz")
    with pytest.raises(ma.FormatError, match="is a folder, and no model"):
        ma.load(tmp_path)


def test_load_other_formats(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones(2, np.float32)}
    np.savez(tmp_path / "x.npz", **arrays)
    np.save(tmp_path / "x.npy", arrays["a"])
    for mmap in (False, True):
        found = ma.load(tmp_path / "x.npz", mmap=mmap)
        assert list(found) == ["a", "b"]
        assert np.array_equal(found["a"], arrays["a"])
        assert found["a"].flags.writeable
        assert np.array_equal(ma.load(tmp_path / "x.npy", mmap=mmap), arrays["a"])
    with pytest.raises(ma.FormatError, match="digests"):
        ma.load(tmp_path / "x.npz", verify=True)


def test_notes_of_loading_are_warnings(tmp_path: Path) -> None:
    import ml_dtypes

    np.savez(tmp_path / "x.npz", a=np.ones(2, ml_dtypes.bfloat16))
    with pytest.warns(UserWarning, match="its dtype was not saved"):
        ma.load(tmp_path / "x.npz")


@pytest.mark.parametrize("suffix", [".safetensors", ".safetensors.index.json", ".npz", ".h5"])
def test_there_and_back(model: Path, net: nn.Block, suffix: str, tmp_path: Path) -> None:
    notes = ma.convert(model, tmp_path / f"y{suffix}")
    assert bool(notes) == (suffix != ".h5")
    assert ma.convert(tmp_path / f"y{suffix}", tmp_path / "z.h5") == []
    again = nn.Sequential()
    again.add(features=nn.Sequential(nn.Dense(3)), output=nn.Dense(2))
    again.load_parameters(tmp_path / "z.h5")
    assert np.array_equal(again(X), net(X))


def test_every_pair_of_formats(model: Path, tmp_path: Path) -> None:
    expected = ma.load(model)
    for first in (".safetensors", ".npz", ".h5"):
        ma.convert(model, tmp_path / f"1{first}")
        for second in (".safetensors", ".npz", ".h5"):
            ma.convert(tmp_path / f"1{first}", tmp_path / f"2{second}")
            found = ma.load(tmp_path / f"2{second}")
            assert list(found) == list(expected)
            assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_an_unknown_suffix(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in none of \.h5"):
        ma.convert(model, tmp_path / "x.xyz")
    assert formats.format_of_name("A.SAFETENSORS") == "safetensors"


def test_into_itself(model: Path, net: nn.Block) -> None:
    before = model.read_bytes()
    assert ma.convert(model, model) == []
    assert model.read_bytes() == before


def test_save_model_takes_a_bundle(net: nn.Block, tmp_path: Path) -> None:
    bundle = bundle_of(net, inputs=X)
    bundle.notes.append(Note("x", "was lost"))
    with pytest.raises(TypeError, match="metadata is str, expected a dict"):
        ma.save_model(tmp_path / "x.h5", bundle, metadata="a")  # type: ignore[arg-type]
    notes = ma.save_model(tmp_path / "x.h5", bundle, metadata={"a": 1})
    assert notes == [Note("x", "was lost")]
    assert np.array_equal(ma.load_model(tmp_path / "x.h5")(X), net(X))
    with ma.open(tmp_path / "x.h5") as archive:
        assert archive.metadata == {"a": 1}
    with pytest.raises(ma.ConversionError, match="just arrays"):
        ma.save_model(tmp_path / "y.h5", Bundle({}, reason="just arrays"))
    with pytest.raises(TypeError, match="list"):
        ma.save_model(tmp_path / "y.h5", [1])
    assert not (tmp_path / "y.h5").exists()


def test_load_model(model: Path, net: nn.Block) -> None:
    assert np.array_equal(ma.load_model(model)(X), net(X))
    assert np.array_equal(ma.load_model(model, block="features", verify=True)(X), net.features(X))
    with pytest.raises(ValueError, match="backend"):
        ma.load_model(model, backend="jax")
    with pytest.raises(TypeError, match="device"):
        ma.load_model(model, device="cpu")


class Words(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.dense = nn.Embedding(10, 4), nn.Dense(2, flatten=False)

    def forward(self, x: Any) -> Any:
        return self.dense(self.embedding(x))


def test_other_inputs_are_declared(tmp_path: Path) -> None:
    path = tmp_path / "words.h5"
    words = Words()
    words.initialize(seed=0)
    ma.save_model(path, words, inputs={"shape": [None, 7], "dtype": "int64"})
    ids = np.arange(9)[np.newaxis]
    with pytest.raises(ValueError, match="for other sizes"):
        ma.load_model(path)(ids)
    for given in ({"x": (None, None)}, ["x:?,length"], [{"shape": [None, 9]}], {"shape": [1, None]}):
        assert np.array_equal(ma.load_model(path, inputs=given)(ids), words(ids))
    ma.convert(path, tmp_path / "free.h5", inputs={"x": ("batch", "length")})
    with ma.open(tmp_path / "free.h5") as archive:  # the dtype, which was not said, is as it was
        assert archive.architecture["inputs"] == [{"name": "x", "shape": ["batch", "length"], "dtype": "int64"}]
    assert np.array_equal(ma.load_model(tmp_path / "free.h5")(ids), words(ids))
    with pytest.raises(ma.ConversionError, match=r"ids: is declared, and is no input(.|\n)*the model takes x"):
        ma.load_model(path, inputs={"ids": (None, None)})


def test_load_model_of_other_formats(tmp_path: Path) -> None:
    embedding = ma.load_model(FOREIGN / "vectors" / "glove.txt")
    assert embedding(np.array([[1]])).shape == (1, 1, 5)
    with pytest.raises(ma.FormatError, match="parameters only"):
        ma.load_model(FOREIGN / "safetensors" / "dtypes.safetensors")
    with pytest.raises(ma.FormatError, match="digests"):
        ma.load_model(FOREIGN / "vectors" / "glove.txt", verify=True)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: nn.Sequential, "the class Sequential, (.|\\n)*make one first"),
        (lambda: "net.pt", "load_model\\(\\) opens a file"),
        (lambda: {"weight": X}, "save\\(\\) stores arrays"),
        (lambda: [X], "save\\(\\) stores arrays"),
        (lambda: X, "save\\(\\) stores arrays"),
        (lambda: 3, "model: is int, expected a Block, a torch.nn.Module, a keras.Model or a Bundle$"),
    ],
)
def test_what_is_no_model(made: Callable[[], object], said: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=said):
        ma.save_model(tmp_path / "x.h5", made())
    assert not (tmp_path / "x.h5").exists()


def test_an_open_archive_is_only_read(net: nn.Block, model: Path, tmp_path: Path) -> None:
    with ma.open(model) as archive:
        before = model.read_bytes()
        with pytest.raises(TypeError, match=r"target is Archive, .*: build\(\) gives its network"):
            ma.transplant(net, archive)
        assert model.read_bytes() == before
        with pytest.raises(TypeError, match=r"model: is Archive, (.|\n)*build\(\) gives its network"):
            ma.save_model(tmp_path / "x.h5", archive)
        ma.save_model(tmp_path / "x.h5", archive.build())
        ma.transplant(archive, net)
        ma.save(tmp_path / "arrays.h5", archive)
    assert set(ma.load(tmp_path / "arrays.h5")) == set(net.collect_params())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cpu"}, "device=, which backend='numpy' does not take: give backend='torch'"),
        (
            {"threads": 1, "backend": "torch"},
            "threads=, which backend='torch' does not take: give backend='onnxruntime'",
        ),
        (
            {"children": 1, "backend": "keras"},
            "children=, which backend='keras' does not take: no backend does; block= gives a part",
        ),
    ],
)
def test_options_of_another_backend(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        ma.load_model(tmp_path / "any.h5", **options)


def test_a_block_that_is_asked_for_as_an_array(tmp_path: Path) -> None:
    ma.save(tmp_path / "x.h5", {"fc.weight": np.zeros(3), "fc.bias": np.ones(2)})
    with ma.open(tmp_path / "x.h5") as archive:
        with pytest.raises(ma.ParameterError, match=r'select\("fc\.\*"\) its parameters'):
            archive["fc"]
        assert list(archive.select("fc.*")) == ["fc.weight", "fc.bias"]
