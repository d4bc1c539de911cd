"""Values of files of torch.save, of every dtype, view, protocol and format, against what PyTorch itself has."""

from __future__ import annotations

import random
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.bundle import deferred
from modelarchive.exchange.torch import read

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's, about its own classes

DTYPES = [
    *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64", "complex128", "bool"),
    *("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64"),
]


def bits(tensor: Any) -> bytes:
    dense = tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    return bytes(dense.reshape(-1).clone().view(torch.uint8).numpy().tobytes())


def tensors(dtype: str) -> dict[str, Any]:
    """Tensors and views of all kinds."""
    values = torch.arange(120).reshape(4, 5, 6) % (2 if dtype == "bool" else 100)
    base = values.to(getattr(torch, dtype))
    found = {
        "whole": base,
        "turned": base.clone().permute(2, 0, 1),
        "part": base[1:3, ::2],
        "scalar": base[0, 0, 1],
        "empty": base[:0],
        "column": base[..., 3],
        "spread": base.clone()[1:2].expand(3, 5, 6),
        "rest": base.reshape(-1)[7:],
        "parameter": torch.nn.Parameter(base.clone(), requires_grad=False),
    }
    if dtype.startswith("complex"):
        found |= {"conjugate": base.clone().conj(), "negative": base.clone().conj().imag}
    return {f"{dtype}.{name}": tensor for name, tensor in found.items()}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("is_zip", [True, False])
def test_every_dtype_and_view(tmp_path: Path, protocol: int, is_zip: bool) -> None:
    given = {name: tensor for dtype in DTYPES for name, tensor in tensors(dtype).items()}
    path = tmp_path / "x.pt"
    torch.save(given, path, pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
    bundle = read(path)
    assert {note.where for note in bundle.notes} <= {"(storages)"}  # of those that are parts
    assert list(bundle.parameters) == list(given)
    for name, tensor in given.items():
        array, later = bundle.parameters[name], deferred(bundle.parameters)[name].read()
        assert (array.shape, array.dtype.name) == (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        assert array.tobytes() == later.tobytes() == bits(tensor), name
    assert set(ma.load(path)) == set(given)  # recognised by content


@pytest.mark.parametrize("is_zip", [True, False])
def test_generated_views(tmp_path: Path, is_zip: bool) -> None:
    rng = random.Random(0)
    for _ in range(20):
        storage = torch.randn(rng.randrange(1, 60))
        given = {}
        for at in range(5):
            shape = [rng.randrange(0, 4) for _ in range(rng.randrange(0, 4))]
            strides = [rng.randrange(0, 5) for _ in shape]
            last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) if all(shape) else 0
            if last < len(storage):
                offset = rng.randrange(0, len(storage) - last)
                given[f"t{at}"] = torch.as_strided(storage, shape, strides, offset)
        if given:
            torch.save(given, tmp_path / "x.pt", _use_new_zipfile_serialization=is_zip)
            found = read(tmp_path / "x.pt").parameters
            assert all(found[name].tobytes() == bits(tensor) for name, tensor in given.items())


def test_what_is_one_memory_is_one_array(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(3, 4))
    given = {"a": weight, "b": weight, "c": weight.detach(), "part": weight.detach()[:2], "other": torch.randn(3, 4)}
    for is_zip in (True, False):
        torch.save(given, tmp_path / "x.pt", _use_new_zipfile_serialization=is_zip)
        found = ma.load(tmp_path / "x.pt")
        assert found["a"] is found["b"] is found["c"]
        assert found["a"] is not found["part"]
        assert len({id(each) for each in found.values()}) == 3


def test_big_endian_files(tmp_path: Path) -> None:
    """Made by turning the bytes of a file; PyTorch reads the same from it."""
    given = {name: tensor for dtype in ("float32", "bfloat16", "int64", "complex64", "bool", "float8_e5m2")
             for name, tensor in tensors(dtype).items()}  # fmt: skip
    torch.save(given, tmp_path / "little.pt")
    sizes = {}
    for tensor in given.values():
        sizes[tensor.untyped_storage().data_ptr()] = tensor.element_size() // (2 if tensor.is_complex() else 1)
    order = list(dict.fromkeys(tensor.untyped_storage().data_ptr() for tensor in given.values()))
    with zipfile.ZipFile(tmp_path / "little.pt") as source, zipfile.ZipFile(tmp_path / "big.pt", "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("/byteorder"):
                data = b"big"
            elif "/data/" in name:
                size = sizes[order[int(name.rpartition("/")[2])]]
                data = np.frombuffer(data, f"u{size}").byteswap().tobytes()
            target.writestr(name.replace("little", "big"), data)
    theirs, ours = torch.load(tmp_path / "big.pt", weights_only=True), read(tmp_path / "big.pt").parameters
    for name, tensor in theirs.items():
        assert bits(tensor) == bits(given[name]), "the file is one that PyTorch reads"
        assert ours[name].tobytes() == deferred(ours)[name].read().tobytes() == bits(tensor), name


def test_attributes_and_subclasses_of_tensors(tmp_path: Path) -> None:
    parameter, tensor = torch.nn.Parameter(torch.ones(2)), torch.full((2,), 3.0)
    parameter.note, tensor.note = "x", ["y"]
    buffer = torch.nn.Buffer(torch.zeros(3)) if hasattr(torch.nn, "Buffer") else torch.zeros(3)
    given = {"p": parameter, "t": tensor, "b": buffer, "s": torch.ones(4).as_subclass(Own)}
    torch.save(given, tmp_path / "x.pt")
    bundle = read(tmp_path / "x.pt")
    assert all(bundle.parameters[name].tobytes() == bits(value) for name, value in given.items())
    assert [str(note) for note in bundle.notes] == [f"s: was a {Own.__module__}.Own: its values are kept"]


class Own(torch.Tensor):
    pass


def test_tensors_without_values_are_all_named(tmp_path: Path) -> None:
    given = {
        "sparse": torch.eye(3).to_sparse(),
        "rows": torch.eye(3).to_sparse_csr(),
        "quantised": torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8),
        "meta": torch.ones(2, device="meta"),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "lazy": torch.nn.LazyLinear(2).weight,
        "half complex": torch.ones(2, dtype=torch.complex32),
        "fine": torch.ones(2),
    }
    torch.save(given, tmp_path / "x.pt")
    with pytest.raises(ma.ConversionError) as caught:
        read(tmp_path / "x.pt")
    assert [name for name, _ in caught.value.unsupported] == list(given)[:-1]
    words = ["to_dense", "to_dense", "dequantize", "meta device", "to_padded_tensor", "call the module", "complex64"]
    for word, (_, what) in zip(words, caught.value.unsupported, strict=True):
        assert word in what


def test_the_way_out_of_a_refused_tensor_works(tmp_path: Path) -> None:
    given = {"w": torch.eye(3).to_sparse()}
    torch.save(given, tmp_path / "x.pt")
    with pytest.raises(ma.ConversionError, match=r"save tensor.to_dense\(\)"):
        read(tmp_path / "x.pt")
    torch.save({name: tensor.to_dense() for name, tensor in given.items()}, tmp_path / "x.pt")
    np.testing.assert_array_equal(ma.load(tmp_path / "x.pt")["w"], np.eye(3))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_and_numbers_of_numpy(tmp_path: Path, protocol: int) -> None:
    arrays = {
        "turned": np.arange(6, dtype="f4").reshape(2, 3).T,
        "big": np.arange(4, dtype=">i4"),
        "truths": np.array([True, False]),
        "empty": np.zeros((0, 3)),
        "scalar": np.array(3.5),
    }
    given = {"weight": torch.ones(2), "steps": np.int64(7), "loss": np.float32(0.5)} | arrays
    torch.save(given, tmp_path / "x.pt", pickle_protocol=protocol)
    bundle = read(tmp_path / "x.pt")
    assert bundle.metadata == {"steps": 7, "loss": 0.5}
    for name, array in arrays.items():
        found = bundle.parameters[name]
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype.newbyteorder("=")


def test_reading_needs_no_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = torch.nn.Linear(3, 2)
    torch.save({"state_dict": net.state_dict(), "epoch": 1}, tmp_path / "x.pt")
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert list(ma.load(tmp_path / "x.pt")) == ["weight", "bias"]
    ma.convert(tmp_path / "x.pt", tmp_path / "x.h5")
    block = ma.nn.Dense(2, in_units=3)
    block.initialize(seed=0)
    ma.transplant(tmp_path / "x.pt", block)
    np.testing.assert_array_equal(block.weight.data(), net.weight.detach().numpy())
    with pytest.raises(ma.MissingDependencyError, match="modelarchive\\[torch\\]"):
        ma.convert(tmp_path / "x.h5", tmp_path / "y.pt")


@pytest.mark.parametrize("is_zip", [True, False])
def test_memory_holds_one_array_while_a_file_is_converted(tmp_path: Path, is_zip: bool) -> None:
    """Also of those that are put in another order."""
    arrays = {f"w{at}": torch.randn(512, 512).t() if at % 2 else torch.randn(512, 512) for at in range(16)}
    torch.save(arrays, tmp_path / "x.pt", _use_new_zipfile_serialization=is_zip)
    ma.convert(tmp_path / "x.pt", tmp_path / "x.h5")  # what is imported for it
    tracemalloc.start()
    try:
        ma.convert(tmp_path / "x.pt", tmp_path / "x.h5")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * (1 << 20)  # an array has 1 MiB, the file 16
    np.testing.assert_array_equal(ma.load(tmp_path / "x.h5")["w1"], arrays["w1"].numpy())


@pytest.mark.parametrize("is_zip", [True, False])
def test_memory_that_no_tensor_shows_is_told(tmp_path: Path, is_zip: bool) -> None:
    whole, turned = torch.arange(100.0), torch.arange(12.0).reshape(3, 4).t()
    given = {"a": whole[10:20], "b": whole[15:30], "turned": turned, "empty": whole[:0]}
    torch.save(given, tmp_path / "x.pt", _use_new_zipfile_serialization=is_zip)
    assert [str(note) for note in read(tmp_path / "x.pt").notes] == [
        "(storages): 320 bytes are left out that no tensor shows"
    ]


def test_files_without_checksums(tmp_path: Path) -> None:
    options = getattr(torch.serialization, "set_crc32_options", None)
    if options is None:
        pytest.skip("PyTorch before 2.6 always writes them")
    options(False)
    try:
        torch.save({"a": torch.arange(3.0)}, tmp_path / "x.pt")
    finally:
        options(True)
    assert ma.load(tmp_path / "x.pt")["a"].tolist() == [0, 1, 2]
