"""Networks: forward passes beside PyTorch's, rebuilding from an archive, growth with the number of nodes."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

import modelarchive
from modelarchive import nn, zoo
from tests.benchmarks.plot import Points, svg

#: Size -> pixels of an image's edge, words of a text, layers of the encoder, nodes of the growth curve.
SIZES: Final[dict[str, tuple[int, int, int, tuple[int, ...]]]] = {
    "tiny": (32, 8, 1, (10, 20)),
    "small": (224, 128, 6, (100, 1000, 10_000, 20_000)),
    "full": (224, 128, 6, (100, 300, 1000, 3000, 10_000, 20_000)),
}
#: Our time may be so many times PyTorch's.
FORWARD_MARK: Final = 3.0
REBUILD_MARK_MS: Final = 100.0
THREADS: Final = 2


@dataclass
class Timed:
    """One thing that was timed: seconds of ours and, where there is a peer, of PyTorch's."""

    name: str
    ours: list[float] = field(default_factory=list)
    torch: list[float] = field(default_factory=list)
    mark: str = ""
    nodes: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"median": statistics.median(self.ours)}

    @classmethod
    def of(cls, record: dict[str, Any]) -> Timed:
        return cls(**{name: record[name] for name in ("name", "ours", "torch", "mark", "nodes")})


def networks(size: str, rounds: int, folder: Path) -> list[Timed]:
    """Everything of this section."""
    pixels, words, layers, nodes = SIZES[size]
    rows = [_forward_resnet(pixels, rounds), _forward_encoder(words, layers, rounds)]
    rows.append(_rebuild(folder, rounds))
    for count in nodes:
        rows += _growth(count, rounds)
    return rows


def table(rows: list[Timed]) -> str:
    """Milliseconds; in brackets the ratio PyTorch / modelarchive."""
    lines = ["### Networks", "", "| operation | modelarchive | PyTorch eager | mark |", "| --- | --- | --- | --- |"]
    for row in rows:
        ours = statistics.median(row.ours) * 1000
        theirs = statistics.median(row.torch) * 1000 if row.torch else None
        peer = "" if theirs is None else f"{theirs:.3g} ({theirs / ours:.2f})"
        lines.append(f"| {row.name} | **{ours:.3g}** | {peer} | {_met(row, ours, theirs)} |")
    return "\n".join(lines)


def growth_plot(rows: list[Timed]) -> str:
    """Time against the number of nodes, as SVG."""
    curves: dict[str, Points] = {}
    for row in rows:
        if row.nodes:
            point = (float(row.nodes), statistics.median(row.ours) * 1000)
            curves.setdefault(row.name.partition(",")[0], []).append(point)
    return svg("Validating and building an architecture", "nodes", "milliseconds", curves)


def _met(row: Timed, ours: float, theirs: float | None) -> str:
    if row.mark == "forward" and theirs is not None:
        return f"{FORWARD_MARK:g} times PyTorch's: {'met' if ours <= FORWARD_MARK * theirs else 'missed'}"
    if row.mark == "rebuild":
        return f"{REBUILD_MARK_MS:g} ms: {'met' if ours <= REBUILD_MARK_MS else 'missed'}"
    return row.mark


def _forward_resnet(pixels: int, rounds: int) -> Timed:
    net = zoo.resnet18()
    net.initialize(seed=0)
    x = np.random.default_rng(0).standard_normal((1, 3, pixels, pixels), np.float32)
    net(x)
    module = None
    if importlib.util.find_spec("torch"):
        from tests.zoo.vision_references import BasicBlock, ResNet

        module = _filled(ResNet(BasicBlock, [2, 2, 2, 2]), net)
    return _forwards(f"forward, ResNet-18, {pixels}x{pixels}, batch 1", net, module, rounds, x)


def _forward_encoder(words: int, layers: int, rounds: int) -> Timed:
    units, heads, hidden = 768, 12, 3072
    net = zoo.TransformerEncoder(layers, units, heads, hidden)
    net.initialize(seed=0)
    x = np.random.default_rng(0).standard_normal((1, words, units), np.float32)
    net(x)
    module = None
    if importlib.util.find_spec("torch"):
        import torch

        layer = torch.nn.TransformerEncoderLayer(units, heads, hidden, batch_first=True)
        module = _filled(torch.nn.TransformerEncoder(layer, layers, enable_nested_tensor=False), net)
    return _forwards(f"forward, encoder of {layers} layers, {words} words, batch 1", net, module, rounds, x)


def _filled(module: Any, net: nn.Block) -> Any:
    """A module of PyTorch's with the parameters of `net`, in evaluation."""
    import torch

    arrays = {name: torch.from_numpy(parameter.data()) for name, parameter in net.collect_params().items()}
    found = module.load_state_dict(arrays, strict=False)
    wrong = [*found.unexpected_keys, *(name for name in found.missing_keys if "num_batches" not in name)]
    if wrong:
        raise ValueError(f"parameters without a counterpart: {wrong}")
    return module.eval()


def _forwards(name: str, net: nn.Block, module: Any, rounds: int, x: np.ndarray) -> Timed:
    """Both networks in turn; the first round warms up."""
    row = Timed(name, mark="forward")
    if module is None:
        row.ours = [_seconds(lambda: net(x))[0] for _ in range(rounds + 1)][1:]
        return row
    import torch

    torch.set_num_threads(THREADS)
    torch.backends.mha.set_fastpath_enabled(False)  # a fused kernel for whole layers, not eager code
    tensor = torch.from_numpy(x)
    with torch.inference_mode():
        for _ in range(rounds + 1):
            ours, found = _seconds(lambda: net(x))
            theirs, expected = _seconds(lambda: module(tensor))
            row.ours.append(ours)
            row.torch.append(theirs)
            if np.abs(found - expected.numpy()).max() > 1e-4 * np.abs(found).max():
                raise ValueError(f"{name}: the outputs differ")
    torch.backends.mha.set_fastpath_enabled(True)
    del row.ours[0], row.torch[0]
    return row


def _rebuild(folder: Path, rounds: int) -> Timed:
    """From the archive of a ResNet-50 to a network whose parameters are views of the mapped file."""
    net = zoo.resnet50()
    net.initialize(seed=0)
    path = folder / "resnet50.h5"
    modelarchive.save_model(path, net, inputs=np.zeros((1, 3, 64, 64), np.float32), durable=False)
    row = Timed("rebuild ResNet-50, parameters mapped", mark="rebuild")
    for _ in range(rounds + 1):
        seconds, again = _seconds(lambda: modelarchive.load_model(path))
        row.ours.append(seconds)
        for name, parameter in net.collect_params().items():
            if not np.array_equal(again.collect_params()[name].data(), parameter.data()):
                raise ValueError(f"{name} came back different")
        del again
    del row.ours[0]
    path.unlink()
    return row


def _growth(nodes: int, rounds: int) -> list[Timed]:
    """Validation and building of a graph of so many nodes, half of them blocks."""
    architecture = chain(nodes)
    rows = []
    for name, call in (("validate", modelarchive.validate), ("build", modelarchive.build)):
        row = Timed(f"{name}, {nodes:,} nodes", nodes=nodes)
        for _ in range(min(rounds, 3)):
            row.ours.append(_seconds(lambda call=call: call(architecture))[0])  # type: ignore[misc]
        row.mark = f"{statistics.median(row.ours) / nodes * 1e6:.0f} microseconds a node"
        rows.append(row)
    return rows


def chain(nodes: int) -> dict[str, Any]:
    """An architecture of so many nodes in a row: a dense layer, a sum, a dense layer, ..."""
    dense = {"kind": "Dense", **nn.Dense(4, in_units=4).config()}
    steps: list[dict[str, Any]] = []
    last = before = "x"
    for at in range(nodes):
        if at % 2:
            steps.append({"name": f"add_{at}", "op": "add", "inputs": [last, before], "arguments": {}})
        else:
            steps.append({"name": f"dense_{at}", "block": dense, "inputs": [last]})
        before, last = last, steps[-1]["name"]
    inputs = [{"name": "x", "shape": [None, 4], "dtype": "float32"}]
    model = {"kind": "Graph", "inputs": ["x"], "nodes": steps, "outputs": [last]}
    return {"vocabulary": 1, "inputs": inputs, "model": model}


def _seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result
