"""Recording ``forward``: it runs on symbolic arrays, and each call and op becomes a node of a Graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelarchive.errors import ModelArchiveError
from modelarchive.nn.block import Block
from modelarchive.nn.evaluate import Evaluator, Value
from modelarchive.nn.layer import Layer
from modelarchive.nn.parameter import Parameter
from modelarchive.nn.recording import RECORDER
from modelarchive.nn.refusal import class_place, place, raised_at, refusal, refuse
from modelarchive.nn.scope import SHAPES, Recorded, Scope
from modelarchive.nn.state import changed, snapshot

_ADVICE = "make forward the same function of its inputs at every call"


def record(block: Block, inputs: Sequence[Value]) -> dict[int, Recorded]:
    """Run `block` twice on symbolic arrays, and compare.

    Unknown parameter shapes below `block` are learned from the inputs, as at a first call. Constant arrays
    that are too large to be written into an architecture are stored beside the parameters of the blocks that use them.

    Args:
        block: The network.
        inputs: What is known of each input.

    Returns:
        ``id(block)`` -> what it did, for each block below whose forward is Python code and was called.

    Raises:
        SpecError: Something cannot be recorded, with class, file and line.
    """
    first, second = _run(block, inputs), _run(block, inputs)
    for key, (owner, recorded) in first.items():
        again = second.get(key)
        if again is None or again[1] != recorded:
            where = _difference(recorded, again[1] if again else None) or class_place(owner)
            raise refusal("differs", "two recordings differ (random numbers, or changing state?)", _ADVICE, where)
    for owner, recorded in first.values():
        for name, array in recorded.arrays.items():
            parameter = Parameter(array.shape, array.dtype, trainable=False, persistent=False)
            parameter.set_data(array)
            owner.adopt(name, parameter)
    return {key: recorded for key, (_, recorded) in first.items()}


def _run(block: Block, inputs: Sequence[Value]) -> dict[int, tuple[Block, Recorded]]:
    try:
        before = snapshot(block)
    except ValueError as error:
        raise refusal("nesting", str(error), "a network is a tree of blocks", class_place(block)) from error
    tracer = Tracer(block)
    token = RECORDER.set(tracer)
    try:
        tracer.block(block, list(inputs))
    except ModelArchiveError:
        raise
    except ValueError as error:
        raise refusal("shape", str(error), SHAPES, class_place(block)) from error
    finally:
        RECORDER.reset(token)
    for owner, attribute in changed(before, snapshot(block)):
        raise refusal(
            "state",
            f"forward changes the attribute {attribute!r}",
            "a forward that is described keeps nothing; pass values as inputs and outputs",
            class_place(owner),
        )
    return tracer.recorded


def _difference(one: Recorded, two: Recorded | None) -> str | None:
    """Where the first node of `one` that `two` does not have comes from."""
    nodes = two.nodes if two is not None else ()
    for position, node in enumerate(one.nodes):
        if position >= len(nodes) or nodes[position] != node:
            return one.places[position]
    return None


class Tracer(Evaluator):
    """Evaluates shapes, and records each forward that is Python code."""

    def __init__(self, root: Block) -> None:
        self.recorded: dict[int, tuple[Block, Recorded]] = {}
        self._scopes: list[Scope] = []
        self._refusals: list[Exception] = []
        self._paths = {id(block): path for path, block in reversed(list(root.named_blocks()))}

    # ------------------------------------------------------------------ the Recorder protocol

    def call(self, block: Block, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """A forward under recording calls a block."""
        return self._scopes[-1].call(block, inputs, named)

    def parameter(self, parameter: Parameter) -> Any:
        """A forward under recording asks for a parameter's values."""
        return self._scopes[-1].parameter(parameter)

    def refused(self, error: Exception) -> None:
        """Keep the refusal, in case the user's code catches the exception."""
        self._refusals.append(error)

    def changes(self, owner: Block | Parameter, what: str) -> None:
        """Refuse that forward changes a block or parameter."""
        name = type(owner).__name__
        if isinstance(owner, Block) and id(owner) not in self._paths:
            refuse("unregistered", f"a {name} is created in forward", "create blocks in the constructor")
        refuse(
            "state",
            f"{what} on a {name} changes state during forward",
            "a forward that is described keeps nothing; use local variables, inputs and outputs",
        )

    # ------------------------------------------------------------------ evaluation

    def layer(self, layer: Layer, values: Sequence[Value]) -> Value:
        """A layer learns shapes, which is a change that is allowed."""
        token = RECORDER.set(None)
        try:
            return super().layer(layer, values)
        finally:
            RECORDER.reset(token)

    def misfit(self, owner: Block, position: int | None, error: Exception) -> Value:
        """Raise, with the block's path."""
        if isinstance(error, ModelArchiveError):
            raise error
        path = self._paths.get(id(owner), "") or "(model)"
        where = path if position is None else f"{path}, node {owner.nodes[position].name!r}"  # type: ignore[attr-defined]
        if self._scopes:
            refuse("shape", f"{where}: {error}", SHAPES)
        raise refusal("shape", str(error), SHAPES, where) from error

    def run(self, block: Block, arguments: Sequence[Any], named: Mapping[str, Any] | None = None) -> Value:
        """Record one forward.

        Args:
            block: Its owner.
            arguments: An Abstract for each array, and literals (numbers, strings, None) as they are.
            named: What is given by keyword.
        """
        scope = Scope(self, block, arguments, named or {})
        self._scopes.append(scope)
        try:
            result = block.forward(*scope.arguments, **scope.named)
        except ModelArchiveError:
            raise
        except Exception as error:
            where = place(raised_at(error.__traceback__), block)
            found = f"{type(error).__name__}: {error}"
            raise refusal("forward", found, "forward must run on symbolic arrays", where) from error
        finally:
            self._scopes.pop()
        if self._refusals:
            raise self._refusals[0]
        recorded, value = scope.finished(result)
        known = self.recorded.setdefault(id(block), (block, recorded))[1]
        if known != recorded:
            where = _difference(recorded, known) or class_place(block)
            advice = "use one block for each way it is used, or make forward independent of the input's sizes"
            raise refusal("differs", "two calls of this block do different things", advice, where)
        return value
