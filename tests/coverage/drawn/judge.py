"""A network drawn at random as it is judged: at many sizes, batches and values, in NumPy and in PyTorch."""

from __future__ import annotations

import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import modelarchive as ma
from modelarchive.errors import ModelArchiveError
from modelarchive.exchange.torch.tensors import array_of, tensor_of
from tests.coverage.drawn import NAMES, Drawn
from tests.coverage.judging import Network, Verdict, arrays, changed, is_strict, tensors, words

#: Which axes are free -> shapes that the network was not drawn on.
_SHAPES = {
    "batch": [(3, 4, 6), (1, 4, 6), (7, 4, 6)],
    "length": [(3, 6, 4), (1, 7, 4), (5, 13, 4), (2, 32, 4)],
    "sides": [(3, 4, 6, 8), (1, 4, 9, 7), (2, 4, 13, 10), (2, 4, 16, 21)],
}
#: How values differ: as usual, large, whole, all zero.
_VALUES = (lambda x: x, lambda x: 10 * x, lambda x: x.round() + 0.0, torch.zeros_like)  # without minus 0
#: Dtype -> how much may differ, and how much inputs are moved to see whether a result is settled by its inputs.
_LIMITS = {
    torch.float64: (2e-4, 2e-6), torch.float32: (2e-4, 2e-6), torch.float16: (2e-2, 2e-3), torch.bfloat16: (8e-2, 4e-3)
}  # fmt: skip


def judge(network: Network, module: Any, inputs: tuple[torch.Tensor, ...], wanted: list[torch.Tensor]) -> Verdict:
    """Save a module with its axes free, or else as it is; load it, and compare at many inputs."""
    kind = network.name.partition(" ")[0]
    found = Verdict(network.set, network.name, "whole")
    before = {name: each.clone() for name, each in module.state_dict().items()}
    declared = {"x": {"shape": list(NAMES[kind]), "dtype": "float32"}}
    fixed = {"x": {"shape": [*inputs[0].shape], "dtype": "float32"}}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.h5"
        start = time.process_time()
        for found.verdict, given in (("whole", declared), ("fixed", fixed), ("refused", None)):
            try:
                if given is not None:
                    ma.save_model(path, module, inputs=given)
                break
            except ModelArchiveError as error:
                found.why = found.why or f"{words(error)} [{module.words}]"
        found.seconds = time.process_time() - start
        if found.verdict == "refused":
            return found
        shapes = _SHAPES[kind] if found.verdict == "whole" else [tuple(inputs[0].shape)]
        problem = changed(module, before) or _wrong(path, module, shapes)
        found.strict = is_strict(module, path)
    if problem:
        found.verdict, found.why = "wrong", f"{problem} [{module.words}]"
    return found


def _wrong(path: Path, module: Drawn, shapes: list[tuple[int, ...]]) -> str:
    read, built = ma.load_model(path), ma.load_model(path, backend="torch")
    for at, shape in enumerate(shapes):
        for number, values in enumerate(_VALUES if at == 0 else _VALUES[:2]):
            x = values(torch.randn(shape, generator=torch.Generator().manual_seed(at)))
            with torch.no_grad():
                try:
                    wanted = tensors(module(x))
                except (RuntimeError, ValueError, IndexError):  # it takes no such size
                    continue
                again = tensors(built(x.clone()))
            with np.errstate(all="ignore"):
                outputs = [tensor_of(np.array(each)) for each in arrays(read(array_of(x)))]
            for what, ours in (("NumPy", outputs), ("PyTorch", again)):
                if problem := _differences(module, x, ours, wanted):
                    return f"{what}, {shape}, values {number}: {problem}"
    return ""


def _differences(module: Drawn, x: torch.Tensor, ours: list[torch.Tensor], wanted: list[torch.Tensor]) -> str:
    if len(ours) != len(wanted):
        return f"{len(ours)} outputs, not {len(wanted)}"
    limits = [_LIMITS[each] for each in _LIMITS if each in _dtypes(module, x)]
    limit, by = max(limits)
    for number, (one, other) in enumerate(zip(ours, wanted, strict=True)):
        problem = _difference(one, other, limit)
        if problem and (problem.startswith("is") or _is_settled(module, x, number, limit, by)):
            return f"output {number} {problem}"
    return ""


def _dtypes(module: Drawn, x: torch.Tensor) -> set[torch.dtype]:
    """What is computed in, on the way."""
    values = [x]
    with torch.no_grad():
        for function, taken in module.steps:
            values.append(function(*(values[at] for at in taken)))
    return {each.dtype for each in values}


def _difference(one: torch.Tensor, other: torch.Tensor, limit: float) -> str:
    if one.shape != other.shape or one.dtype != other.dtype:
        return f"is {one.dtype} {tuple(one.shape)}, not {other.dtype} {tuple(other.shape)}"
    if not other.is_floating_point():
        return "" if torch.equal(one, other) else f"differs in {int((one != other).sum())} of {one.numel()}"
    one, other = one.double(), other.double()
    finite = other[other.isfinite()]
    scale = float(finite.abs().max()) if finite.numel() else 1.0
    if torch.allclose(one, other, limit, limit * 0.05 * scale + limit, equal_nan=True):
        return ""
    return f"differs by {float((one - other).abs().nan_to_num().max()):.2g} of {scale:.2g}"


def _is_settled(module: Drawn, x: torch.Tensor, number: int, limit: float, by: float) -> bool:
    """Whether a result is about the same for inputs that differ in what rounding may, and in numbers of 64 bits.

    Where an element is next to where one becomes another, either is right.
    """
    with torch.no_grad():
        wanted = tensors(module(x))[number]
        for seed in range(4):
            moved = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
            near = tensors(module(x * (1 + by * moved) + by / 2 * moved * (x != 0)))[number]
            if _difference(near, wanted, limit):
                return False
        try:
            exact = tensors(copy.deepcopy(module).double()(x.double()))[number]
        except RuntimeError:  # a step is for numbers of 32 bits
            return True
    return not _difference(exact.to(wanted.dtype), wanted, limit)
