"""Parts of any model into any other: files and frameworks on both sides."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from modelarchive import names
from modelarchive.archive.loading import ways_out
from modelarchive.errors import ParameterError
from modelarchive.models.rooms import room, system_of
from modelarchive.models.sides import opened_source, parameters_of
from modelarchive.remote import located
from modelarchive.transplant.computed import computed
from modelarchive.transplant.files import write_with
from modelarchive.transplant.options import Options, Patterns, Rows
from modelarchive.transplant.plan import Plan
from modelarchive.transplant.report import Transplant
from modelarchive.transplant.resizing import How


def transplant(
    source: Any,
    target: Any,
    *,
    select: Patterns = None,
    rename: Mapping[str, str] | None = None,
    mismatch: str = "error",
    freeze: bool | str | Iterable[str] = False,
    rows: Rows | None = None,
    cast_dtype: bool = False,
    resize: Mapping[str, How] | None = None,
    dry_run: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    cache: str | Mapping[str, Any] | None = None,
) -> Transplant:
    """Copy parameters of one network into another of a different architecture: all that match, or nothing.

    Args:
        source: The path or URL of any file that :func:`modelarchive.load` reads, an open archive, a network (a Block, a
            ``torch.nn.Module``, an ``ExportedProgram``, a ``keras.Model``), or a mapping of arrays or tensors such
            as a ``state_dict``. Only the selected arrays are read.
        target: The network that receives: a Block, a ``torch.nn.Module``, a ``keras.Model``, or a ``state_dict``.
            A Block or a lazy module need not be initialised, nor a ``keras.Model`` be built where the source tells
            its inputs: shapes not known yet come from the source.
        select: Which source parameters (``"features.*"``, or several patterns); None: all that the target has.
        rename: Source patterns -> target names: ``{"features.*": "backbone.*"}``; the first that matches counts.
            Prefixes that wrappers leave (``module.``, ``_orig_mod.``, ``model.``) need no rule: they are taken off
            where that brings a name to the target, and the report says so.
        mismatch: For shapes that differ: "error" refuses, "skip" leaves the target's values, "overlap"
            copies the region that both have, from index 0 of each axis.
        freeze: True makes what was copied not trainable; patterns of target names choose among it.
        rows: Target name -> (source words, target words): copy each row to the row of the same word ("": none), as for
            word embeddings of another vocabulary. The target's words alone suffice where the source archive
            carries its own tokens. Rows of words that the source lacks keep their values.
        cast_dtype: Convert what has another dtype than the target's parameter, instead of refusing it.
        resize: Target patterns -> how positions of another length or grid are fitted: "bicubic" (a square grid in
            one axis, or two axes), "linear" (a length), "interpolate" (the one that the shapes tell), or
            ("bicubic", (rows, columns) of the source, of the target).
        dry_run: Report only.
        storage_options: As :class:`modelarchive.Archive` takes it, where `source` is a URL.
        cache: As there.

    Returns:
        What was copied into where.

    Raises:
        ParameterError: With `select`, a selected parameter has no place in the target, or shapes or dtypes
            differ; lists all of them, and the target is as it was. Also if nothing at all matches.
        UnsupportedDataError: The source has tensors without values in memory; lists all of them.
        ValueError: Unknown policy, two source parameters renamed to one, wrong word lists, `freeze` that
            matches nothing.
    """
    options = Options(select, rename or {}, mismatch, rows or {}, cast_dtype, resize or {})
    with opened_source(located(source, storage_options, cache), target) as (opened, inputs):
        plan = Plan(opened, parameters_of(target, inputs), options)
        report = plan.report(freeze=freeze, dry_run=dry_run)
        if report.frozen and isinstance(target, Mapping):
            raise ValueError("freeze needs a network: a state_dict does not say what is trained")
        if report.frozen and (system := system_of(target)) is not None:
            report.notes.extend(room(system.name).remarks_on_freezing(target))
        if not dry_run:
            plan.carry_out(report.frozen)
    return report


def load_parameters(
    path: Any,
    target: Any,
    *,
    allow_missing: bool = False,
    ignore_extra: bool = False,
    cast_dtype: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    cache: str | Mapping[str, Any] | None = None,
) -> Transplant:
    """Load all parameters of a network that is there in code, by their names: all of them, or none.

    Args:
        path: As `source` of :func:`transplant`.
        target: As there.
        allow_missing: Leave alone the parameters that the source lacks.
        ignore_extra: Skip what the source has and the network lacks.
        cast_dtype: Convert what has another dtype.
        storage_options: As :class:`modelarchive.Archive` takes it, where `path` is a URL.
        cache: As there.

    Returns:
        What was copied, with what wrappers' prefixes were taken off.

    Raises:
        ParameterError: With every missing, unexpected and mismatched name; the network is as it was.
    """
    with opened_source(located(path, storage_options, cache), target) as (opened, inputs):
        parameters = parameters_of(target, inputs)
        try:
            plan = Plan(opened, parameters, Options(cast_dtype=cast_dtype))
        except ParameterError as error:
            if any(f"{option}=" in str(error.hint) for option in ("select", "rename", "mismatch", "resize")):
                error.hint = f"{error.hint}; transplant() takes this, load_parameters() names and shapes as they are"
            raise
        report = plan.report(freeze=False, dry_run=False)
        lacking = [name for name in report.missing if not getattr(parameters[name], "is_optional", False)]
        missing = [] if allow_missing else lacking
        unexpected = [] if ignore_extra else report.unexpected
        if missing or unexpected:
            raise ParameterError(
                ending=", nothing was loaded",
                missing=missing,
                unexpected=unexpected,
                remarks=names.remarks_on(missing, report.unexpected) | names.remarks_on(unexpected, lacking),
                hint=computed(unexpected, parameters) or ways_out(missing, unexpected, {}),
            )
        plan.carry_out([])
    return report


def transplant_file(
    source: Any,
    target: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    select: Patterns = None,
    rename: Mapping[str, str] | None = None,
    mismatch: str = "error",
    freeze: bool | str | Iterable[str] = False,
    rows: Rows | None = None,
    cast_dtype: bool = False,
    resize: Mapping[str, How] | None = None,
    dry_run: bool = False,
    durable: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Transplant:
    """Write the archive `target` with parameters of `source` to `out`; neither of the two is changed.

    Args:
        source: As in :func:`transplant`.
        target: An archive of parameters or of a whole model; its architecture and texts go into `out`.
        out: The new file; it may be `target` itself.
        select: As in :func:`transplant`, as all that follow.
        rename: Likewise.
        mismatch: Likewise.
        freeze: Likewise; kept in the architecture, so it needs one.
        rows: Likewise.
        cast_dtype: Likewise.
        resize: Likewise.
        dry_run: Report only.
        durable: As in :func:`modelarchive.save`.
        progress: As in :func:`modelarchive.save`.

    Raises:
        ParameterError: As :func:`transplant`; no file is written.
        FormatError: The target holds nested data, no parameters.
        SpecError: The target's architecture is invalid.
        ValueError: Freezing was asked for, and the target has no architecture that could keep it.
    """
    options = Options(select, rename or {}, mismatch, rows or {}, cast_dtype, resize or {})
    with opened_source(located(source), None) as (opened, _):
        return write_with(
            opened, target, out, options, freeze=freeze, dry_run=dry_run, durable=durable, progress=progress
        )
