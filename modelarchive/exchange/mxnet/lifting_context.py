"""One operator of a symbol on its way into the graph: what the functions of the table work on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive.exchange.drawing import Ref, Report, described
from modelarchive.exchange.mxnet.drawing import SymbolBuilder, literal
from modelarchive.exchange.mxnet.symbol import VARIABLE, Entry, SymbolNode
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.parameter import as_dtype, dtype_name
from modelarchive.store.deferred import Deferred

_SUFFIX: Final = re.compile(
    r"(?:^|[._])((_unfused[._]\d+[._]([lr]_cell[._])?|[lr]\d+_)?(i2h|h2h)_(weight|bias)|parameters"
    r"|weight|bias|gamma|beta|alpha|(running|moving)_(mean|var))$"
)


#: Makes what an operator becomes: a reference, or one for each of its results.
Lift: TypeAlias = Callable[["Context"], Any]


@dataclass(frozen=True)
class Context:
    """One operator.

    Attributes:
        builder: The graph that it goes into.
        report: Where it is reported what is changed or lost.
        position: Its place among the symbol's nodes.
        used: Which of its results are used.
    """

    builder: SymbolBuilder
    report: Report
    position: int
    used: frozenset[int]

    @property
    def node(self) -> SymbolNode:
        """The symbol's node."""
        return self.builder.symbol.nodes[self.position]

    @property
    def attributes(self) -> Any:
        """Its attributes."""
        return self.node.attributes

    def __len__(self) -> int:
        """How many inputs it has."""
        return len(self.node.inputs)

    def raw(self, index: int) -> Any:
        """An input as it is known: a reference, Zeros, Packed, or None for a variable not yet asked for."""
        return self.builder.results.get(self._entry(index))

    def ref(self, index: int) -> Ref:
        """The reference to an input."""
        return self.builder.reference(self._entry(index))

    def refs(self) -> list[Ref]:
        """The references to all inputs."""
        return [self.ref(index) for index in range(len(self))]

    def _entry(self, index: int) -> Entry:
        if index >= len(self):
            raise Refusal(f"{self.node.op} has {len(self)} inputs, expected more than {index}")
        return self.node.inputs[index]

    def variable(self, index: int) -> str | None:
        """The name of the parameter that an input is; None if it is computed or an input of the model."""
        node = self.builder.symbol.nodes[self._entry(index)[0]]
        return node.name if node.op == VARIABLE and node.name in self.builder.stored else None

    def parameter(self, index: int) -> tuple[str, Deferred]:
        """Name and array of the parameter that an input is."""
        name = self.variable(index)
        if name is None:
            node = self.builder.symbol.nodes[self._entry(index)[0]]
            if node.op == VARIABLE:
                raise Refusal(f"the parameter {node.name!r} is not in the file of arrays")
            raise Refusal(f"input {index} of {self.node.op} is computed, only stored parameters are supported")
        return name, self.builder.stored[name]

    def is_known(self, index: int) -> bool:
        """Whether anything is known of the shape of an input."""
        return self.builder.value(self.ref(index)) is not None

    def rank(self, index: int) -> int:
        """How many axes an input has."""
        return len(self.shape(index))

    def axis(self, axis: int, index: int = 0) -> int:
        """An axis of an input, counted from its first.

        Raises:
            Refusal: It has none such.
        """
        rank = self.rank(index)
        if not -rank <= axis < rank:
            raise Refusal(f"there is no axis {axis} in {rank} axes")
        return axis % rank

    def shape(self, index: int) -> list[int | None]:
        """The shape of an input, None where it is free."""
        return self.builder.known(self.ref(index), self.node.op).declared

    def op(self, name: str, *refs: Ref, **arguments: Any) -> Ref:
        """Add an op of the vocabulary."""
        return self.builder.op(self.node.name, name, refs, arguments)

    @property
    def is_numpy(self) -> bool:
        """Whether the operator is one of NumPy's arrays: its truths are truths, and its dtypes promote."""
        return self.node.op.startswith("_np")

    def dtype(self, ref: Ref) -> np.dtype:
        """The dtype of a result, as far as it is known."""
        return self.builder.dtype(ref)

    def cast(self, ref: Ref, dtype: Any) -> Ref:
        """A result in another dtype; itself where that is its own."""
        wanted = as_dtype(dtype)
        return ref if self.dtype(ref) == wanted else self.op("cast", ref, dtype=dtype_name(wanted))

    def constant(self, value: float, dtype: Any = None) -> Ref:
        """Add a number, whose dtype is weak where none is said."""
        word = None if dtype is None else dtype_name(as_dtype(dtype))
        return self.builder.op(
            f"{self.node.name}_number", "constant", (), {"value": literal(value, word), "dtype": word}
        )

    def array(self, array: np.ndarray) -> Ref:
        """Add an array that is made while reading."""
        return self.builder.made(f"{self.node.name}_array", array)

    def whole(self, index: int) -> Ref:
        """An input as whole numbers; MXNet takes indices as floats, too."""
        ref = self.ref(index)
        if self.dtype(ref).kind in "iu":
            return ref
        return self.builder.op(f"{self.node.name}_indices", "cast", (ref,), {"dtype": "int64"})

    def activation(self, activation: str, ref: Ref, alpha: float | None = None) -> Ref:
        """Add an activation."""
        return self.block({"kind": "Activation", "activation": activation, "alpha": alpha}, ref)

    def block(self, config: dict[str, Any], *refs: Ref, **parameters: tuple[str, Deferred]) -> Ref:
        """Add a layer, named after its parameters.

        Args:
            config: Kind and fields.
            refs: What it is called on.
            parameters: Own name -> (name in the file, array).
        """
        stems = {_SUFFIX.sub("", stored) for stored, _ in parameters.values()}
        preferred = (stems.pop() if len(stems) == 1 else "") or self.node.name
        if parameters:
            config["dtype"] = dtype_name(next(iter(parameters.values()))[1].dtype)
        return self.builder.layer(preferred, described(config.pop("kind"), config), refs, parameters)

    def note(self, what: str) -> None:
        """Report what is changed or lost."""
        self.report.note(self.node.name, what)
