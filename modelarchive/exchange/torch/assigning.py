"""A module's parameters and persistent buffers, as what a transplant reads and fills."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch

from modelarchive import dtypes, tensors
from modelarchive.errors import UnsupportedDataError
from modelarchive.exchange.torch.wrapping import placed_tensors, refuse_shards
from modelarchive.nn.target import ForeignParameter


class _ModuleParameter(ForeignParameter):
    """A tensor of a module; one that is shared is the same under each of its names.

    Args:
        tensor: The parameter or buffer.
        trainable: Whether training changes it.
        **more: As :class:`ForeignParameter`.
    """

    def __init__(self, shape: tuple[int, ...] | None, dtype: np.dtype[Any], tensor: torch.Tensor, **more: Any) -> None:
        #: Whether it is what a normalisation learns from each batch in training mode, whatever is frozen.
        self.is_statistic = False
        #: Where the tensor stands: (module, name), of each of its names.
        self.owners: list[tuple[torch.nn.Module, str]] = []
        self._tensor = tensor
        super().__init__(shape, dtype, trainable=tensor.requires_grad, **more)

    @property
    def trainable(self) -> bool:
        """Whether training changes it."""
        return bool(self._tensor.requires_grad)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if self._tensor.requires_grad != value and isinstance(self._tensor, torch.nn.Parameter):
            self._tensor.requires_grad_(value)

    def value(self) -> np.ndarray:
        """The values."""
        return tensors.asarray(self._tensor)

    def set_data(self, array: Any) -> None:
        """Copy the values into the tensor; one that has none yet is given memory for them."""
        tensor = self._tensor
        if torch.nn.parameter.is_lazy(tensor):
            tensor.materialize(tuple(array.shape), device="cpu" if tensor.is_meta else tensor.device)
        if tensor.is_meta:
            # A tensor without memory cannot be filled: another one takes its place wherever it stands.
            # On the CPU whatever the default device is: that may be "meta" still.
            fresh: torch.Tensor = torch.empty(array.shape, dtype=tensor.dtype, device="cpu")
            if isinstance(tensor, torch.nn.Parameter):
                fresh = torch.nn.Parameter(fresh, requires_grad=tensor.requires_grad)
            for module, name in self.owners:
                (module._parameters if name in module._parameters else module._buffers)[name] = fresh
            self._tensor = fresh
        tensors.fill(self._tensor, np.asarray(array))


def parameters_of(module: torch.nn.Module) -> dict[str, _ModuleParameter]:
    """Parameters and persistent buffers as what a transplant fills."""
    refuse_shards(module)
    made: dict[Hashable, _ModuleParameter] = {}
    found = {}
    for name, owner, own, tensor in placed_tensors(module):
        # Two tensors may be one memory (a tied weight that was moved); one tensor is one parameter in any case.
        key: Hashable = id(tensor)
        if not torch.nn.parameter.is_lazy(tensor) and not tensor.is_meta:
            try:
                foreign = tensors.foreign(tensor)
                key = key if foreign is None or foreign.memory is None else foreign.memory
            except UnsupportedDataError:
                pass
        if key not in made:
            made[key] = _parameter(tensor, is_optional=own == "num_batches_tracked")
        made[key].owners.append((owner, own))
        made[key].is_statistic |= own in ("running_mean", "running_var")
        found[name] = made[key]
    _accompany(list(made.values()))
    return found


def _accompany(parameters: Sequence[_ModuleParameter]) -> None:
    """A lazy module that is filled in part would initialise all of it at its first call."""
    by_owner: dict[int, list[_ModuleParameter]] = {}
    for parameter in parameters:
        if not parameter.is_initialized:
            by_owner.setdefault(id(parameter.owners[0][0]), []).append(parameter)
    for several in by_owner.values():
        for parameter in several:
            parameter.companions = several


def _parameter(tensor: torch.Tensor, *, is_optional: bool) -> _ModuleParameter:
    name = tensors.dtype_name(tensor.dtype)
    dtype = np.dtype("float32") if name is None else dtypes.numpy_dtype(name)
    if torch.nn.parameter.is_lazy(tensor):
        return _ModuleParameter(None, dtype, tensor, is_optional=is_optional)
    problem = ""
    if not tensor.is_meta:
        try:
            tensors.foreign(tensor)
        except UnsupportedDataError as error:
            problem = error.problems[0][1]
        if not problem and not tensors.is_fillable(tensor):
            problem = "an expanded tensor, whose elements are one in memory; register tensor.clone() instead"
    return _ModuleParameter(tuple(tensor.shape), dtype, tensor, problem=problem, is_optional=is_optional)
