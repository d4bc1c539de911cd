"""Conversions stream: beyond what the process has anyway, memory holds the largest array, not the model."""

from __future__ import annotations

import json
import math
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
ARRAY_BYTES = 8 << 20
COUNT = 6
#: From what into what is converted.
WAYS = [
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
]

#: Each in a process of its own, which this one, where nothing has been done but imports, becomes twice.
CODE = """
import json, os, re, sys
sys.path.insert(0, {package!r})
import modelarchive as ma
ma.convert

def peak():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1]) * 1024

folder, out, ways = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
for source, target in ways:
    child = os.fork()
    if not child:
        code = 1
        try:
            ma.convert(f"{{folder}}/small.{{source}}", f"{{out}}/out.{{target}}")  # imports, threads, buffers
            before = peak()
            ma.convert(f"{{folder}}/large.{{source}}", f"{{out}}/out.{{target}}")
            print(peak() - before, flush=True)
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{{source}} into {{target}} has failed")
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
        safetensors.write(
            arrays, folder / f"{size}.safetensors.index.json", max_shard_bytes=4 * ARRAY_BYTES, durable=False
        )
        npz.write(arrays, folder / f"{size}.npz", compressed=True, durable=False)
        mxnet.write(arrays, folder / f"{size}.params", durable=False)
        ma.convert(folder / f"{size}.safetensors", folder / f"{size}.h5", durable=False)
        save_keras(
            folder / f"{size}.keras", list(arrays.values()), 16 if size == "small" else math.isqrt(ARRAY_BYTES // 4)
        )
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


@pytest.fixture(scope="module")
def grown(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], int]:
    """By how many bytes each process grew beyond what converting the small file took."""
    code = CODE.format(package=str(Path(ma.__path__[0]).parent))
    out = tmp_path_factory.mktemp("out")
    done = subprocess.run(
        [sys.executable, "-c", code, folder, out, json.dumps(WAYS)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(WAYS, map(int, done.stdout.split()), strict=True))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_the_largest_array_not_the_model(grown: dict[tuple[str, str], int], way: tuple[str, str]) -> None:
    assert grown[way] < 2 * ARRAY_BYTES, f"{grown[way] / ARRAY_BYTES:.2f} arrays, of {COUNT}"
