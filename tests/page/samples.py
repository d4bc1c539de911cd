"""Files whose pages are looked at: networks, hostile names, many arrays, trouble, two of one network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import modelarchive as ma
from modelarchive import nn, zoo
from tests.cases.networks import narrow
from tests.cli.conftest import damage

#: Names that would do something, were they markup or script.
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<!--",
    "\u2028line",
    "&amp;",
    '" onload="alert(3)',
    "${alert(4)}",
    "__proto__",
    "constructor",
)


def networks(folder: Path) -> dict[str, Path]:
    """Name -> archive of a network with random weights."""
    made = {
        "lenet": (zoo.LeNet(), np.zeros((1, 1, 28, 28), np.float32)),
        "encoder": (zoo.TransformerEncoder(12, 32, 4, 64), np.zeros((1, 7, 32), np.float32)),
        "resnet": (narrow(lambda: zoo.resnet50(10))(), np.zeros((1, 3, 64, 64), np.float32)),
        "unet": (zoo.UNet(2, 8), np.zeros((1, 3, 32, 32), np.float32)),
        "tied": (zoo.GPT2(50, 16, 2, 2, 8), np.zeros((1, 3), np.int64)),
        "classifier": (zoo.LSTMClassifier(50, 8, 8, 3), np.zeros((1, 5), np.int64)),
    }
    found = {}
    for name, (network, inputs) in made.items():
        network.initialize(seed=0)
        ma.save_model(folder / f"{name}.h5", network, inputs=inputs, metadata={"licence": "MIT"}, durable=False)
        found[name] = folder / f"{name}.h5"
    return found


def hostile(path: Path) -> Path:
    """Names and values that a careless page would run."""
    ma.save(path, {name: {"array": np.ones((2, 2)), "text": name} for name in HOSTILE})
    return path


def many(path: Path, count: int) -> Path:
    """So many small arrays."""
    random = np.random.default_rng(0)
    ma.save(path, {f"layer.{at}.weight": random.standard_normal((4, 5), np.float32) for at in range(count)})
    return path


def troubled(path: Path) -> Path:
    """400 arrays, of which one holds one NaN, and one is nothing but zeros."""
    random = np.random.default_rng(0)
    arrays = {f"layer.{at}.weight": random.standard_normal((8, 8), np.float32) for at in range(400)}
    arrays["layer.277.weight"][3, 4] = np.nan
    arrays["layer.100.weight"][:] = 0
    ma.save(path, arrays)
    return path


def damaged(path: Path) -> Path:
    """A small network's archive in which one byte of one array is another one since it was written."""
    network = nn.Sequential(nn.Dense(4, in_units=3), nn.Dense(2, in_units=4))
    network.initialize(seed=0)
    ma.save_model(path, network, inputs=np.zeros((1, 3), np.float32))
    damage(path, "1.weight")
    return path


def two(folder: Path) -> tuple[Path, Path]:
    """A network, and the same after its last layer was trained further."""
    network = nn.Sequential(nn.Dense(4, in_units=3), nn.Dense(2, in_units=4))
    network.initialize(seed=0)
    ma.save_model(folder / "before.h5", network, inputs=np.zeros((1, 3), np.float32), metadata={"step": 1})
    weight = network[1].weight
    weight.set_data(weight.data() + np.float32(0.25))
    ma.save_model(folder / "after.h5", network, inputs=np.zeros((1, 3), np.float32), metadata={"step": 2})
    return folder / "before.h5", folder / "after.h5"


def named(folder: Path) -> tuple[Path, Path]:
    """Arrays with names that mean something in JavaScript, and the same of which one changed."""
    arrays = {name: np.ones((2, 2)) for name in ("constructor", "__proto__", "toString", "valueOf", "length")}
    ma.save(folder / "one.h5", arrays)
    ma.save(folder / "other.h5", {**arrays, "valueOf": np.zeros((2, 2))})
    return folder / "one.h5", folder / "other.h5"


def run(folder: Path) -> Path:
    """Five checkpoints of a network that learns; one of them is damaged."""
    random = np.random.default_rng(0)
    network = zoo.LeNet()
    network.initialize(seed=0)
    network(np.zeros((1, 1, 28, 28), np.float32))
    with ma.Checkpoints(folder, keep=None, asynchronous=False) as found:
        for step in range(100, 600, 100):
            for name, parameter in network.collect_params().items():
                if "features.0" not in name:
                    parameter.set_data(parameter.data() + random.standard_normal(parameter.shape, np.float32) / step)
            found.save(step, model=network, metrics={"accuracy": 1 - 40 / step, "loss": 90 / step})
        damaged = found.path(300)
    content = bytearray(damaged.read_bytes())
    content[-100] ^= 1
    damaged.write_bytes(content)
    return folder
