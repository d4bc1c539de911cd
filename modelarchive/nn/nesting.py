"""Containers of outputs: tuples, lists and dicts around arrays, and how an architecture writes them.

The structure of a value is 0 for the bare array, or ``{"tuple": [...]}``, ``{"list": [...]}``,
``{"dict": {...}}`` with structures inside; the n-th array in it is the number n. The arrays of a dict count
in the order of its sorted keys, so that nothing depends on the order in which JSON was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Final

#: Containers inside each other.
MAX_DEPTH: Final = 16
_WORDS: Final[tuple[tuple[str, type], ...]] = (("tuple", tuple), ("list", list), ("dict", dict))


def is_container(value: Any) -> bool:
    """Whether `value` holds outputs instead of being one."""
    return isinstance(value, tuple | list | dict)


def leaves(value: Any) -> list[Any]:
    """What is inside the containers, in order; `value` itself where it is none."""
    if not is_container(value):
        return [value]
    items = [value[key] for key in sorted(value)] if isinstance(value, dict) else value
    return [leaf for item in items for leaf in leaves(item)]


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """`value` with `function` applied to what is inside, in the order of :func:`leaves`."""
    if isinstance(value, dict):
        found = {key: mapped(value[key], function) for key in sorted(value)}
        return {key: found[key] for key in value}
    if is_container(value):
        items = [mapped(item, function) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return function(value)


def flattened(value: Any) -> Any:
    """A container as the tuple of what is inside; anything else as it is."""
    if type(value) is tuple and not any(map(is_container, value)):
        return value
    return tuple(leaves(value)) if is_container(value) else value


def structure_of(value: Any) -> Any:
    """The structure of `value`.

    Raises:
        ValueError: A dict has a key that is no string, or containers nest too deeply.
    """
    return _structure(value, count(), MAX_DEPTH)


def _structure(value: Any, numbers: Iterator[int], depth: int) -> Any:
    if not is_container(value):
        return next(numbers)
    if depth == 0:
        raise ValueError(f"more than {MAX_DEPTH} containers inside each other")
    if isinstance(value, dict):
        wrong = next((key for key in value if type(key) is not str or len(key) > 128), None)
        if wrong is not None:
            raise ValueError(f"a dict with the key {wrong!r:.200}, which is no string of at most 128 characters")
        found = {key: _structure(value[key], numbers, depth - 1) for key in sorted(value)}
        return {"dict": {key: found[key] for key in value}}
    word = "tuple" if isinstance(value, tuple) else "list"
    return {word: [_structure(item, numbers, depth - 1) for item in value]}


def usual(number: int) -> Any:
    """The structure that needs no word: one bare array, or a tuple of several."""
    return 0 if number == 1 else {"tuple": list(range(number))}


def nested(structure: Any, arrays: Sequence[Any]) -> Any:
    """The containers of `structure` around `arrays`; the inverse of :func:`leaves`."""
    if isinstance(structure, int):
        return arrays[structure]
    for word, container in _WORDS:
        if word in structure:
            inside = structure[word]
            if container is dict:
                return {key: nested(item, arrays) for key, item in inside.items()}
            return container(nested(item, arrays) for item in inside)
    raise ValueError(f"expected tuple, list or dict, found {sorted(structure)}")


def problem_with(structure: Any, number: int) -> str | None:
    """What keeps `structure`, which its schema allows, from being that of `number` arrays."""
    try:
        again = structure_of(nested(structure, range(number)))
    except IndexError:
        return f"expected numbers below {number}, the number of outputs"
    except ValueError as error:
        return f"found {error}"
    if again != structure or sum(1 for _ in leaves(nested(structure, range(number)))) != number:
        return f"expected the numbers 0 to {number - 1}, each once and in order (of a dict: of its sorted keys)"
    return None
