"""Calls of blocks on arrays: what they were given is remembered, and an error in them tells where."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from modelarchive import tensors
from modelarchive.errors import ModelArchiveError, counted
from modelarchive.nn.fitting import called_names, misfit, missized
from modelarchive.nn.signature import Called, input_names, positional
from modelarchive.ops.threads import has_team, team

#: Attribute under which a built network keeps the inputs that its architecture declares, or what finds them.
DECLARED: Final = "_declared_inputs"
#: Attribute of a network that was built: the outline of its parameters, as long as which it takes the sizes that it
#: declares and no others; None: only axes of one name are compared.
_HELD: Final = "_held_as"
#: Attribute under which a block keeps the shapes and dtypes of the last call.
_LAST: Final = "_last_call"
#: Attribute of an error on its way up.
_WAY: Final = "_modelarchive_way"
_TOLD: Final = (ValueError, TypeError, IndexError)


def run(block: Called, inputs: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Execute a block, and remember what it was given; an error gets the block's path and the inputs' shapes."""
    if _HELD in block.__dict__:
        declared, outline = block.__dict__[DECLARED], block.__dict__[_HELD]
        problem = missized(declared, called_names(block, declared), inputs, named, names_alone=outline is None)
        if problem and outline in (None, _outline(block)):  # else the caller has changed it
            raise ValueError(problem)
    try:
        if any(type(x) is not np.ndarray for x in inputs):
            inputs = [_as_numpy(x) for x in inputs]
        if named:
            named = {name: _as_numpy(x) for name, x in named.items()}
        if has_team():
            result = block.execute(*inputs, **named)
        else:
            with team():
                result = block.execute(*inputs, **named)
    except Exception as error:
        _locate(error, block, inputs, named)
        raise
    block.__dict__[_LAST] = (
        [(x.shape, x.dtype) if type(x) is np.ndarray else _noted(x) for x in inputs],
        {name: _noted(x) for name, x in named.items()} if named else None,
    )
    return result


def remember(block: Called, shape: tuple[int, ...], dtype: Any) -> None:
    """Remember what a layer was given that ran as one with others."""
    block.__dict__[_LAST] = ([(shape, dtype)], None)


def _as_numpy(value: Any) -> Any:
    """A tensor of another library as an array: networks run in NumPy."""
    is_tensor = hasattr(type(value), "__dlpack__") and not isinstance(value, np.ndarray)
    return tensors.asarray(value) if is_tensor else value


def _noted(value: Any) -> Any:
    """Shape and dtype of an array; None stays None, and what is neither is its type."""
    if value is None:
        return None
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return type(value) if shape is None or dtype is None else (tuple(shape), dtype)


def declare(block: Called, inputs: list[dict[str, Any]], *, is_recorded: bool) -> None:
    """Hold a network to the inputs that its architecture declares, as long as its parameters are of their shapes.

    It may be changed: with another first layer it takes something else.

    Args:
        block: The network.
        inputs: Its inputs.
        is_recorded: Whether a forward was recorded in it, in which a size may have decided: layers alone are the same
            at every size, and only axes of one name are compared.
    """
    block.__dict__[DECLARED] = inputs
    block.__dict__[_HELD] = _outline(block) if is_recorded else None


def _outline(block: Called) -> tuple[tuple[str, str, Any], ...]:
    """The names and shapes of its parameters, block by block."""
    return tuple(
        [
            (path, name, parameter.shape)
            for path, each in block.named_blocks()
            for name, parameter in each._parameters.items()
        ]
    )


def declare_part(block: Called, inputs: Callable[[], list[dict[str, Any]]]) -> None:
    """Let a part of a network remember what finds its inputs when they are asked for; it is not held to them."""
    block.__dict__[DECLARED] = inputs
    block.__dict__.pop(_HELD, None)


def declarations_of(block: Called) -> list[dict[str, Any]] | None:
    """The inputs that the architecture of a built network declares; None: it was not built from one.

    Raises:
        SpecError: The network is a part, and the architecture that it is of is invalid.
    """
    found = block.__dict__.get(DECLARED)
    if callable(found):
        found = block.__dict__[DECLARED] = found()
    return found


def _known_declarations(block: Called) -> list[dict[str, Any]]:
    """The same, for what is said of another error."""
    try:
        return declarations_of(block) or []
    except ModelArchiveError:
        return []


def was_called(block: Called) -> bool:
    """Whether the block has computed something from arrays."""
    return _LAST in block.__dict__


def last_inputs(block: Called) -> list[tuple[tuple[int, ...], Any]] | None:
    """Shape and dtype of each input of the block's last call, by position; None where that is not known.

    There was no call, or one with something else than arrays.
    """
    if not was_called(block):
        return None
    inputs, named = block.__dict__[_LAST]
    if named:
        ordered = getattr(block, "ordered", None)
        try:
            inputs = ordered(inputs, named) if ordered else positional(block.forward, inputs, named)
        except TypeError:  # an argument that goes by keyword only
            return None
    row = list(inputs)
    while row and row[-1] is None:
        row.pop()
    return row if row and all(isinstance(each, tuple) and len(each) == 2 for each in row) else None


# ---------------------------------------------------------------------- errors


@dataclass
class _Way:
    """How an error came up.

    Attributes:
        message: What it says.
        place: What failed in the innermost block, where that is no block: the name of a node.
        kind: The class or op that failed.
        blocks: The blocks that were called, the innermost first.
    """

    message: str
    place: str
    kind: str
    blocks: list[Called]

    def path(self) -> str:
        """The path from the outermost block to what failed."""
        down = self.blocks[::-1]
        parts = [_between(outer, inner) for outer, inner in pairwise(down)]
        return ".".join(filter(None, [*parts, self.place]))


def _between(outer: Called, inner: Called) -> str:
    """The path of a block below another; the class of one that is no child."""
    try:
        found = (path for path, block in outer.named_blocks() if block is inner and path)
        return next(found, type(inner).__name__)
    except ValueError:  # blocks that contain themselves
        return type(inner).__name__


def at_node(error: Exception, place: str, op: str, message: str) -> None:
    """Note that an op of a graph failed, before the error leaves the graph.

    Args:
        error: What was raised.
        place: The node.
        op: Its op.
        message: What to say instead.
    """
    if _is_plain(error) and _WAY not in error.__dict__:
        error.__dict__[_WAY] = _Way(message, place, op, [])


def _locate(error: Exception, block: Called, inputs: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Write the path of what failed, and what the outermost block was given, into an error."""
    if not _is_plain(error):
        return
    way = error.__dict__.get(_WAY)
    if way is None:
        kind = getattr(block, "kind", type(block).__name__)
        message = _wrong_call(block, inputs, named) if type(error) is TypeError else None
        way = _Way(message or error.args[0].removeprefix(f"{kind}: "), "", kind, [])
        error.__dict__[_WAY] = way
    way.blocks.append(block)
    path = way.path()
    is_layer = hasattr(way.blocks[0], "kind")
    label = f"{path} ({way.kind}): " if path else f"{way.kind}: " if is_layer else ""
    misfit = _misfit(block, inputs, named)
    if misfit is not None:
        error.args = (f"{misfit}; {label}{way.message}" if path or is_layer else misfit,)
    elif path or not is_layer:
        error.args = (f"{label}{way.message}; the network was given {_given(block, inputs, named)}",)
    else:
        error.args = (f"{label}{way.message}",)


def _is_plain(error: Exception) -> bool:
    return type(error) in _TOLD and len(error.args) == 1 and isinstance(error.args[0], str)


def _wrong_call(block: Called, inputs: Sequence[Any], named: Mapping[str, Any]) -> str | None:
    """That a block does not take so many inputs, or none of such a name; None where it does."""
    signature = inspect.signature(block.forward)
    try:
        signature.bind(*inputs, **named)
    except TypeError:
        taken = ", ".join(f"{each.name}=" if each.default is not each.empty else each.name for each in
                          signature.parameters.values())  # fmt: skip
        by_name = f" and {', '.join(named)} by name" if named else ""
        return f"expected the inputs ({taken}), found {counted(len(inputs), 'input')}{by_name}"
    return None


def _names(block: Called, count: int) -> list[str]:
    own: Sequence[str] = [each["name"] for each in _known_declarations(block)]
    if len(own) < count:
        try:
            own = getattr(block, "inputs", None) or input_names(block, count)
        except ValueError:
            own = ()
    return [*own[:count], *(f"input {at}" for at in range(len(own), count))]


def _given(block: Called, inputs: Sequence[Any], named: Mapping[str, Any]) -> str:
    """``x (2, 3, 28, 28), mask bool (2, 28)``."""
    pairs = [*zip(_names(block, len(inputs)), inputs, strict=True), *named.items()]
    return ", ".join(f"{name} {_text(value)}" for name, value in pairs) or "nothing"


def _text(value: Any) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return f"of type {type(value).__name__}"
    return f"{'' if str(dtype) == 'float32' else f'{dtype} '}{tuple(shape)}"


def _misfit(block: Called, inputs: Sequence[Any], named: Mapping[str, Any]) -> str | None:
    """Where the inputs are not those that the architecture of a built network declares."""
    declared = _known_declarations(block)
    return misfit(declared, called_names(block, declared), inputs, named) if declared else None
