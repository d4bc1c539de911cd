"""The body of a loop under construction: a Graph inside of another, which is given what it takes from around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from modelarchive import names
from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Description, Ref
from modelarchive.exchange.onnx.drawing import NestedBuilder
from modelarchive.exchange.onnx.values import NAMES_A_STEP, Constant, Operand, Several, Sizes
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.deferred import Deferred


class BodyBuilder(NestedBuilder):
    """The body of a loop.

    Args:
        around: The Graph that the loop is in.
        path: The loop's dotted name there.

    Attributes:
        others: What is taken from around it -> the input that it is.
        sizes: Name of an input -> the size that it is.
    """

    def __init__(self, around: NestedBuilder, path: str) -> None:
        budget.spend(f"the loop {path!r}", steps=len(around.stored) // NAMES_A_STEP)
        self.prefix = names.joined(around.prefix, names.joined(path, "body"))
        before = names.joined(path, "body") + "."
        own = {name.removeprefix(before): each for name, each in around.stored.items() if name.startswith(before)}
        super().__init__(own, is_own=around.is_own)
        self.owners, self.arrays, self.sources, self.rolled = (
            around.owners, around.arrays, around.sources, around.rolled,
        )  # fmt: skip
        self.others: dict[Ref, Ref] = {}
        self.sizes: dict[str, Any] = {}
        self._around = around
        self._root: NestedBuilder = around._root if isinstance(around, BodyBuilder) else around
        #: Result of a Dense without bias -> the one around, whose arrays it has, and its name.
        self._as_around: dict[Ref, tuple[Description, str]] = {}

    def free(self, preferred: str) -> str:
        """A name of the grammar that nothing here has yet."""
        return super().free(preferred.removeprefix(f"{self.prefix}."))

    def given(self, ref: Ref) -> Ref:
        """What a result of the Graph around it is here."""
        if ref not in self.others:
            name = ref.name if ref.index is None else f"{ref.name}_{ref.index}"
            self.others[ref] = self.input(name, self._around.known(ref, "a loop"))
        return self.others[ref]

    def moved(self, operand: Operand) -> Operand:
        """What the name of a value around it stands for here."""
        if isinstance(operand, Ref):
            return self.given(operand)
        if isinstance(operand, Several):
            rows = None if operand.rows is None else self.given(operand.rows)
            return Several(tuple(map(self.moved, operand.parts)), rows, operand.grows)
        if isinstance(operand, Constant) and operand.part is not None:
            constant = operand
            return replace(constant, part=lambda: self.given(self._around.reference(constant)))
        return operand

    # ---------------------------------------------------------------- values

    def _constant(self, constant: Constant, preferred: str) -> Ref:
        if constant.part is not None or self.is_literal(constant):
            return super()._constant(constant, preferred)
        named = "" if constant.changed else constant.stored
        owner = self.owners.get(named, "")
        if owner and self.inside(owner) != owner:
            return self.parameter(preferred, self.inside(owner), constant.array)
        if not owner and self.inside(named) != named:
            return super()._constant(constant, preferred)
        return self.given(self._around.reference(constant, preferred))

    def _sizes(self, array: np.ndarray, preferred: str) -> Ref:
        try:
            found = self.given(self._around.reference(Sizes(array), preferred))
        except Refusal:
            return super()._sizes(array, preferred)
        if array.ndim == 0:
            self.sizes[found.name] = array.item()
        return found

    # ---------------------------------------------------------------- layers

    def keep(self, path: str, arrays: Mapping[str, tuple[str, Deferred]]) -> Description:
        """Keep the arrays of a block, under their names in the whole model."""
        return super().keep(names.joined(self.prefix, path) if path else self.prefix, arrays)

    def stored_layer(
        self,
        preferred: str,
        kind: str,
        fields: Mapping[str, Any],
        refs: Sequence[Ref],
        parameters: Mapping[str, Constant],
    ) -> Ref:
        """Add a layer; one whose arrays have names of another place stands there too, and shares them here."""
        fresh = [each for each in parameters.values() if each.key not in self.owners]
        around = None
        if fresh and all(each.key and self.inside(each.stored) == each.stored for each in parameters.values()):
            around = self._root.declare_layer(preferred, kind, fields, parameters)
        ref = super().stored_layer(preferred, kind, fields, refs, parameters)
        if around is not None:
            self._as_around[ref] = around
        return ref

    def with_bias(self, ref: Ref, bias: Constant) -> Ref | None:
        """Give the Dense that made a result a bias; None if there is no such Dense, or it is called again."""
        around = self._as_around.get(ref)
        if around is not None and ref in self._without_bias and bias.array.shape == (around[0]["units"],):
            self._root.give_bias(*around, bias)
        return super().with_bias(ref, bias)
