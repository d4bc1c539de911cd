"""Keras' files made by hand, for attacks to change."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SECRET = np.arange(12, dtype="f4").reshape(4, 3)


def dense(units: int = 3, **settings: Any) -> dict[str, Any]:
    """A layer."""
    config = {"name": "dense", "trainable": True, "units": units, "activation": "linear", "use_bias": False}
    return {"module": "keras.layers", "class_name": "Dense", "config": {**config, **settings}, "registered_name": None}


def model(*layers: dict[str, Any], shape: list[Any] | None = None) -> dict[str, Any]:
    """A Sequential of them."""
    first = {"name": "x", "batch_shape": [None, 4] if shape is None else shape, "dtype": "float32"}
    found = [{"module": "keras.layers", "class_name": "InputLayer", "config": first}, *layers]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "net", "layers": found}}


def weights(fill: Callable[[h5py.File], object]) -> bytes:
    """An HDF5 file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        fill(file)
    return buffer.getvalue()


def plain(file: h5py.File) -> None:
    file["layers/dense/vars/0"] = SECRET


def packed(path: Path, config: Any, data: bytes, **members: bytes) -> Path:
    """A .keras file."""
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        target.writestr("model.weights.h5", data)
        for name, content in members.items():
            target.writestr(name, content)
    return path


def tensor(layer: str, call: int = 0, index: int = 0) -> dict[str, Any]:
    """A result of a call."""
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "keras_history": [layer, call, index]}}


def called(layer: dict[str, Any], name: str, *tensors: dict[str, Any]) -> dict[str, Any]:
    """A layer of a functional model."""
    return layer | {"name": name, "inbound_nodes": [{"args": [each], "kwargs": {}} for each in tensors]}


def functional(*layers: dict[str, Any], output: str, name: str = "net") -> dict[str, Any]:
    """A functional model of one input."""
    first = {"module": "keras.layers", "class_name": "InputLayer", "name": "x", "inbound_nodes": [],
             "config": {"name": "x", "batch_shape": [None, 4], "dtype": "float32"}}  # fmt: skip
    config = {"name": name, "layers": [first, *layers], "input_layers": ["x", 0, 0], "output_layers": [output, 0, 0]}
    return {"module": "keras", "class_name": "Functional", "config": config}


ODD = (
    None,
    True,
    -1,
    0,
    2**31,
    10**20,
    1.5,
    "",
    "x",
    [],
    {},
    [None],
    [[1]],
    {"class_name": "x", "config": {}},
    "../..",
)


def changed(value: Any, generator: random.Random) -> Any:
    """A copy with something odd in a random place."""
    found = copy.deepcopy(value)
    at = found
    while True:
        keys = list(at) if isinstance(at, dict) else range(len(at))
        if not keys:
            return found
        key = generator.choice(list(keys))
        if isinstance(at[key], dict | list) and generator.random() < 0.85:
            at = at[key]
            continue
        if generator.random() < 0.15:
            del at[key]
        else:
            at[key] = generator.choice(ODD)
        return found
