"""Every class of transformers through every backend: ``python -m tests.exchange.huggingface``.

Each model is made with random parameters, saved by transformers, converted into an archive, and run from there in
NumPy, PyTorch, ONNX Runtime and Keras. A line a model: the largest difference of each from transformers, relative to
its largest output.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

import modelarchive as ma
from tests.exchange.huggingface.models import CASES, expected, inputs_of, model, several
from tests.zoo.comparison import error

BACKENDS = ("NumPy", "PyTorch", "ONNX Runtime", "Keras")


def outputs(backend: str, archive: Path, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What the model in an archive gives in a backend."""
    import onnxruntime
    import torch

    if backend == "NumPy":
        return several(ma.load_model(archive)(*inputs.values()))
    if backend == "ONNX Runtime":
        ma.convert(archive, archive.with_suffix(".onnx"), durable=False)
        session = onnxruntime.InferenceSession(archive.with_suffix(".onnx"), providers=["CPUExecutionProvider"])
        return list(session.run(None, inputs))
    network = ma.load_model(archive, backend="torch" if backend == "PyTorch" else "keras")
    with torch.no_grad():
        if backend == "PyTorch":
            found = network(*(torch.from_numpy(array) for array in inputs.values()))
        else:
            found = network(list(inputs.values()) if len(inputs) > 1 else next(iter(inputs.values())))
    found = list(found.values()) if isinstance(found, dict) else found
    return [np.asarray(each) for each in (found if isinstance(found, list | tuple) else [found])]


def main() -> None:
    """Print the table."""
    import torch
    import transformers

    worst = dict.fromkeys(BACKENDS, 0.0)
    print("| class | " + " | ".join(BACKENDS) + " |")
    print("| --- |" + " --- |" * len(BACKENDS))
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            module = model(name, transformers, torch)
            module.save_pretrained(Path(folder) / "theirs")
            archive = Path(folder) / "model.h5"
            ma.convert(Path(folder) / "theirs", archive, durable=False)
            with ma.open(archive) as opened:
                inputs = inputs_of(opened.architecture)
            wanted = expected(module, inputs, torch)
            differences = []
            for backend in BACKENDS:
                found = outputs(backend, archive, inputs)
                differences.append(max(error(one, other) for one, other in zip(found, wanted, strict=True)))
                worst[backend] = max(worst[backend], differences[-1])
        print(f"| {name} | " + " | ".join(f"{each:.1e}" for each in differences) + " |", flush=True)
    print(f"{len(CASES)} models; largest differences: {', '.join(f'{key} {each:.1e}' for key, each in worst.items())}")


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    main()
