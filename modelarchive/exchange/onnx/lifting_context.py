"""One operator on its way into the graph: what the functions of the table work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np

from modelarchive import dtypes
from modelarchive.exchange import budget
from modelarchive.exchange.drawing import Ref, Report, abstract
from modelarchive.exchange.onnx.drawing import NestedBuilder
from modelarchive.exchange.onnx.model import Node
from modelarchive.exchange.onnx.values import Constant, Operand, Scope, Sizes
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn.evaluate import Abstract
from modelarchive.store.deferred import Deferred

#: Inputs that are looked at in the time that one operator takes.
_INPUTS_A_STEP: Final = 8


#: Makes what an operator becomes.
Lift: TypeAlias = Callable[["Context"], Any]


@dataclass(frozen=True)
class Context:
    """One operator.

    Attributes:
        builder: The graph that it goes into.
        report: Where it is reported what is changed or lost.
        node: The node.
        operands: What it takes.
        scope: What the names around it stand for.
        uses: How often each value is used.
        opset: The version of ONNX's operators; of one of ai.onnx.ml, that of these.
        branch: Walks a graph inside of the node, which sees a scope, in a builder of its own if one is given; gives
            its results.
        lift: Makes what the operator becomes; None: there is nothing.
        asked: Inputs that were asked for.
    """

    builder: NestedBuilder
    report: Report
    node: Node
    operands: list[Operand]
    scope: Scope
    uses: Mapping[str, int]
    opset: int
    branch: Callable[..., tuple[Operand, ...]]
    lift: Lift | None = None
    asked: set[int] = field(default_factory=set)
    _results: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What its results are called."""
        if self.node.name:
            return self.node.name.strip("/")
        return self.node.outputs[0] if self.node.outputs and self.node.outputs[0] else self.node.op

    def used(self, index: int) -> bool:
        """Whether anything takes a result."""
        outputs = self.node.outputs
        return index < len(outputs) and bool(outputs[index] and self.uses.get(outputs[index]))

    def __len__(self) -> int:
        """How many inputs it has."""
        return len(self.operands)

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        self.asked.add(index)
        return index < len(self) and self.operands[index] is not None

    def operand(self, index: int) -> Operand:
        """An input."""
        if not self.has(index):
            raise Refusal(f"{self.node.op} has no input {index}")
        return self.operands[index]

    def ref(self, index: int) -> Ref:
        """The reference to an input."""
        operand = self.operand(index)
        preferred = self.node.inputs[index] if isinstance(operand, Constant | Sizes) else self.name
        return self.builder.reference(operand, preferred)

    def unasked(self) -> list[int]:
        """Inputs that are given, and that nobody asked for."""
        return [index for index, operand in enumerate(self.operands) if operand is not None and index not in self.asked]

    def refs(self) -> list[Ref]:
        """The references to all inputs."""
        budget.spend(f"{self.node.op} {self.name!r}", steps=len(self) // _INPUTS_A_STEP)
        return [self.ref(index) for index in range(len(self))]

    def is_constant(self, index: int) -> bool:
        """Whether an input is known."""
        return self.has(index) and isinstance(self.operands[index], Constant)

    def constant(self, index: int) -> np.ndarray:
        """The values of an input."""
        stored = self.stored(index)
        budget.spend(f"{self.node.op} {self.name!r}", elements=stored.array.size)
        return stored.numpy()

    def stored(self, index: int) -> Constant:
        """An input that becomes a parameter."""
        operand = self.operand(index)
        if not isinstance(operand, Constant):
            raise Refusal(f"input {index} of {self.node.op} ({self.node.inputs[index]!r}) is computed: {_ONLY}")
        return operand

    def integers(self, index: int) -> list[int]:
        """The values of an input that is a list of integers."""
        array = self.stored(index).array
        if array.ndim > 1 or array.dtype.kind not in "iu" or array.size > 128:
            raise Refusal(f"input {index} of {self.node.op} is no list of integers")
        return [int(each) for each in self.constant(index).reshape(-1)]

    def sizes(self, index: int) -> list[Any]:
        """The same, with Dims for what is not fixed."""
        operand = self.operand(index)
        return list(operand.array.reshape(-1)) if isinstance(operand, Sizes) else self.integers(index)

    def cast_sizes(self, index: int = 0) -> Sizes | None:
        """The sizes that an input is in another dtype; None: it is none."""
        operand = self.operand(index)
        return self.builder.casts.get(operand) if isinstance(operand, Ref) else None

    def number(self, index: int) -> Any:
        """The value of an input with one element."""
        if (size := self.stored(index).array.size) != 1:
            raise Refusal(f"input {index} of {self.node.op} has {size:,} elements, expected one")
        array = self.constant(index)
        return array.reshape(-1)[0].item() if array.dtype.kind != "V" else float(array.reshape(-1)[0])

    def whole(self, index: int) -> int:
        """The value of an input with one element, a whole number."""
        found = self.number(index)
        if isinstance(found, complex) or found != found or found - found != 0 or found != int(found):
            raise Refusal(f"input {index} of {self.node.op} is {found}, expected a whole number")
        return int(found)

    def part(self, place: int) -> Callable[[], Ref]:
        """What adds the operator to the graph, where its results are known while reading too; gives one of them."""

        def result() -> Ref:
            if not self._results:
                found = None if self.lift is None else self.lift(self)
                self._results.append(found if isinstance(found, tuple) else (found,))
            ref: Ref = self._results[0][place]
            return ref

        return result

    def known(self, index: int) -> Abstract:
        """What is known of an input."""
        operand = self.operand(index)
        return abstract(operand.array) if isinstance(operand, Constant) else self.known_of(self.ref(index))

    def known_of(self, ref: Ref) -> Abstract:
        """What is known of a result."""
        return self.builder.known(ref, self.node.op)

    def shape(self, index: int) -> list[int | None]:
        """The shape of an input, None where it is free."""
        return self.known(index).declared

    def rank(self, index: int) -> int:
        """How many axes an input has."""
        return len(self.known(index).shapes[0])

    def dtype(self, index: int) -> str:
        """The word for the dtype of an input."""
        return str(self.known(index).array_dtype)

    def axis(self, found: int, index: int = 0, *, extra: int = 0) -> int:
        """An axis of an input, counted from the front.

        Args:
            found: As it stands in the file.
            index: Of which input.
            extra: How many more axes there may be.
        """
        rank = self.rank(index)
        if not -rank - extra <= found < rank + extra:
            raise Refusal(f"{self.node.op} has the axis {found}, its input has {rank}")
        return found + rank if found < 0 else found

    def op(self, name: str, *refs: Ref, **arguments: Any) -> Ref:
        """Add an op of the vocabulary."""
        return self.builder.op(self.name, name, refs, arguments)

    def literal(self, value: Any, dtype: str) -> Ref:
        """Add a number or small array."""
        return self.builder.literal(np.array(value, dtypes.DENSE[dtype]), f"{self.name}_constant")

    def fixed(self, array: np.ndarray) -> Ref:
        """Add an array that is computed while reading."""
        return self.builder.reference(Constant(Deferred.of(array)), f"{self.name}_constant")

    def counting(self, size: int) -> np.ndarray:
        """0, 1, 2, ... as int64, up to a size that is in the file."""
        self.make(size)
        return np.arange(size, dtype=np.int64)

    def make(self, elements: int) -> None:
        """Draw on what the file may have made of it.

        Raises:
            Refusal: There are less than none.
            UnsafeFileError: They are more than a file of its size may have.
        """
        if elements < 0:
            raise Refusal(f"{self.node.op} of {elements:,} elements is not supported")
        budget.spend(f"{self.node.op} {self.name!r}", elements=elements)

    def as_dtype(self, ref: Ref, dtype: str) -> Ref:
        """A result in a dtype: itself, where it has it."""
        value = self.builder.value(ref)
        if isinstance(value, Abstract) and str(value.array_dtype) == dtype:
            return ref
        return self.op("cast", ref, dtype=dtype)

    def activation(self, activation: str, ref: Ref, alpha: float | None = None) -> Ref:
        """Add an activation."""
        if self.known_of(ref).array_dtype.kind in "biuc":
            raise Refusal(f"{self.node.op} of integers is not supported")
        return self.block({"kind": "Activation", "activation": activation, "alpha": alpha}, ref)

    def block(self, config: dict[str, Any], *refs: Ref, **parameters: Constant) -> Ref:
        """Add a layer."""
        for own, each in parameters.items():
            if each.array.dtype.kind in "biuc":
                raise Refusal(f"{self.node.op} has a {own} of {each.array.dtype}, which is not supported")
        if parameters:
            config["dtype"] = str(next(iter(parameters.values())).array.dtype.newbyteorder("="))
        preferred = self.node.name if parameters and self.node.name else self.name
        arrays = {own.replace("__", "."): each for own, each in parameters.items()}
        return self.builder.stored_layer(preferred, config.pop("kind"), config, refs, arrays)

    def note(self, what: str) -> None:
        """Report what is changed or lost."""
        self.report.note(self.name, what)

    def alike(self, *indices: int) -> str:
        """The dtype that inputs share."""
        found = {self.dtype(index) for index in indices}
        if len(found) != 1:
            raise Refusal(f"{self.node.op} has inputs of the dtypes {', '.join(sorted(found))}, expected one")
        return found.pop()

    def all_of(self, name: str, refs: Sequence[Ref]) -> Ref:
        """An op of two arrays over several, from the left."""
        result = refs[0]
        for ref in refs[1:]:
            result = self.op(name, result, ref)
        return result

    def is_matrix(self, index: int) -> bool:
        """Whether an input is a stored matrix of floats."""
        operand = self.operand(index)
        return (
            isinstance(operand, Constant)
            and len(operand.array.shape) == 2
            and 0 not in operand.array.shape
            and operand.array.dtype.kind not in "biuc"
        )


_ONLY = "only a stored array or a constant is supported"
