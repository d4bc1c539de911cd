"""Transplants from file to file: the target's class is not needed, nor an architecture."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from modelarchive import names
from modelarchive.archive import Archive, write_archive
from modelarchive.errors import FormatError
from modelarchive.nn import Block, Parameter
from modelarchive.transplant.options import Options, Source
from modelarchive.transplant.plan import Plan
from modelarchive.transplant.report import Transplant
from modelarchive.transplant.stored import Stored


def write_with(
    source: Source,
    target: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: Options,
    *,
    freeze: bool | str | Iterable[str] = False,
    dry_run: bool = False,
    durable: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Transplant:
    """Write `target` with parameters of a source to `out`; neither of the two is changed.

    Args:
        source: The source's arrays.
        target: An archive of parameters or of a whole model; its architecture and texts go into `out`.
        out: The new file; it may be `target` itself.
        options: What goes where.
        freeze: As in :func:`transplant`; kept in the architecture, so it needs one.
        dry_run: Report only.
        durable: As in :func:`modelarchive.save`.
        progress: As in :func:`modelarchive.save`.

    Returns:
        What was copied into where.

    Raises:
        ParameterError: As :func:`transplant`; no file is written.
        FormatError: The target holds nested data, no parameters.
        SpecError: The target's architecture is invalid.
        ValueError: Freezing was asked for, and the target has no architecture that could keep it.
    """
    with Archive(target) as receiver:
        _check(receiver)
        if receiver.has_architecture:
            receiver.checked  # noqa: B018 - says whether it is valid
        plan = Plan(source, _skeleton(receiver).collect_params(), options)
        report = plan.report(freeze=freeze, dry_run=dry_run)
        if report.frozen and not receiver.has_architecture:
            raise ValueError("freeze needs a target with an architecture, which keeps it")
        if not dry_run:
            architecture = receiver.architecture if receiver.has_architecture else None
            if architecture is not None:
                _freeze(architecture, report.frozen)
            # A shared parameter is one object, and stays one.
            moved = {id(plan.parameters[name]): move.values for name, move in plan.moves.items()}
            arrays = {
                name: moved.get(id(parameter)) or parameter.stored
                for name, parameter in plan.parameters.items()
                if isinstance(parameter, Stored)
            }
            write_archive(out, receiver, arrays=arrays, architecture=architecture, durable=durable, progress=progress)
    return report


def _check(archive: Archive) -> None:
    """Refuse a target whose arrays are no parameters of blocks."""
    contents = archive.reader.contents
    blocks = {name[:at] for name in contents.order for at, sign in enumerate(name) if sign == "."}
    for name in contents.members or contents.order:
        problem = names.problem_with_name(name) if name else None
        if name in blocks:
            problem = f"{name!r} would be a parameter and a block"
        if problem:
            hint = "load it, transplant into the arrays, and save it"
            raise FormatError(f"holds no parameters that could receive: {problem}", file=archive.path, hint=hint)


def _skeleton(archive: Archive) -> Block:
    """Blocks with the archive's parameters and names, and no forward."""
    root = Block()
    made: dict[int, Parameter] = {}
    for name, stored in archive.deferred({name: name for name in archive.parameters}).items():
        block = root
        *parts, last = name.split(".")
        for part in parts:
            if part not in block.children:
                block.adopt(part, Block())
            block = block.children[part]
        block.adopt(last, made.setdefault(id(stored), Stored(stored)))
    return root


def _freeze(architecture: dict[str, Any], frozen_names: Iterable[str]) -> None:
    for name in frozen_names:
        block: Mapping[str, Any] = architecture["model"]
        *parts, last = name.split(".")
        for part in parts:
            children = [*block.get("children", ()), *block.get("nodes", ())]
            block = next(child["block"] for child in children if child["name"] == part and "block" in child)
        frozen = block.setdefault("frozen", [])  # type: ignore[attr-defined]
        if last not in frozen:
            frozen.append(last)
