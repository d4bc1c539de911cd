"""Run by a Python that has MXNet: loads what modelarchive wrote, and compares the outputs."""

import json
import sys
from pathlib import Path

import mxnet as mx  # type: ignore[import-not-found]
import numpy as np

folder, foreign = Path(sys.argv[1]), Path(sys.argv[2])
models = files = 0
for path in sorted(folder.glob("*-symbol.json")):
    stem = str(path)[: -len("-symbol.json")]
    stored = set(mx.nd.load(stem + "-0000.params"))
    nodes = json.loads(path.read_text("utf-8"))["nodes"]
    inputs = [
        node["name"]
        for node in nodes
        if node["op"] == "null" and not stored & {"arg:" + node["name"], "aux:" + node["name"]}
    ]
    network = mx.gluon.SymbolBlock.imports(str(path), inputs, stem + "-0000.params")
    with np.load(stem + "-io.npz") as io:
        given = [mx.nd.array(io[key], dtype=io[key].dtype) for key in io if key[0] == "x"]
        expected = [io[key] for key in io if key[0] == "y"]
    found = network(*given)
    found = found if isinstance(found, (list, tuple)) else [found]
    assert len(found) == len(expected), stem
    for one, other in zip(found, expected):  # noqa: B905 - of Python 3.9 too
        assert one.shape == other.shape, stem
        np.testing.assert_allclose(one.asnumpy(), other, rtol=1e-5, atol=1e-5 * max(1, abs(other).max()), err_msg=stem)
    models += 1
for path in sorted(folder.glob("*.params")):
    if (foreign / path.name).exists():
        one, other = mx.nd.load(str(path)), mx.nd.load(str(foreign / path.name))
        assert list(one) == list(other)
        assert all((one[name].asnumpy() == other[name].asnumpy()).all() for name in one)
        files += 1
print(f"{models} models, {files} files of parameters")
