"""From an architecture to a network, and from one to that of a part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelarchive import names, tensors
from modelarchive.architecture.checking import Checked, check, parameters_of
from modelarchive.architecture.cutting import cut, declared, part_of
from modelarchive.architecture.parts import Whole
from modelarchive.errors import ParameterError, SpecError
from modelarchive.nn.block import Block
from modelarchive.nn.calling import declare, declare_part
from modelarchive.nn.copying import copied
from modelarchive.nn.graph import Graph
from modelarchive.nn.parameter import Parameter
from modelarchive.nn.sequential import Sequential


def build(architecture: Mapping[str, Any] | Checked, arrays: Mapping[str, Any] | None = None) -> Block:
    """The network of an architecture; no code but this package's runs.

    Args:
        architecture: What :func:`describe` returned, or one that is checked already.
        arrays: The parameters by their structural names, kept as they are, neither copied nor cast; a
            shared parameter may stand under any of its names. None: parameters are left to
            ``initialize()``.

    Raises:
        SpecError: The architecture is invalid, with every problem.
        ParameterError: Names or shapes do not fit, with all of them.
    """
    found = check(architecture)
    # What was checked for this alone becomes the network; another's is copied.
    block = copied(found.block) if found is architecture else found.block
    if arrays is not None:
        _fill(block, arrays)
    if isinstance(block, Graph):
        places = zip(block.inputs, found.inputs, strict=False)
        block.defaults = {name: (each["default"], each["dtype"]) for name, each in places if "default" in each}
    is_recorded = any(isinstance(each, Graph) for _, each in block.named_blocks())
    declare(block, [dict(each) for each in found.inputs], is_recorded=is_recorded)
    return block


def build_part(
    whole: Whole, path: str, children: slice | None, arrays: Callable[[Iterable[str]], Mapping[str, Any]]
) -> Block:
    """The network of a part, as :func:`part` and :func:`build` make it; the rest is not read where that can be.

    Args:
        whole: The architecture.
        path: As in :func:`part`.
        children: Likewise.
        arrays: Gives the parameters of some names, which are relative to the part.

    Returns:
        The network. What its inputs are is found by following shapes through the whole, when it is asked for.

    Raises:
        SpecError: The part is invalid, or there is none.
        ParameterError: Names or shapes do not fit, with all of them.
        TypeError: `path` is no text.
    """
    _expect_texts(block=path)
    block = None if whole.is_checked else whole.read(path, children)
    if block is None:
        found = part(whole.checked, path, children)
        block = build(found, arrays(found.shapes))
        if path:
            declare_part(block, lambda: found.inputs)
        return block
    _fill(block, arrays(parameters_of(block)))
    declare_part(block, _InputsOfPart(whole, path, children))
    return block


def _expect_texts(**paths: object) -> None:
    for name, path in paths.items():
        if isinstance(path, list | tuple):
            way = "with modelarchive.open(path) as archive, archive.build() gives one after the other"
            raise TypeError(f"{name} is {path!r}, expected one path as a text: {way}")
        if not isinstance(path, str):
            raise TypeError(f"{name} is {path!r}, expected a path as a text: {name}={str(path)!r}")


@dataclass(frozen=True)
class _InputsOfPart:
    """What a part is given in the whole."""

    whole: Whole
    path: str
    children: slice | None

    def __call__(self) -> list[dict[str, Any]]:
        """Follow shapes through the whole."""
        return part(self.whole.checked, self.path, self.children).inputs


def _fill(block: Block, arrays: Mapping[str, Any]) -> None:
    by_parameter: dict[int, tuple[Parameter, list[str]]] = {}
    for name, parameter in parameters_of(block).items():
        by_parameter.setdefault(id(parameter), (parameter, []))[1].append(name)
    missing: list[str] = []
    mismatched: dict[str, tuple[str, str]] = {}
    values: list[tuple[Parameter, Any]] = []
    known: set[str] = set()
    for parameter, own in by_parameter.values():
        known.update(own)
        stored = next((name for name in own if name in arrays), None)
        if stored is None:
            missing.append(own[0])
            continue
        array = tensors.asarray(arrays[stored])
        misfit = parameter.misfit(array)
        if misfit is not None:
            mismatched[stored] = misfit
        values.append((parameter, array))
    unexpected = [name for name in arrays if name not in known]
    if missing or unexpected or mismatched:
        raise ParameterError(
            ending=" the architecture",
            missing=missing,
            unexpected=unexpected,
            mismatched=mismatched,
            remarks=names.remarks_on(unexpected, missing or sorted(known)),
        )
    for parameter, array in values:
        parameter.hold(array)


def part(
    architecture: Mapping[str, Any] | Checked,
    path: str,
    children: slice | None = None,
    *,
    until: str | None = None,
    after: str | None = None,
) -> Checked:
    """A part of a model.

    Args:
        architecture: The whole.
        path: Dotted path of a block; "" is the model itself.
        children: Which children of a Sequential to keep, under their own names; None: all.
        until: Where in the part to end, as :func:`modelarchive.architecture.cut` takes it; None: at its own end.
        after: After what in the part to begin; None: at its own inputs.

    Returns:
        A model whose parameter names are relative to the part: ``"weight"`` for the whole's
        ``"features.0.weight"`` at path ``"features.0"``. Parameters that the part shares with what lies
        outside are its own. Its inputs are what the whole gives the part; none where that is not known.

    Raises:
        SpecError: The whole is invalid, there is no such block or place, or `children` is for no Sequential.
        TypeError: `path`, `until` or `after` is no text.
    """
    _expect_texts(block=path, until=until or "", after=after or "")
    whole = check(architecture)
    if not path and children is None:
        return cut(whole, until=until, after=after)
    block = _find(whole.block, path)
    given = whole.seen.get(id(block))
    if children is not None:
        block, given = _sliced(block, path, children, whole)
    return cut(part_of(whole, block, _inputs(block, given, whole), given), until=until, after=after)


def _find(block: Block, path: str) -> Block:
    found = block
    for part_name in path.split(".") if path else []:
        child = found.children.get(part_name)
        if child is None:
            known = [each for each, _ in block.named_blocks() if each]
            near = names.near(path, known)
            hint = f"did you mean {near!r}?" if near else f"the blocks are {', '.join(known[:20])}"
            raise SpecError([("/model", "path", f"there is no block {path!r}")], path=path, hint=hint)
        found = child
    return found


def _sliced(block: Block, path: str, children: slice, whole: Checked) -> tuple[Block, Any]:
    if not isinstance(block, Sequential):
        message = f"{path or 'the model'!r} is a {type(block).__name__}: only a Sequential has a slice of children"
        raise SpecError([("/model", "path", message)], path=path, hint="name one block, or leave the slice out")
    kept = block[children]
    first = next(iter(kept), block)
    return kept, whole.seen.get(id(first))


def _inputs(block: Block, given: Any, whole: Checked) -> list[dict[str, Any]]:
    if not given:
        return []
    named = block.inputs if isinstance(block, Graph) else [f"x_{at}" if at else "x" for at in range(len(given))]
    return declared(list(zip(named, given, strict=True)), whole.trial)
