"""What a module gives and what was read of it gives, compared on the same inputs."""

from __future__ import annotations

import contextlib
import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from modelarchive.errors import ConversionError
from modelarchive.exchange.torch.inputs import refuse_example
from modelarchive.exchange.torch.keeping import kept
from modelarchive.exchange.torch.tensors import array_of


def contained(value: Any) -> Any:
    """What a forward returned as containers that an architecture has: an object of named fields is a dict of them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Mapping):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return vars(value) if isinstance(value, types.SimpleNamespace) else value


def leaves(value: Any) -> list[Any]:
    """What is inside the containers, dicts by their sorted keys."""
    value = contained(value)
    if isinstance(value, Mapping):
        return [leaf for key in sorted(value) for leaf in leaves(value[key])]
    return [leaf for each in value for leaf in leaves(each)] if isinstance(value, tuple | list) else [value]


@contextlib.contextmanager
def slow_attention() -> Iterator[None]:
    """Without kernels that hide what layers of attention do."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def outputs_of(
    network: torch.nn.Module, given: list[torch.Tensor], *, is_example: bool, run: Callable[..., Any] | None = None
) -> list[torch.Tensor] | None:
    """The tensors that a module gives; None where it does not run.

    Args:
        network: The module.
        given: The inputs.
        is_example: Whether they are the user's.
        run: What computes its outputs; None: itself.

    Raises:
        ConversionError: The module does not run on the user's example.
    """
    try:
        # What it counts or keeps is not for the next run, nor for what was read of it; and without kernels that have
        # rows of attention that see nothing otherwise.
        with kept(network), slow_attention():
            found = leaves((run or network)(*(each.clone() for each in given)))  # copies: it may work in place
            return [each.detach().clone() for each in found if torch.is_tensor(each)]
    except Exception as error:  # anything may be raised by somebody's forward
        devices = {each.device.type for each in (*network.parameters(), *network.buffers())}
        if is_example and not devices - {"cpu"} and "not implemented for" not in str(error):
            refuse_example(network, given)
        return None


def compared(
    network: torch.nn.Module,
    run: Callable[..., Any],
    block: Any,
    given: list[torch.Tensor],
    *,
    is_example: bool,
    is_narrow: bool = False,
) -> bool:
    """Compare the outputs of a module and of a network in NumPy.

    Args:
        network: The module.
        run: What computes its outputs.
        block: The network in NumPy.
        given: The inputs.
        is_example: Whether they are the user's.
        is_narrow: Whether floats of 16 bits or less are computed with on the way, whatever the outputs are.

    Returns:
        Whether the module runs on them.

    Raises:
        ConversionError: The outputs differ, or the module does not run on the user's example.
    """
    wanted = outputs_of(network, given, is_example=is_example, run=run)
    if wanted is None:
        return False
    try:
        with np.errstate(all="ignore"):
            found = leaves(block(*(array_of(each.clone()) for each in given)))
    except IndexError as error:  # a table of positions that the module makes longer, say
        raise ConversionError([("(model)", f"what was read does not run where the module does: {error}")]) from error
    where = "on the example input" if is_example else f"on inputs of the shapes {[list(each.shape) for each in given]}"
    if len(found) != len(wanted):
        raise ConversionError([("(model)", f"what was read gives {len(found)} outputs, the module {len(wanted)}")])
    for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
        what = _difference(one, array_of(other.detach()), is_narrow=is_narrow)
        if what:
            problem = f"output {number} of what was read differs from the module's {where}: {what}"
            raise ConversionError([("(model)", problem)], hint="this is a fault of modelarchive; please report it")
    return True


def _difference(one: np.ndarray, other: np.ndarray, *, is_narrow: bool) -> str:
    """How two outputs differ, in words; "" where they agree."""
    if one.shape != other.shape:
        return f"the shape {one.shape} is not {other.shape}"
    if one.dtype != other.dtype:
        return f"the dtype {one.dtype} is not {other.dtype}"
    if not other.size:
        return ""
    is_narrow |= other.dtype.itemsize < 4 and other.dtype.kind not in "biu"
    limit = 5e-2 if is_narrow else 1e-3
    if other.dtype.kind == "c":
        one, other = one.view(one.real.dtype), other.view(other.real.dtype)
    one, other = one.astype(np.float64), other.astype(np.float64)
    largest = np.abs(other[np.isfinite(other)]).max(initial=0.0)
    if np.allclose(one, other, limit, limit * largest, equal_nan=True):
        return ""
    if (np.isfinite(one) != np.isfinite(other)).any():
        return f"{int((np.isfinite(one) != np.isfinite(other)).sum())} elements are finite in one of them only"
    with np.errstate(invalid="ignore"):
        return f"by up to {np.nanmax(np.abs(one - other)):.2g}, where the largest element is {largest:.2g}"
