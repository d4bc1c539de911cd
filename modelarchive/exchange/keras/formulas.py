"""Formulas as Python writes them: tensors of a graph under construction that are added, compared and chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelarchive.exchange.drawing import Ref
from modelarchive.exchange.keras.lifting_context import Context


@dataclass(frozen=True, eq=False)
class Term:
    """A tensor in a formula; what is computed with it becomes nodes of the graph.

    Attributes:
        context: The layer or operation that the nodes are for.
        ref: The tensor.
    """

    context: Context
    ref: Ref

    def op(self, name: str, *others: Any, **arguments: Any) -> Term:
        """An op of the vocabulary on this tensor and others, or numbers, behind it."""
        refs = [self._ref(each) for each in others]
        return Term(self.context, self.context.op(name, self.ref, *refs, **arguments))

    def _ref(self, value: Any) -> Ref:
        return value.ref if isinstance(value, Term) else self.context.constant(value)

    def of(self, value: float) -> Term:
        """A number beside this tensor."""
        return Term(self.context, self.context.constant(value))

    def activated(self, name: str) -> Term:
        """An activation of the vocabulary."""
        return Term(self.context, self.context.plain("Activation", self.ref, activation=name))

    def cast(self, dtype: str) -> Term:
        """The same in another dtype."""
        return self.op("cast", dtype=dtype)

    def where(self, one: Any, other: Any) -> Term:
        """`one` where this is true, else `other`; one of them at least is no number."""
        return self.op("where", one, other)

    def __add__(self, other: Any) -> Term:
        """The sum, element by element."""
        return self.op("add", other)

    def __radd__(self, other: float) -> Term:
        """The sum with a number."""
        return self.of(other).op("add", self)

    def __sub__(self, other: Any) -> Term:
        """The difference, element by element."""
        return self.op("subtract", other)

    def __rsub__(self, other: float) -> Term:
        """A number less this."""
        return self.of(other).op("subtract", self)

    def __mul__(self, other: Any) -> Term:
        """The product, element by element."""
        return self.op("multiply", other)

    def __rmul__(self, other: float) -> Term:
        """The product with a number."""
        return self.of(other).op("multiply", self)

    def __truediv__(self, other: Any) -> Term:
        """The quotient, element by element."""
        return self.op("divide", other)

    def __rtruediv__(self, other: float) -> Term:
        """A number divided by this."""
        return self.of(other).op("divide", self)

    def __pow__(self, other: Any) -> Term:
        """This to a power."""
        return self.op("power", other)

    def __rpow__(self, other: float) -> Term:
        """A number to the power of this."""
        return self.of(other).op("power", self)

    def __neg__(self) -> Term:
        """The negative."""
        return self.op("negative")

    def __abs__(self) -> Term:
        """The absolute value."""
        return self.op("abs")

    def __lt__(self, other: Any) -> Term:
        """Where this is less."""
        return self.op("less", other)

    def __gt__(self, other: Any) -> Term:
        """Where this is greater."""
        return self.op("greater", other)

    def __and__(self, other: Any) -> Term:
        """Where both are true."""
        return self.op("minimum", other)

    def __or__(self, other: Any) -> Term:
        """Where either is true."""
        return self.op("maximum", other)

    def __invert__(self) -> Term:
        """Where it is not true."""
        return self.equal(Term(self.context, self.context.constant(False, "bool")))

    def equal(self, other: Any) -> Term:
        """Where both are equal."""
        return self.op("equal", other)

    @property
    def is_number(self) -> Term:
        """Where it is no NaN."""
        return self.equal(self)
