"""The inputs of a program in a file: their shapes, which axes may have any size, and what it is exported on anew."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import torch

from modelarchive.errors import FormatError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.pt2 import sizes, structures
from modelarchive.exchange.pt2.files import DTYPES, Package
from modelarchive.exchange.pt2.records import Record
from modelarchive.exchange.torch.tensors import tensor_of

#: Elements of an axis that is free, where the file does not say on what it was exported.
_SIDE: Final = 4


class Inputs:
    """What a program takes.

    Args:
        package: What the file holds.
        names: The inputs, as the file calls them.
    """

    def __init__(self, package: Package, names: list[str]) -> None:
        self._package = package
        self._names = names

    def free(self) -> list[list[int]]:
        """The axes of each that may have any size."""
        return [
            [axis for axis, size in enumerate(shape) if not isinstance(size, int)]
            for shape in map(self._shape, self._names)
        ]

    def _shape(self, name: str) -> list[Any]:
        """The shape of an input: whole numbers, and expressions as text."""
        meta = self._meta(name)
        found: list[Any] = []
        for size in meta.records("sizes"):
            word, value = size.only()
            text = Record(value, size.where).text("expr_str") if word == "as_expr" else ""
            found.append(text or sizes.whole(size))
        return found

    def _meta(self, name: str) -> Record:
        metas = self._package.graph.inside("tensor_values")
        return Record(metas.get(name) if isinstance(metas, dict) else None, f"tensor_values[{name[:80]!r}]")

    def example(self) -> list[torch.Tensor]:
        """What it is exported on anew: what it was exported on, or zeros of such sizes."""
        if (given := self._given()) is not None and all(
            tensor.shape[axis] > 1 for tensor, free in zip(given, self.free(), strict=True) for axis in free
        ):
            return given
        values: dict[str, int] = {}
        for name in self._names:
            for size in self._meta(name).records("sizes"):
                word, value = size.only()
                about = Record(value, size.where) if word == "as_expr" else None
                if about is None or not (found := sizes.symbols_of(about.text("expr_str"))):
                    continue
                hint = about.record("hint").inside("as_int") if "hint" in about else None
                is_alone = about.text("expr_str") in found or about.text("expr_str").startswith("Symbol(")
                for symbol in found:
                    known = hint if is_alone and type(hint) is int and 1 < hint < 1 << 20 else None
                    if known is not None or symbol not in values:
                        values[symbol] = known or _SIDE
        return [self._zeros(name, values) for name in self._names]

    def _given(self) -> list[torch.Tensor] | None:
        """The inputs that it was exported on, where they are in the file, and fit."""
        found = list(structures.tensors_in(self._package.example))
        if len(found) != len(self._names) or any(each.problem for each in found):
            return None
        for each, name in zip(found, self._names, strict=True):
            shape = self._shape(name)
            fits = len(shape) == len(each.shape) and all(
                size == own or not isinstance(size, int) for size, own in zip(shape, each.shape, strict=True)
            )
            if not fits or each.dtype.name != DTYPES.get(self._meta(name).whole("dtype")):
                return None
            spend("an input", elements=math.prod(each.shape))
        return [tensor_of(each.in_file(self._package.file).read()) for each in found]

    def _zeros(self, name: str, values: Mapping[str, int]) -> torch.Tensor:
        shape = [size if isinstance(size, int) else sizes.computed(size, values) for size in self._shape(name)]
        code = self._meta(name).whole("dtype")
        if min(shape, default=0) < 0 or code not in DTYPES:
            raise FormatError(f"is damaged: its input {name[:80]!r} is of shape {shape} and dtype {code}")
        spend(f"an input of shape {shape}", elements=math.prod(shape))
        return torch.zeros(shape, dtype=getattr(torch, DTYPES[code]))
