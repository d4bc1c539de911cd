"""Runs a network in one system, timed: a question a line, an answer a line.

Started by :mod:`tests.benchmarks.running` once for each system, so that the threads of one do not hinder another; for
modelarchive with whatever checkout is imported.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


class Worker:
    """One network at a time.

    Args:
        system: "modelarchive", "onnxruntime" or "torch".
        threads: How many threads it may use.
        folder: Where the networks are.
    """

    def __init__(self, system: str, threads: str, folder: str) -> None:
        self.system, self.threads, self.folder = system, int(threads), Path(folder)

    def network(self, name: str) -> str:
        """Load a network, run it twice, and write what it gives."""
        x = np.load(self.folder / f"{name}.npy")
        self.forward = getattr(self, f"_{self.system}")(name, x)
        self.forward()
        np.save(self.folder / f"{name}.{self.system}.npy", self.forward())
        # What is there by now stays, and is not looked through before each forward pass.
        gc.collect()
        gc.freeze()
        return "loaded"

    def source(self, _: str) -> str:
        """Where modelarchive is imported from."""
        import modelarchive

        return str(Path(modelarchive.__file__).parent.parent)

    def time(self, _: str) -> str:
        """Seconds on the clock and of processor time, of all threads, for one forward pass."""
        gc.collect()
        gc.disable()
        clock, processor = time.perf_counter(), time.process_time()
        self.forward()
        seconds = time.perf_counter() - clock, time.process_time() - processor
        gc.enable()
        return f"{seconds[0]} {seconds[1]}"

    def _modelarchive(self, name: str, x: np.ndarray) -> Callable[[], np.ndarray]:
        import modelarchive

        network = modelarchive.load_model(self.folder / f"{name}.h5")
        return lambda: network(x)

    def _onnxruntime(self, name: str, x: np.ndarray) -> Callable[[], np.ndarray]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        session = onnxruntime.InferenceSession(
            self.folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"]
        )
        given = {session.get_inputs()[0].name: x}
        return lambda: session.run(None, given)[0]

    def _torch(self, name: str, x: np.ndarray) -> Callable[[], np.ndarray]:
        import torch

        torch.set_num_threads(self.threads)
        module = torch.load(self.folder / f"{name}.pt", weights_only=False)
        tensor = torch.from_numpy(x)

        def forward() -> np.ndarray:
            with torch.inference_mode():
                return module(tensor).numpy()

        return forward


def main() -> None:
    """Answer until there are no more questions."""
    worker = Worker(*sys.argv[1:])
    for line in sys.stdin:
        question, _, about = line.strip().partition(" ")
        print(getattr(worker, question)(about), flush=True)


if __name__ == "__main__":
    main()
