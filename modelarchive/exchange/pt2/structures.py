"""What a program returns its arrays in, of PyTorch's description of it, without any class that this names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from modelarchive.errors import FormatError
from modelarchive.exchange.pt2.records import Record
from modelarchive.exchange.torch.stored.tensors import Tensor

_DEEPEST: Final = 50
_SEQUENCES: Final = {"builtins.tuple": tuple, "builtins.list": list}
_WHERE: Final = "out_spec"


def filler(program: Record, count: int) -> Callable[[Sequence[Any]], Any]:
    """A function that puts outputs into the containers that the program returns.

    Args:
        program: The program.
        count: How many outputs there are.

    Raises:
        FormatError: The description is none, or of another number of outputs.
    """
    text = next(
        (
            entry.record("signature").text("out_spec")
            for entry in program.record("graph_module").records("module_call_graph")
            if entry.inside("fqn") == "" and "signature" in entry
        ),
        None,
    )
    if text is None:
        return tuple
    try:
        version, spec = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError("is damaged: its description of what it returns is no JSON that can be read") from error
    if version != 1:
        raise FormatError(f"describes what it returns in a way {version!r:.20} that is not known")
    if (found := sum(1 for _ in _leaves(Record(spec, _WHERE), 0))) != count:
        raise FormatError(f"is damaged: it returns {count} values, and describes {found}")
    return lambda outputs: _filled(Record(spec, _WHERE), iter(outputs))


def _leaves(spec: Record, depth: int) -> Iterator[Record]:
    if depth > _DEEPEST:
        raise FormatError("is damaged: what it returns stands in one another without end")
    children = spec.records("children_spec")
    if spec.inside("type") is None and not children:
        yield spec
    for each in children:
        yield from _leaves(each, depth + 1)


def _filled(spec: Record, outputs: Iterator[Any]) -> Any:
    kind, children = spec.inside("type"), spec.records("children_spec")
    if kind is None and not children:
        return next(outputs)
    found = [_filled(each, outputs) for each in children]
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](found)
    names = _names(spec.inside("context"))
    return dict(zip(names, found, strict=True)) if names is not None and len(names) == len(found) else tuple(found)


def _names(context: Any) -> list[str] | None:
    """The names of what is in a dict, or in an object that is described as one."""
    try:
        found = json.loads(context) if isinstance(context, str) else context
    except (ValueError, RecursionError):
        return None
    if isinstance(found, list) and len(found) == 2 and isinstance(found[0], list):
        found = found[0]  # names, and which of the fields are None
    is_names = isinstance(found, list) and all(isinstance(each, str | int) for each in found)
    return [str(each) for each in found] if is_names and len(set(map(str, found))) == len(found) else None


def tensors_in(value: Any, depth: int = 0) -> Iterator[Tensor]:
    """The tensors in lists, tuples and dicts, in order."""
    if isinstance(value, Tensor):
        yield value
    elif depth < _DEEPEST and isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(each, depth + 1)
