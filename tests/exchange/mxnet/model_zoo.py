"""Gluon's model zoo through an archive and back: ``python -m tests.exchange.mxnet.model_zoo`` prints the table.

MODELARCHIVE_MXNET_PYTHON names a Python that has MXNet 1.9.1.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import modelarchive as ma
from modelarchive.exchange import mxnet
from tests.conftest import ROOT
from tests.exchange.mxnet import running
from tests.exchange.mxnet.running import PYTHON

SCRIPTS = ROOT / "tests" / "exchange" / "mxnet"
#: Every network of mxnet.gluon.model_zoo.vision.
NAMES = (
    "alexnet",
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    "inceptionv3",
    *(f"mobilenet{width}" for width in ("1.0", "0.75", "0.5", "0.25")),
    *(f"mobilenetv2_{width}" for width in ("1.0", "0.75", "0.5", "0.25")),
    *(f"resnet{depth}_v{version}" for version in (1, 2) for depth in (18, 34, 50, 101, 152)),
    *(f"squeezenet{version}" for version in ("1.0", "1.1")),
    *(f"vgg{depth}{bn}" for bn in ("", "_bn") for depth in (11, 13, 16, 19)),
)


def compare(name: str, folder: Path) -> tuple[int, float, float]:
    """One network: MXNet -> archive, and archive -> MXNet.

    Returns:
        Its number of parameters, the largest difference of the outputs of the archive, and of the file that MXNet
        reads again; relative to the largest output.

    Raises:
        ValueError: Parameters are not bit for bit what they were.
    """
    script(SCRIPTS / "zoo_of_mxnet.py", folder, name)
    ma.convert(folder / f"{name}-symbol.json", folder / f"{name}.h5", durable=False)
    with np.load(folder / f"{name}-expected.npz") as io, np.load(folder / f"{name}-inputs.npz") as inputs:
        expected, x = io["y"], inputs["x0"]
    here = ma.load_model(folder / f"{name}.h5")(x)
    original = {array.tobytes() for array in mxnet.read(folder / f"{name}-0000.params").parameters.values()}
    with ma.open(folder / f"{name}.h5") as archive:
        count = archive.parameter_count
        if not {array.tobytes() for array in archive.parameters.values()} <= original:
            raise ValueError(f"{name}: parameters are not those of the file")
    ma.convert(folder / f"{name}.h5", folder / f"{name}-symbol.json", durable=False)
    running.outputs(folder)
    with np.load(folder / f"{name}-outputs.npz") as io:
        again = io["arr_0"]
    return count, difference(here, expected), difference(again, expected)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def script(path: Path, *arguments: object) -> None:
    done = subprocess.run([PYTHON, path, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])


if __name__ == "__main__":
    print("| network | parameters | MXNet to archive | archive to MXNet |\n| --- | --- | --- | --- |")
    for each in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory() as temporary:
            size, there, back = compare(each, Path(temporary))
        print(f"| {each} | {size:,} | {there:.0e} | {back:.0e} |", flush=True)
