"""Images that are one element wide, resized and smoothed as wider ones are: PyTorch takes other elements for such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class OneColumn(TorchFunctionMode):
    """Has ``interpolate(antialias=True)`` keep rows and columns apart, by which PyTorch 2.13 mixes them up."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run a function of PyTorch."""
        given = dict(kwargs or {})
        found = func(*args, **given)
        if func is not functional.interpolate or not given.get("antialias") or found.ndim != 4:
            return found
        x = given.pop("input", None) if not args else args[0]
        if 1 not in (x.shape[-1], found.shape[-1]):
            return found
        # With the channels last, and several of them, memory says which axis is which.
        several = torch.cat((x, x), 1).contiguous(memory_format=torch.channels_last)
        return func(several, *args[1:], **given)[:, : x.shape[1]].contiguous()
