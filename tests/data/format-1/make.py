"""Writes the archives of format 1 that stand here, each with its content beside it as JSON.

    python tests/data/format-1/make.py

The folder only grows: a file that exists is never written again, so that what was once written stays
readable. Add cases at the end of `ARRAYS` or `NETWORKS`. The JSON is the case's own account of what was
saved, made without the package: arrays as dtype, shape and the hexadecimal digits of their bits.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np

import modelarchive as ma
from modelarchive import nn

FOLDER = Path(__file__).parent
#: Cases that are read as ever and written otherwise today, and why: where their bytes are not compared.
SUPERSEDED: dict[str, str] = dict.fromkeys(
    ["one", "list", "dict", "dtypes", "nested", "nothing", "tied-parameters"], "HDF5's library wrote the metadata"
) | dict.fromkeys(
    ["one-2", "dtypes-2", "nested-2", "nothing-2", "many", "tied-model", "tied-parameters-2", "tied-model-2"],
    "every text was UTF-8 to HDF5, and the elements of all arrays were not counted",
)
#: Cases that are saved with compression. Another release of the library that deflates may write other bytes.
COMPRESSED = {"compressed", "compressed-2", "compressed-3"}
#: What the archives say wrote them; fixed, so that a fresh write can be compared byte for byte.
GENERATOR = "modelarchive 0.1.0"


def every_dtype() -> dict[str, np.ndarray]:
    """One small array of each dense dtype, with its extremes."""
    whole = {
        name: np.array([np.iinfo(name).min, 1, np.iinfo(name).max], name)
        for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    }
    real = {
        f"float{bits}": np.array([[-0.0, 1 / 3, np.inf], [np.nan, 1e-7, -2.5]], f"float{bits}") for bits in (16, 32, 64)
    }
    return {
        "bool": np.array([True, False, True]),
        **whole,
        **real,
        "complex64": np.array([[1 + 2j], [np.inf - 0.5j]], np.complex64),
        "complex128": np.array(0.1 - 1e300j),
        "bfloat16": np.arange(65536, dtype=np.uint16).view(ml_dtypes.bfloat16)[::1024],
        "float8_e4m3fn": np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn),
        "float8_e5m2": np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e5m2),
    }


def nested() -> dict[str, Any]:
    """Containers in containers, every literal, keys that need encoding, empty and awkward arrays."""
    return {
        "layers.0.weight": np.arange(48, dtype=np.float32).reshape(4, 12),
        "list": [1, -(2**70), 0.1, -0.0, float("inf"), 2j, complex(-0.0, 1.5), True, False, None, "text"],
        "tuple": (np.int64(7), (), [], {}, ("é", 'quo"te\n', "ends in NUL\0", "\ud800", "")),
        "keys": {"": 1, ".": 2, "..": 3, "a/b": 4, "100%": 5, "NUL\0": 6, "naïve 😀": 7, "__hdf5__.0": 8},
        "empty": np.zeros((3, 0, 2), np.float64),
        "scalar": np.float32(2.5),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "big-endian": np.arange(5, dtype=">i4"),
        "strided": np.arange(20, dtype=np.uint8)[::3],
        "U": np.array([["aé", ""], ["😀bc", "d"]]),
        "S": np.array([b"\xff\x01", b"a\0b", b""]),
        "string": np.array(["one", "", "three and more"], np.dtypes.StringDType()),
        "no strings": np.array([], "U3"),
    }


def compressible() -> dict[str, Any]:
    """Arrays that shrink, of one, two, four and eight bytes, of one axis and three, beside some that do not."""
    steps = np.arange(6000)
    return {
        "weight": ((steps[:3300] * 7919 % 4099) / 32768 - 0.0625).astype(np.float32).reshape(33, 100),
        "few": np.arange(3),
        "kernel": (steps[:3150] % 97 / 128).astype(ml_dtypes.bfloat16).reshape(3, 7, 150),
        "noise": np.frombuffer(b"".join(sha256(bytes([at])).digest() for at in range(140)), np.uint8),
        "phase": (steps[:700] % 50 - 1j * (steps[:700] % 3)).astype(np.complex64),
        "codes": (steps % 5).astype(np.uint8),
        "name": "compressed",
    }


ARRAYS: dict[str, Callable[[], Any]] = {
    "one": lambda: np.arange(4, dtype=np.int64),
    "list": lambda: [np.arange(4, dtype=np.float32), np.zeros(4, np.float32)],
    "dict": lambda: {"x": np.arange(4, dtype=np.float32), "y": np.ones((2, 3))},
    "dtypes": every_dtype,
    "nested": nested,
    "nothing": dict,
    "compressed": compressible,
    # The same, with metadata that is written without HDF5's library.
    "one-2": lambda: ARRAYS["one"](),
    "dtypes-2": every_dtype,
    "nested-2": nested,
    "nothing-2": dict,
    "compressed-2": compressible,
    "many": lambda: {f"layer.{at}": np.full(at % 3, at, np.int32) for at in range(120)},
    # The same, with texts that HDF5 calls ASCII where they are, and with the number of all elements.
    "one-3": lambda: ARRAYS["one"](),
    "dtypes-3": every_dtype,
    "nested-3": nested,
    "nothing-3": dict,
    "compressed-3": compressible,
    "many-2": lambda: ARRAYS["many"](),
}


class Tied(nn.Block):
    """An embedding whose weight is also the output layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.hidden = nn.Dense(4, activation="tanh", in_units=4, flatten=False)
        self.output = nn.Dense(6, use_bias=False, in_units=4, flatten=False)
        self.output.weight = self.embedding.weight

    def forward(self, x: Any) -> Any:
        """Words to scores."""
        return self.output(self.hidden(self.embedding(x)))


def tied() -> nn.Block:
    """The tied network with parameters that no random generator decides."""
    network = Tied()
    for at, parameter in enumerate({id(p): p for p in network.collect_params().values()}.values()):
        size = int(np.prod(parameter.known_shape))
        parameter.set_data((np.arange(size, dtype=np.float32) / 8 - at).reshape(parameter.known_shape))
    return network


def save_tied_parameters(path: Path) -> None:
    """Parameters only."""
    tied().save_parameters(path, metadata={"licence": "MIT", "accuracy": 0.5})


def save_tied_model(path: Path) -> None:
    """A whole model with metadata and tokens."""
    words = ["<unk>", "the", "naïve", "cat", "", "sat"]
    ma.save_model(
        path, tied(), inputs=np.array([[0, 1, 2]]), metadata={"é": [1, 2.5, None]}, tokens={"embedding.weight": words}
    )


NETWORKS: dict[str, Callable[[Path], None]] = {
    "tied-parameters": save_tied_parameters,
    "tied-model": save_tied_model,
    "tied-parameters-2": save_tied_parameters,
    "tied-model-2": save_tied_model,
    "tied-parameters-3": save_tied_parameters,
    "tied-model-3": save_tied_model,
}


def save(name: str, path: Path) -> None:
    """Write a case to a path."""
    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch("modelarchive.archive.saving.generator", return_value=GENERATOR))
        if name in COMPRESSED:
            # Small arrays, several chunks of each.
            patches.enter_context(mock.patch("modelarchive.store.chunks.CHUNK", 4096))
            patches.enter_context(mock.patch("modelarchive.store.chunks.LEAST", 4096))
            ma.save(path, ARRAYS[name](), compression="deflate")
        elif name in ARRAYS:
            ma.save(path, ARRAYS[name]())
        else:
            NETWORKS[name](path)


def account(value: Any) -> Any:
    """A structure as JSON, every bit of it."""
    if isinstance(value, dict):
        return {"dict": [[json.dumps(key), account(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [account(item) for item in value]}
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.kind == "S":
            texts = [item.hex() for item in array.ravel().tolist()]
            return {"array": "S", "shape": array.shape, "texts": texts}
        if array.dtype.kind in "UT":
            kind = f"U{array.dtype.itemsize // 4}" if array.dtype.kind == "U" else "string"
            return {"array": kind, "shape": array.shape, "texts": array.ravel().tolist()}
        dtype = array.dtype.newbyteorder("=") if array.dtype.kind in "iufc" else array.dtype
        little = np.ascontiguousarray(array.astype(dtype))
        return {"array": dtype.name, "shape": array.shape, "bits": little.tobytes().hex()}
    if isinstance(value, complex):
        return {"complex": [value.real.hex(), value.imag.hex()]}
    if isinstance(value, float):
        return {"float": value.hex()}
    return {type(value).__name__: json.dumps(value)}


def expected(name: str) -> Any:
    """The account of what a case saves."""
    if name in ARRAYS:
        return {"data": account(ARRAYS[name]())}
    network = tied()
    inputs = np.array([[5, 0, 3]])
    return {
        "parameters": account({key: parameter.data() for key, parameter in network.collect_params().items()}),
        "inputs": account(inputs),
        "outputs": account(network(inputs)),
    }


def main() -> None:
    """Write what is not there yet."""
    for name in (*ARRAYS, *NETWORKS):
        path = FOLDER / f"{name}.h5"
        if path.exists():
            continue
        save(name, path)
        text = json.dumps(json.loads(json.dumps(expected(name))), indent=1)
        path.with_suffix(".json").write_text(text + "\n", "utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
