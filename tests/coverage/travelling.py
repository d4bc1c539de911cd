"""A network judged by its way: into an archive, out of it in NumPy and PyTorch, a part of it alone and into another."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import modelarchive as ma
from modelarchive.errors import ModelArchiveError
from modelarchive.exchange.torch.tensors import array_of, tensor_of
from tests.coverage.judging import Network, Verdict, arrays, differences, judged_as_module, tensors


def judge(
    network: Network, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], wanted: list[torch.Tensor]
) -> Verdict:
    """Read a module and compare it, then send it on its way."""
    as_it_was = copy.deepcopy(module)  # its forward may change it
    found = judged_as_module(network, module, inputs, wanted)
    if found.verdict != "whole":
        return found
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.h5"
        try:
            ma.save_model(path, as_it_was, inputs=inputs)
            problem = _of_archive(path, module, inputs, wanted) or _of_a_part(path)
        except ModelArchiveError as error:
            problem = f"on its way: {type(error).__name__}: {error}"
    if problem:
        found.verdict, found.why = "wrong", problem
    return found


def _of_archive(path: Path, module: torch.nn.Module, inputs: Any, wanted: list[torch.Tensor]) -> str:
    """What is wrong with the networks that an archive gives; "" if nothing is."""
    limit = 2e-2 if any(each.dtype.itemsize < 4 and each.is_floating_point() for each in _state(module)) else 2e-3
    in_numpy = arrays(ma.load_model(path, verify=True)(*map(array_of, inputs)))
    rebuilt = ma.load_model(path, backend="torch")
    with torch.no_grad():
        in_torch = tensors(rebuilt(*inputs))
    for place, several in (("NumPy", [tensor_of(np.array(each)) for each in in_numpy]), ("PyTorch", in_torch)):
        if problem := differences(several, wanted, limit):
            return f"of an archive, in {place}: {problem}"
    return ""


def _state(module: torch.nn.Module) -> list[torch.Tensor]:
    return [*module.parameters(), *module.buffers()]


def _of_a_part(path: Path) -> str:
    """What is wrong with one part alone, and with its parameters in another network; "" if nothing is."""
    stored = ma.load(path)
    name = next((each.split(".")[0] for each in stored if "." in each), None)
    if name is None:
        return ""
    part = ma.load_model(path, block=name)
    mine = {each for each in stored if each.startswith(f"{name}.")}
    if {f"{name}.{each}" for each in part.collect_params()} - set(stored) or not mine:
        return f"the part {name!r} alone has parameters that the whole has not"
    other = ma.load_model(path)
    for parameter in other.collect_params().values():
        parameter.set_data(np.zeros_like(parameter.data()))
    ma.transplant(path, other, select=f"{name}.*")
    for each, parameter in other.collect_params().items():
        if each in mine and parameter.data().tobytes() != np.ascontiguousarray(stored[each]).tobytes():
            return f"{each} of the part {name!r} did not come into another network"
    return ""


__all__ = ["judge"]
