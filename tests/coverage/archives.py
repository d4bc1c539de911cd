"""A network as people save and load it: in a file, in NumPy and PyTorch at two batches, a part alone and in another."""

from __future__ import annotations

import contextlib
import copy
import io
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import modelarchive as ma
from modelarchive.errors import ModelArchiveError
from modelarchive.exchange.torch.tensors import array_of, tensor_of
from tests.coverage.judging import Network, Verdict, arrays, changed, differences, is_strict, limit_of, tensors, words


def judge(
    network: Network, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], wanted: list[torch.Tensor]
) -> Verdict:
    """Save a module, load it in NumPy and in PyTorch, compare outputs and names, and take one part into another."""
    found = Verdict(network.set, network.name, "whole")
    before = {name: each.clone() for name, each in module.state_dict().items()}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.h5"
        found.export = _export(copy.deepcopy(module), inputs)  # first: it bears what is imported at first use
        start = time.process_time()
        try:
            ma.save_model(path, module, inputs=inputs)
        except ModelArchiveError as error:
            found.verdict, found.why = "refused", words(error)
        found.seconds = time.process_time() - start
        if found.verdict == "refused":
            return found
        problem = changed(module, before) or _wrong(path, module, inputs, wanted, found)
    if problem:
        found.verdict, found.why = "wrong", problem
    return found


def _export(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> float:
    """Seconds of the processor that torch.export itself takes, with a free batch; less than none where it fails."""
    start = time.process_time()
    axes = tuple({0: torch.export.Dim.AUTO} if each.ndim else None for each in inputs)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # where it fails it prints what it has
            torch.export.export(_Whole(module), inputs, dynamic_shapes=(axes,), strict=False)
    except Exception:  # whatever PyTorch raises
        return -(time.process_time() - start)
    return time.process_time() - start


class _Whole(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> Any:
        return tuple(tensors(self.network(*inputs)))


def _wrong(
    path: Path, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], wanted: list[torch.Tensor], found: Verdict
) -> str:
    with ma.open(path) as opened:
        architecture = opened.architecture
    shapes = [each["shape"] for each in architecture["inputs"]]
    free = [at for at, shape in enumerate(shapes) if shape and not isinstance(shape[0], int)]
    if all(isinstance(axis, int) for shape in shapes for axis in shape):
        found.verdict = "fixed"
    read = ma.load_model(path)
    built = ma.load_model(path, backend="torch")
    cases = [(inputs, wanted)]
    if free:
        longer = tuple(torch.cat([each, each[-1:]]) if at in free else each for at, each in enumerate(inputs))
        try:
            with torch.no_grad():
                cases.append((longer, tensors(module(*(each.clone() for each in longer)))))
        except Exception:  # it takes no other batch
            found.why = "the module itself takes no other batch"
    for given, expected in cases:
        outputs = [tensor_of(np.array(each)) for each in arrays(read(*map(array_of, given)))]
        with torch.no_grad():
            rebuilt = tensors(built(*(each.clone() for each in given)))
        for what, ours in (("NumPy", outputs), ("PyTorch", rebuilt)):
            if problem := differences(ours, expected, limit_of(architecture)):
                return f"{what}, batch {len(given[0]) if given[0].ndim else 1}: {problem}"
    found.strict = is_strict(module, path)
    return part_is_wrong(path)


def part_is_wrong(path: Path) -> str:
    """What is wrong with one part alone, and with its parameters in another network; "" if nothing is."""
    stored = ma.load(path)
    name = next((each.split(".")[0] for each in stored if "." in each), None)
    if name is None:
        return ""
    try:
        part = ma.load_model(path, block=name)
    except ModelArchiveError as error:
        return f"the block {name}: {words(error)}"
    mine = {each for each in stored if each.startswith(f"{name}.")}
    if {f"{name}.{each}" for each in part.collect_params()} - set(stored):
        return f"the part {name!r} alone has parameters that the whole has not"
    other = ma.load_model(path)
    for parameter in other.collect_params().values():
        parameter.set_data(np.zeros_like(parameter.data()))
    ma.transplant(path, other, select=f"{name}.*")
    for each, parameter in other.collect_params().items():
        if each in mine and parameter.data().tobytes() != np.ascontiguousarray(stored[each]).tobytes():
            return f"{each} of the part {name!r} did not come into another network"
    return ""
