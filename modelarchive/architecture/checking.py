"""Checking an architecture: limits, schemas, names, references, shapes; all problems at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from modelarchive.architecture import limits, vocabulary
from modelarchive.architecture.emitting import Emitter
from modelarchive.architecture.fitting import fitting_trial
from modelarchive.architecture.sharing import tie
from modelarchive.architecture.structure import Reader, TooManyError
from modelarchive.architecture.unreadable import Unknown
from modelarchive.errors import SpecError
from modelarchive.names import joined
from modelarchive.nn import nesting
from modelarchive.nn.block import Block
from modelarchive.nn.evaluate import Evaluator, Value
from modelarchive.nn.graph import Graph, Node
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Parameter, as_dtype
from modelarchive.nn.state import taking_back
from modelarchive.nn.trials import NoFit, Trial, advice, first_trial, last_resort


@dataclass(frozen=True)
class Checked:
    """A valid architecture, read: whoever has one need not check it again.

    Attributes:
        block: The network, its parameters without values and their shapes inferred. It belongs to this object:
            :func:`modelarchive.build` gives others like it.
        inputs: What the architecture declares.
        trial: The sizes of their free axes at which shapes were followed.
        seen: ``id(block)`` -> what the first call of each block is given.
        returned: ``id(block)`` -> what that call returns.
        results: ``(id(graph), name of a node)`` -> what the node gives, in a tuple where it is several.
    """

    block: Block
    inputs: list[dict[str, Any]]
    trial: Trial = field(repr=False)
    seen: dict[int, Sequence[Value]] = field(repr=False)
    returned: dict[int, Value] = field(repr=False)
    results: dict[tuple[int, str], Value] = field(repr=False)

    @cached_property
    def architecture(self) -> dict[str, Any]:
        """The architecture as JSON."""
        return {"vocabulary": vocabulary.VERSION, "inputs": self.inputs, "model": Emitter(self.block, {}).model()}

    @cached_property
    def content(self) -> str:
        """The architecture as text, another one where a value, a dtype of a number or an order is another.

        Who keeps the architecture where it may be changed asks for this at once, to compare it later.
        """
        return repr(self.architecture)

    def is_of(self, architecture: Mapping[str, Any]) -> bool:
        """Whether this is what an architecture was checked as, and that has stayed as it was since."""
        return self.content == repr(architecture)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Structural name -> shape of each parameter, a shared one under each of its names.

        0 is an axis that only the stored array can tell.
        """
        return {
            name: tuple([axis or 0 for axis in parameter.shape or ()])
            for name, parameter in parameters_of(self.block).items()
        }


def parameters_of(block: Block) -> dict[str, Parameter]:
    """Structural name -> parameter of a network that was read: what it holds is registered, all of it."""
    return {
        joined(path, name): parameter
        for path, owner in block.named_blocks()
        for name, parameter in owner._parameters.items()
    }


def validate(architecture: Mapping[str, Any] | Checked) -> None:
    """Check an architecture, completely.

    Args:
        architecture: What :func:`describe` returns, or the JSON of an archive.

    Raises:
        SpecError: With every problem: JSON pointer, rule, and what was expected and found.
    """
    check(architecture)


def parameter_shapes(architecture: Mapping[str, Any] | Checked) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter that an architecture has, as :attr:`Checked.shapes`.

    Raises:
        SpecError: The architecture is invalid.
    """
    return check(architecture).shapes


def check(architecture: Any) -> Checked:
    """Validate an architecture, and keep what was read for it; what is checked already is returned as it is.

    Raises:
        SpecError: With every problem.
    """
    if isinstance(architecture, Checked):
        return architecture
    problems = limits.oversized(architecture)
    if problems:
        raise SpecError(problems)
    reader = Reader()
    followed: _Followed | None = None
    block: Block = Unknown()
    try:
        reader.fits("architecture", architecture, "")
        if isinstance(architecture, dict):
            block = reader.block(architecture.get("model"), "/model", "")
            tie(block, reader.sharings, reader.tell)
            followed = _infer(architecture, block, reader)
            tell_sizes(block, reader)
    except TooManyError:
        pass
    if reader.problems or followed is None:
        raise SpecError(reader.problems, hint=None if followed is None else followed.hint)
    by, trial = followed.by, followed.trial
    found = Checked(block, architecture["inputs"], trial, by.seen, by.returned, by.results)
    found.__dict__["architecture"] = architecture  # as it was given: it need not be written again
    return found


@dataclass(frozen=True)
class _Followed:
    """How the declared inputs were followed through the network.

    Attributes:
        by: What did.
        trial: The sizes of free axes.
        hint: The next step, where none fit.
    """

    by: _Checker
    trial: Trial
    hint: str | None = None


def _infer(architecture: dict[str, Any], block: Block, reader: Reader) -> _Followed:
    """Follow the declared inputs through the network, at sizes of free axes that fit it."""
    inputs = architecture.get("inputs")
    nothing = _Followed(_Checker(reader), first_trial([]))
    if reader.problems and any(pointer.startswith("/inputs") for pointer, _, _ in reader.problems):
        return nothing
    if not isinstance(inputs, list) or not inputs:
        return nothing
    taken: set[str] = set()
    for position, each in enumerate(inputs):
        reader.named(each["name"], taken, f"/inputs/{position}")
        if (problem := _default_problem(inputs, position, block)) is not None:
            reader.tell(f"/inputs/{position}/default", "default", problem)
    if reader.problems:
        return _followed(block, last_resort(inputs), reader)
    take_back = taking_back(block)
    try:
        found = _followed(block, first_trial(inputs), reader)
    except TooManyError:
        found = nothing
    if not reader.problems or any(rule != "shape" for _, rule, _ in reader.problems):
        return found
    reader.forget()
    hint = None
    try:
        trial = fitting_trial(block, inputs, take_back)
    except NoFit as none:
        trial, hint = last_resort(inputs), advice(inputs) if none.by_size else None
    take_back()
    return replace(_followed(block, trial, reader), hint=hint)


def _followed(block: Block, trial: Trial, reader: Reader) -> _Followed:
    checker = _Checker(reader)
    try:
        checker.block(block, trial.values)
    except ValueError as error:
        reader.tell("/model", "shape", str(error))
    return _Followed(checker, trial)


def _default_problem(inputs: Sequence[Mapping[str, Any]], position: int, block: Block) -> str | None:
    """What keeps an input from being left out as it says, or from being demanded."""
    each, first = inputs[position], inputs[0]
    if "default" not in each:
        before = [other["name"] for other in inputs[:position] if "default" in other]
        return f"expected one, as {before[0]!r} before it has one" if before else None
    if position == 0:
        return "found one of the first input, whose shape the others take"
    if each["shape"] != first["shape"]:
        return f"expected the shape of {first['name']!r}, {first['shape']}, found {each['shape']}"
    if not isinstance(block, Graph | Unknown):
        return f"expected a Graph as the model, found a {type(block).__name__}"
    dtype, number = as_dtype(each["dtype"]), each["default"]
    if dtype.kind in "iub":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if number != int(number) or not low <= number <= high:
            return f"expected a whole number from {low} to {high}, which {each['dtype']} holds, found {number}"
    return None


def tell_sizes(block: Block, reader: Reader) -> None:
    """Tell parameters that are too large, alone or together."""
    total = 0
    own = {id(each): each for _, owner in block.named_blocks() for each in owner._parameters.values()}
    for parameter in own.values():
        size = math.prod([axis or 1 for axis in parameter.shape or ()])
        total += size
        if size > limits.MAX_PARAMETER:
            _tell_size(block, parameter, reader)
    if total > limits.MAX_PARAMETERS:
        reader.tell("/model", "limit", "expected at most 2**44 elements in all parameters")


def _tell_size(block: Block, parameter: Parameter, reader: Reader) -> None:
    owner, name = next(
        (owner, name)
        for _, owner in block.named_blocks()
        for name, each in owner._parameters.items()
        if each is parameter
    )
    message = f"parameter {name!r}: expected at most 2**40 elements, found shape {parameter.shape}"
    reader.tell(reader.pointers.get(id(owner), ""), "limit", message)


class _Checker(Evaluator):
    """Follows shapes, notes what does not fit, and goes on with what is unknown then."""

    def __init__(self, reader: Reader) -> None:
        self.seen: dict[int, Sequence[Value]] = {}
        self.returned: dict[int, Value] = {}
        self.results: dict[tuple[int, str], Value] = {}
        self._reader = reader
        self._known: dict[tuple[Any, ...], Value] = {}

    def block(self, block: Block, values: Sequence[Value]) -> Value:
        """Remember what each block is given first, and what it returns then."""
        self.seen.setdefault(id(block), values)
        result = super().block(block, values)
        self.returned.setdefault(id(block), result)
        return result

    def layer(self, layer: Layer, values: Sequence[Value]) -> Value:
        """What a layer returns; where several say the same, once for the same shapes."""
        content = self._reader.contents.get(id(layer))
        if content is None:
            return super().layer(layer, values)
        key = (content, *values)
        if (known := self._known.get(key)) is None:
            known = self._known[key] = super().layer(layer, values)
        return known

    def sequential(self, block: Block, values: Sequence[Value]) -> Value:
        """What others are inside of is followed once for the same shapes."""
        key = (id(block), *values)
        if key not in self._known:
            self._known[key] = super().sequential(block, values)
        return self._known[key]

    def graph(self, graph: Graph, values: Sequence[Value]) -> Value:
        """Likewise."""
        key = (id(graph), *values)
        if key not in self._known:
            self._known[key] = super().graph(graph, values)
        return self._known[key]

    def node(self, graph: Graph, node: Node, inputs: Sequence[Value]) -> Value:
        """Remember what each node gives first."""
        result = super().node(graph, node, inputs)
        self.results.setdefault((id(graph), node.name), nesting.flattened(result))
        return result

    def custom(self, block: Block, values: Sequence[Value]) -> Value:
        """What could not be read gives an unknown value."""
        return None

    def misfit(self, owner: Block, position: int | None, error: Exception) -> Value:
        """Note the problem."""
        pointer = self._reader.pointers.get(id(owner), "")
        where = pointer if position is None else f"{pointer}/nodes/{position}"
        self._reader.tell(where, "shape", str(error))
        return None
