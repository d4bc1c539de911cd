"""How long save_model of a PyTorch module takes, beside torch.export.export of it alone: processor time, one thread."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def modules() -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Name -> a module of transformers and what it takes."""
    import torch
    import transformers

    class Output(torch.nn.Module):
        """Of a model of transformers its first output."""

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Any) -> Any:
            """Run the model."""
            return self.model(*inputs)[0]

    def bert(layers: int) -> tuple[Any, tuple[Any, ...]]:
        sizes = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256, "vocab_size": 500}
        ids = torch.randint(0, 500, (2, 16))
        model = transformers.BertModel(transformers.BertConfig(num_hidden_layers=layers, **sizes))
        return Output(model).eval(), (ids, torch.ones_like(ids))

    config = transformers.ResNetConfig(
        embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2] * 4, layer_type="basic"
    )
    return {
        "BERT, 2 layers": bert(2),
        "BERT, 12 layers": bert(12),
        "ResNet-18": (Output(transformers.ResNetModel(config)).eval(), (torch.rand(2, 3, 64, 64),)),
    }


def measured(module: Any, inputs: tuple[Any, ...], folder: Path, rounds: int) -> tuple[float, float]:
    """Medians of seconds of torch.export.export, and of save_model, in turns."""
    import torch

    import modelarchive as ma

    axes = (tuple({0: torch.export.Dim.AUTO} for _ in inputs),)

    def export() -> None:
        torch.export.export(module, inputs, dynamic_shapes=axes, strict=False)

    def save() -> None:
        ma.save_model(folder / "net.h5", module, inputs=inputs, durable=False)

    export(), save()  # what is imported and filled once
    times = [(_seconds(export), _seconds(save)) for _ in range(rounds)]
    one, other = zip(*times, strict=True)
    return statistics.median(one), statistics.median(other)


def _seconds(function: Callable[[], None]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.modules", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(arguments).rounds
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read when PyTorch is imported
        os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "tests.benchmarks.modules", f"--rounds={rounds}"])
    warnings.simplefilter("ignore")
    print("| module | `torch.export.export`, s | `save_model`, s | times |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for name, (module, inputs) in modules().items():
            one, other = measured(module, inputs, Path(folder), rounds)
            print(f"| {name} | {one:.2f} | {other:.2f} | {other / one:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
