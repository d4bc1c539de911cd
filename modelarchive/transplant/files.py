"""Transplants from file to file: the target's class is not needed, nor an architecture."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from modelarchive import names
from modelarchive.archive import Archive, write_archive
from modelarchive.archive.saving import blocks_of
from modelarchive.errors import FormatError
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
        parameters = _parameters(receiver)
        plan = Plan(source, parameters, options)
        report = plan.report(freeze=freeze, dry_run=dry_run)
        if report.frozen and not receiver.has_architecture:
            raise ValueError("freeze needs a target with an architecture, which keeps it")
        if not dry_run:
            # Where nothing is frozen its text is copied as it is.
            architecture = receiver.architecture if report.frozen else None
            if architecture is not None:
                _freeze(architecture, report.frozen)
            # A shared parameter is one object, and stays one.
            moved = {id(plan.parameters[name]): move.values for name, move in plan.moves.items()}
            arrays = {name: moved.get(id(each)) or each.stored for name, each in parameters.items()}
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


def _parameters(archive: Archive) -> dict[str, Stored]:
    """The archive's parameters, each read when it is asked for; a shared one is one object under all of its names."""
    made: dict[int, Stored] = {}
    found = {}
    for name, stored in archive.deferred({name: name for name in archive.parameters}).items():
        parameter = made.get(id(stored))
        if parameter is None:
            parameter = made[id(stored)] = Stored(stored)
            parameter.name = name.rpartition(".")[2]
        found[name] = parameter
    return found


def _freeze(architecture: dict[str, Any], frozen_names: Iterable[str]) -> None:
    blocks = dict(blocks_of(architecture))
    for name in frozen_names:
        path, _, parameter = name.rpartition(".")
        while path not in blocks:  # a kind of several layers, which speaks of their parameters
            path, _, inner = path.rpartition(".")
            parameter = f"{inner}.{parameter}"
        frozen = blocks[path].setdefault("frozen", [])  # type: ignore[attr-defined]
        if parameter not in frozen:
            frozen.append(parameter)
