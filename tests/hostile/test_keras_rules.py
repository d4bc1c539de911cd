"""Keras' files from strangers: zip members, HDF5, JSON and layers are hostile until checked."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import marshal
import random
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import ConversionError, FormatError, UnsafeFileError
from modelarchive.exchange import keras as exchange
from modelarchive.store.deferred import Deferred
from tests.conftest import ROOT
from tests.hostile.keras_files import SECRET, called, changed, dense, functional, model, packed, plain, tensor, weights

FILES = ROOT / "tests" / "data" / "foreign" / "keras"


def refused(path: Path, error: type[Exception], words: str) -> None:
    """Refused in words that tell why."""
    with pytest.raises(error, match=words) as caught:
        exchange.read(path).build()
    assert len(str(caught.value)) < 4000


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Memory is not taken for what the file claims."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


def test_the_file_that_the_attacks_change_is_read(tmp_path: Path) -> None:
    bundle = exchange.read(packed(tmp_path / "x.keras", model(dense()), weights(plain)))
    assert bundle.parameters["dense.weight"].tobytes() == SECRET.T.tobytes()


def _external_link(file: h5py.File, other: Path) -> None:
    file["layers/dense/vars/0"] = h5py.ExternalLink(str(other), "secret")


def _external_group(file: h5py.File, other: Path) -> None:
    file["layers"] = h5py.ExternalLink(str(other), "layers")


def _soft_link(file: h5py.File, other: Path) -> None:
    file["hidden"] = SECRET
    file["layers/dense/vars/0"] = h5py.SoftLink("/hidden")


def _external_storage(file: h5py.File, other: Path) -> None:
    raw = other.with_suffix(".raw")
    raw.write_bytes(SECRET.tobytes())
    file.create_dataset("layers/dense/vars/0", (4, 3), "f4", external=[(str(raw), 0, 48)])


def _virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource(str(other), "secret", (4, 3))
    file.create_virtual_dataset("layers/dense/vars/0", layout)


@pytest.mark.parametrize(
    ("attack", "rule"),
    [
        (_external_link, "hard links only"),
        (_external_group, "hard links only"),
        (_soft_link, "hard links only"),
        (_external_storage, "no external storage"),
        (_virtual, "no virtual datasets"),
    ],
)
@pytest.mark.parametrize("is_zipped", [True, False])
def test_other_files_are_not_read(
    tmp_path: Path, attack: Callable[[h5py.File, Path], None], rule: str, *, is_zipped: bool
) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = SECRET
        file["layers/dense/vars/0"] = SECRET
    loose = tmp_path / "loose.weights.h5"
    with h5py.File(loose, "w") as file:
        attack(file, other)
    with h5py.File(loose) as file:  # what a naive reader is shown
        assert file["layers/dense/vars/0"][()].tobytes() == SECRET.tobytes()
    path = packed(tmp_path / "x.keras", model(dense()), loose.read_bytes()) if is_zipped else loose
    with pytest.raises(UnsafeFileError) as caught:
        exchange.read(path)
    assert caught.value.rule == rule


def test_declared_bytes_are_not_believed(tmp_path: Path) -> None:
    def huge(file: h5py.File) -> None:
        file.create_dataset("layers/dense/vars/0", (1 << 17, 1 << 17), "f4", chunks=(128, 128), compression="gzip")

    data = weights(huge)
    with h5py.File(io.BytesIO(data)) as file:
        assert file["layers/dense/vars/0"].size * 4 > 1000 * len(data)
    with little_memory():
        refused(packed(tmp_path / "x.keras", model(dense()), data), UnsafeFileError, "declare far more bytes")


def bomb(path: Path, name: str) -> Path:
    """A member of zeros, a thousand times as large as its bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for member in ("config.json", "model.weights.h5"):
            target.writestr(member, bytes(80 << 20) if member == name else json.dumps(model(dense())))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_zip_bombs_are_not_inflated(tmp_path: Path, name: str) -> None:
    path = bomb(tmp_path / "x.keras", name)
    assert path.stat().st_size < 1 << 20
    with zipfile.ZipFile(path) as naive:
        assert naive.getinfo(name).file_size == 80 << 20
    with little_memory():
        refused(path, UnsafeFileError, "claims 83,886,080 bytes")


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.keras", model(dense()), weights(plain), other=b"")
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as source:
        info = source.getinfo("model.weights.h5")
    # The last member is the bytes of another one.
    at = data.rindex(b"PK\x01\x02")
    data[at + 16 : at + 28] = info.CRC.to_bytes(4, "little") + info.file_size.to_bytes(4, "little") * 2
    data[at + 42 : at + 46] = info.header_offset.to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, UnsafeFileError, "overlap")


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "assets/../../out.txt", "..\\out.txt", "C:\\out.txt"])
def test_names_that_lead_out_of_the_file_are_refused(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "x.keras", model(dense()), weights(plain), **{name: b"!"})
    refused(path, UnsafeFileError, "leads out of the file")
    assert not (tmp_path.parent / "out.txt").exists()


def test_names_of_layers_are_names_and_no_paths(tmp_path: Path) -> None:
    layer = dense(name="../../../etc/passwd")
    bundle = exchange.read(packed(tmp_path / "x.keras", model(layer), weights(plain)))
    assert all(name.replace("_", "a").replace(".", "a").isalnum() for name in bundle.parameters)


RAN: list[str] = []


def test_code_of_a_lambda_is_not_run(tmp_path: Path) -> None:
    code = compile("RAN.append('naive')", "lambda", "exec")
    text = base64.b64encode(marshal.dumps(code)).decode()
    exec(marshal.loads(base64.b64decode(text)))
    assert RAN == ["naive"]
    function = {"class_name": "__lambda__", "config": {"code": text, "defaults": None, "closure": None}}
    layer = dense(function=function, arguments={}) | {"class_name": "Lambda"}
    refused(packed(tmp_path / "x.keras", model(layer), weights(plain)), ConversionError, "Lambda is code")
    activation = {"class_name": "__lambda__", "config": {"code": text}}
    path = packed(tmp_path / "y.keras", model(dense(activation=activation)), weights(plain))
    refused(path, ConversionError, "is not supported")
    assert RAN == ["naive"]


@pytest.mark.parametrize(
    "where",
    [
        {"module": "os", "class_name": "system", "registered_name": "system"},
        {"module": "mine", "class_name": "Dense", "registered_name": "mine>Dense"},
        {"module": "keras_evil.run", "class_name": "Boom"},
        {"module": "keras.src.utils.file_utils", "class_name": "get_file"},
        {"module": "builtins", "class_name": "function", "config": "exec"},
    ],
)
def test_classes_are_looked_up_in_a_table_only(tmp_path: Path, where: dict[str, Any]) -> None:
    path = packed(tmp_path / "x.keras", model(dense() | where), weights(plain))
    refused(path, ConversionError, "own|not supported|expected an object")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 200_000,
        '{"class_name": "Sequential", "class_name": "Dense", "config": {}}',
        '{"class_name": "Sequential", "config": NaN}',
        '{"class_name": 1e400}',
        "[]",
        "\ufeff{}",
        '{"config": {}}',
        '{"class_name": "Functional", "config": {"layers": [], "input_layers": "x", "output_layers": []}}',
        '{"class_name": "Functional", "config": {"layers": [], "input_layers": [], "output_layers": []}}',
    ],
)
def test_json_that_is_none_of_a_model_is_refused(tmp_path: Path, text: str) -> None:
    refused(packed(tmp_path / "x.keras", text, weights(plain)), ma.ModelArchiveError, ".")


@pytest.mark.parametrize(("times", "error"), [(45, ConversionError), (150, FormatError)])
def test_models_nest_to_a_bound(tmp_path: Path, times: int, error: type[Exception]) -> None:
    inner = dense()
    for _ in range(times):
        inner = model(inner) | {"name": "net"}
    refused(packed(tmp_path / "x.keras", model(inner), weights(plain)), error, "nested deeper|nested too deeply")


def test_models_that_call_models_do_not_grow_without_end(tmp_path: Path) -> None:
    inner = functional(called(dense(4, name="d"), "d", tensor("x"), tensor("d")), output="d")
    for _ in range(40):
        calls = called(inner, "m", tensor("x"), tensor("m"))
        inner = functional(calls, output="m")
        inner["config"]["output_layers"] = ["m", 2, 0]
    path = packed(tmp_path / "x.keras", inner, weights(plain))
    refused(path, ma.ModelArchiveError, "too often|not in the file|nested|more steps")


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([called(dense(4, name="d"), "d", tensor("d"))], "circle"),
        ([called(dense(4, name="d"), "d", tensor("nobody"))], "."),
        ([called(dense(4, name="d"), "d", tensor("x", 7))], "."),
        ([called(dense(4, name="d"), "d", tensor("x", 0, 5))], "result 5"),
        ([called(dense(4, name="d"), "d", tensor("x", 0, -1))], "result -1"),
        ([called(dense(4, name="d"), "d", tensor("x")) for _ in range(2)], "same name"),
    ],
)
def test_calls_that_lead_nowhere_are_refused(tmp_path: Path, layers: list[dict[str, Any]], words: str) -> None:
    path = packed(tmp_path / "x.keras", functional(*layers, output="d"), weights(plain))
    refused(path, ma.ModelArchiveError, words)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (dense(2**31 - 1), None),
        (dense(10**30), None),
        (dense(), [None, 2**31]),
        (dense(), [None, 2**31 - 1, 2**31 - 1]),
        (dense(), [None, -4]),
        (dense(), [None] * 70),
        (dense(n=2**31 - 1) | {"class_name": "RepeatVector"}, None),
        (dense(size=2**30) | {"class_name": "UpSampling1D"}, [None, 2**20, 2**20]),
        (dense(padding=2**30) | {"class_name": "ZeroPadding2D"}, [None, 4, 4, 4]),
        (dense(kernel_size=2**30, filters=2) | {"class_name": "Conv1D"}, [None, 4, 4]),
        (dense(filters=2**30, kernel_size=1, depth_multiplier=2**30) | {"class_name": "SeparableConv1D"}, [None, 4, 4]),
        (dense(mean=0.0, variance=1.0, axis=[1, 2]) | {"class_name": "Normalization"}, [None, 2**20, 2**20]),
        (dense(scale=[0.5] * 1000) | {"class_name": "Rescaling"}, None),
    ],
)
def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path: Path, layer: dict[str, Any], shape: Any) -> None:
    path = packed(tmp_path / "x.keras", model(layer, shape=shape), weights(plain))
    with little_memory():
        refused(path, ma.ModelArchiveError, ".")


def test_attributes_that_are_no_config_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    for value in (np.arange(3), np.array([b"{}", b"{}"]), h5py.Empty("S10"), b"\xff\xfe", b"[" * 100_000):
        with h5py.File(path, "w") as file:
            file.attrs.create("model_config", value)
            file["model_weights/dense/dense/kernel:0"] = SECRET
        refused(path, ma.ModelArchiveError, ".")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["new-image", "new-text", "new-nested", "new-attention", "old-nested", "old-image"])
def test_configs_with_odd_values_are_read_or_refused(name: str) -> None:
    with zipfile.ZipFile(FILES / f"{name}.keras") as source:
        config = json.loads(source.read("config.json"))
    with h5py.File(io.BytesIO(zipfile.ZipFile(FILES / f"{name}.keras").read("model.weights.h5"))) as file:
        arrays: dict[str, Deferred] = {}

        def take(path: str, found: Any) -> None:
            if isinstance(found, h5py.Dataset):
                array = found[()]
                arrays[path] = Deferred(array.shape, array.dtype, lambda: array)

        file.visititems(take)
    generator = random.Random(name)
    read = 0
    for _ in range(60):
        try:
            bundle = exchange.bundle_of_config(changed(config, generator), arrays)
        except (ConversionError, FormatError):
            continue
        read += 1
        ma.validate(bundle.architecture)
    assert read > 4


def test_zip_files_with_changed_bytes_are_read_or_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.keras", model(dense()), weights(plain))
    data = path.read_bytes()
    with zipfile.ZipFile(path) as source:
        begin = source.getinfo("model.weights.h5").header_offset
        length = source.getinfo("model.weights.h5").file_size
    generator = random.Random(1)
    outside = [at for at in range(len(data)) if not begin + 60 < at < begin + length]  # HDF5 itself is fuzzed elsewhere
    with ma.trusted():
        for _ in range(150):
            broken = bytearray(data)
            for _ in range(generator.randint(1, 3)):
                broken[generator.choice(outside)] = generator.randrange(256)
            path.write_bytes(broken)
            try:
                found = exchange.read(path).parameters
            except (ConversionError, FormatError, UnsafeFileError):
                continue
            for array in found.values():
                assert array.nbytes <= len(data)
