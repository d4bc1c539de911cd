"""Run by a Python that has MXNet: runs every exported model of each folder that it is told, and keeps the outputs."""

import json
import sys
from pathlib import Path

import mxnet as mx  # type: ignore[import-not-found]
import numpy as np


def run(folder):
    for path in sorted(folder.glob("*-symbol.json")):
        stem = str(path)[: -len("-symbol.json")]
        stored = set(mx.nd.load(stem + "-0000.params"))
        nodes = json.loads(path.read_text("utf-8"))["nodes"]
        names = [node["name"] for node in nodes if node["op"] == "null"]
        inputs = [name for name in names if not stored & {"arg:" + name, "aux:" + name}]
        network = mx.gluon.SymbolBlock.imports(str(path), inputs, stem + "-0000.params")
        with np.load(stem + "-inputs.npz") as given:
            found = network(*(mx.nd.array(given[key], dtype=given[key].dtype) for key in given))
        found = found if isinstance(found, (list, tuple)) else [found]
        np.savez(stem + "-outputs.npz", *(each.asnumpy() for each in found))


for line in sys.stdin:
    run(Path(line.rstrip("\n")))
    print("done", flush=True)
