"""Conversions stream: beyond what the process has anyway, memory holds the largest array, not the model."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import mxnet, safetensors
from modelarchive.exchange import numpy as npz
from tests.hostile.keras_files import dense, model

#: One array, and how many there are of them.
ARRAY_BYTES = 16 << 20
COUNT = 6

CODE = """
import re, sys
sys.path.insert(0, {package!r})
import modelarchive as ma

def peak():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]) * 1024

small, large, out = sys.argv[1:]
ma.convert(small, out)  # imports, threads, buffers
before = peak()
ma.convert(large, out)
print(peak() - before)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    # Repeated within each array, so that deflate has something to do and is quick.
    one = np.tile(rng.standard_normal(1 << 10, dtype=np.float32), ARRAY_BYTES >> 12)
    for size, count in (("small", 1), ("large", COUNT)):
        arrays = {f"layer{number}.weight": one * (number + 1) for number in range(count)}
        arrays = arrays if size == "large" else {name: array[:100] for name, array in arrays.items()}
        safetensors.write(arrays, folder / f"{size}.safetensors", durable=False)
        safetensors.write(arrays, folder / f"{size}.safetensors.index.json", max_shard_bytes=64 << 20, durable=False)
        npz.write(arrays, folder / f"{size}.npz", compressed=True, durable=False)
        mxnet.write(arrays, folder / f"{size}.params", durable=False)
        ma.convert(folder / f"{size}.safetensors", folder / f"{size}.h5", durable=False)
        save_keras(folder / f"{size}.keras", list(arrays.values()), 16 if size == "small" else 2048)
    return folder


def save_keras(path: Path, arrays: list[np.ndarray], units: int) -> None:
    """A row of square Dense layers, as Keras saves it."""
    variables = path.with_suffix(".weights.h5")
    layers = [dense(units, name=f"dense{number}") for number in range(len(arrays))]
    with h5py.File(variables, "w") as file:
        for number, array in enumerate(arrays):
            name = f"dense_{number}" if number else "dense"
            file[f"layers/{name}/vars/0"] = np.resize(array, (units, units))
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("config.json", json.dumps(model(*layers, shape=[None, units])))
        target.write(variables, "model.weights.h5")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("safetensors", "h5"),
        ("safetensors.index.json", "h5"),
        ("npz", "h5"),
        ("h5", "safetensors"),
        ("h5", "safetensors.index.json"),
        ("h5", "npz"),
        ("npz", "safetensors"),
        ("params", "h5"),
        ("h5", "params"),
        ("keras", "h5"),
    ],
)
def test_the_largest_array_not_the_model(folder: Path, tmp_path: Path, source: str, target: str) -> None:
    package = str(Path(ma.__path__[0]).parent)
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(package=package), folder / f"small.{source}", folder / f"large.{source}",
         tmp_path / f"out.{target}"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2 * ARRAY_BYTES, f"{int(done.stdout) / ARRAY_BYTES:.2f} arrays, of {COUNT}"
