"""Archives of one value each, and what a program that reads HDF5 must find in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

import modelarchive as ma
from modelarchive import nn
from modelarchive.store import chunks

#: Where `ma.save` puts the one value of a dict that is saved.
PLACE = "/arrays/x"

VALUES: dict[str, Any] = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3) / 8 - 0.125,
    "float64": np.array([1 / 3, -1e300, np.inf]),
    "integers": np.array([-(2**40), 7], np.int64),
    "float16": np.array([65504, 2**-24, -1.5], np.float16),
    "bfloat16": np.array([1e38, 1e-30, -1.5], ml_dtypes.bfloat16),
    "float8": np.array([1.5, -2, 448], ml_dtypes.float8_e4m3fn),
    "bool": np.array([True, False, True]),
    "complex": np.array([1 + 2j, -0.5j], np.complex64),
    "kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "compressed": (np.arange(20_000, dtype=np.int32) % 7).reshape(100, 200),
    "text": np.array("seven"),
    "text, é": np.array("Gewöhnlich"),
}


class Case(NamedTuple):
    """One value in one archive: the file, its place there, and the value."""

    name: str
    file: Path
    place: str
    value: Any


def write(folder: Path) -> list[Case]:
    """Write every case into a folder; a network with a shared parameter and an architecture comes last."""
    cases = []
    for name, value in VALUES.items():
        file = folder / f"{name.replace(', é', '-utf8')}.h5"
        compression = "deflate" if name == "compressed" else None
        ma.save(file, {"x": value}, compression=compression)
        assert value.nbytes >= chunks.LEAST or compression is None
        cases.append(Case(name, file, PLACE, value))
    network = _Tied()
    network.initialize(seed=0)
    ma.save_model(folder / "model.h5", network, inputs=np.array([[0, 1]]))
    weight = network.output.weight.data()
    cases.append(Case("shared", folder / "model.h5", "/parameters/output/weight", weight))
    with ma.open(folder / "model.h5") as archive:
        text = archive.reader.text("/architecture/data")
    return [*cases, Case("architecture", folder / "model.h5", "/architecture/data", np.array(text))]


class _Tied(nn.Block):
    """An embedding whose weight is also the output layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.output = nn.Dense(6, use_bias=False, in_units=4, flatten=False)
        self.output.weight = self.embedding.weight

    def forward(self, x: Any) -> Any:
        return self.output(self.embedding(x))
