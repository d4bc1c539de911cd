"""Whether what a network is given is what its architecture declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelarchive.nn.axes import Inputs, described, unequal


def called_names(block: object, declared: Inputs) -> list[str]:
    """What the inputs are called in a call: a Graph goes by its own names where the declared ones are others."""
    own = getattr(block, "inputs", ())
    return list(own) if len(own) == len(declared) else [each["name"] for each in declared]


def misfit(declared: Inputs, names: Sequence[str], inputs: Sequence[Any], named: Mapping[str, Any]) -> str | None:
    """What is wrong with the arguments of a call, in words; None where nothing is.

    Args:
        declared: The inputs as an architecture declares them.
        names: What each is called.
        inputs: What is given by position.
        named: What is given by name.
    """
    if unknown := [name for name in named if name not in names]:
        return f"there is no input {', '.join(map(repr, unknown))}: the network takes {', '.join(names)}"
    if twice := [name for name in named if name in names[: len(inputs)]]:
        return f"the input {', '.join(map(repr, twice))} is given twice: the network takes {', '.join(names)}"
    if len(inputs) + len(named) > len(names):
        return f"expected {len(names)} inputs ({', '.join(names)}), found {len(inputs) + len(named)}"
    given = dict(zip(names, inputs, strict=False)) | dict(named)
    if missing := [
        name for name, each in zip(names, declared, strict=True) if name not in given and "default" not in each
    ]:
        return f"the input {', '.join(map(repr, missing))} is missing: the network takes {', '.join(names)}"
    return next(_differences(names, declared, given), None)


def missized(
    declared: Inputs,
    names: Sequence[str],
    inputs: Sequence[Any],
    named: Mapping[str, Any],
    *,
    names_alone: bool = False,
) -> str | None:
    """What is wrong with the sizes of a call's arguments, in words; None where nothing is.

    What a network does with a fixed size is decided: at another one it may run, and be another network.

    Args:
        declared: As :func:`misfit` takes it, and what follows.
        names: Likewise.
        inputs: Likewise; what has no shape is not looked at.
        named: Likewise.
        names_alone: Compare the axes of one name, and no fixed sizes.
    """
    if len(inputs) + len(named) > len(names):
        return None
    given = dict(zip(names, inputs, strict=False)) | dict(named)
    shapes = [getattr(given.get(name), "shape", None) for name in names]
    if names_alone or all(
        shape is None or _has_sizes(shape, each) for shape, each in zip(shapes, declared, strict=True)
    ):
        return next(unequal(declared, names, shapes), None)
    problem = next(_differences(names, declared, given), None)
    ways = {
        each["name"]: tuple(
            [
                None if isinstance(size, int) and size != found else size
                for size, found in zip(each["shape"], shape, strict=True)
            ]
        )
        for each, shape in zip(declared, shapes, strict=True)
        if shape is not None and len(shape) == len(each["shape"]) and not _has_sizes(shape, each)
    }
    return f"{problem}; load it with inputs={ways} for other sizes" if problem and ways else problem


def _has_sizes(shape: Sequence[int], declared: Mapping[str, Any]) -> bool:
    sizes = declared["shape"]
    return len(shape) == len(sizes) and all(
        size == found for size, found in zip(sizes, shape, strict=True) if isinstance(size, int)
    )


def _differences(names: Sequence[str], declared: Inputs, given: Mapping[str, Any]) -> Iterator[str]:
    for name, each, text in zip(names, declared, described(declared), strict=True):
        value = given.get(name)
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if shape is None or dtype is None:
            continue
        if not _has_sizes(shape, each) or _sort(dtype) != _sort(each["dtype"]):
            yield f"input {name}: expected {text}, found {str(dtype).removeprefix('torch.')} {tuple(shape)}"


def _sort(dtype: Any) -> str:
    """Whole numbers, real ones, or others: within these a network takes any."""
    name = str(dtype)
    return next((sort for sort in ("int", "float", "complex", "bool") if sort in name), name)
