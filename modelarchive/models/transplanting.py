"""Parts of any model into any other: files and frameworks on both sides."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from modelarchive import names, tensors
from modelarchive.archive import Archive
from modelarchive.archive.loading import ways_out
from modelarchive.errors import ParameterError
from modelarchive.exchange.bundle import Bundle, deferred
from modelarchive.models.reading import arrays_of, format_of_file, read_as
from modelarchive.models.rooms import is_exported_program, is_keras_model, is_torch_module, room
from modelarchive.nn.target import TargetParameter
from modelarchive.transplant.dicts import parameters_of_dict
from modelarchive.transplant.files import write_with
from modelarchive.transplant.plan import Options, Patterns, Plan, Rows, Source
from modelarchive.transplant.report import Transplant
from modelarchive.transplant.resizing import How

#: Under this name a state_dict of PyTorch has what a module's get_extra_state() gave, of any kind.
_EXTRA_STATE: Final = "_extra_state"
#: Gives the inputs that a source declares, as its architecture has them.
Inputs: TypeAlias = Callable[[], Sequence[Mapping[str, Any]]]


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
) -> Transplant:
    """Copy parameters of one network into another of a different architecture: all that match, or nothing.

    Args:
        source: The path of any file that :func:`modelarchive.load` reads, an open archive, a network (a Block, a
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
    with _opened(source, target) as (opened, inputs):
        plan = Plan(opened, _parameters(target, inputs), options)
        report = plan.report(freeze=freeze, dry_run=dry_run)
        if report.frozen and isinstance(target, Mapping):
            raise ValueError("freeze needs a network: a state_dict does not say what is trained")
        if report.frozen and is_keras_model(target) and target.compiled:
            report.notes.append("the model was compiled before: compile the model again, or it trains as before")
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
) -> Transplant:
    """Load all parameters of a network that is there in code, by their names: all of them, or none.

    Args:
        path: As `source` of :func:`transplant`.
        target: As there.
        allow_missing: Leave alone the parameters that the source lacks.
        ignore_extra: Skip what the source has and the network lacks.
        cast_dtype: Convert what has another dtype.

    Returns:
        What was copied, with what wrappers' prefixes were taken off.

    Raises:
        ParameterError: With every missing, unexpected and mismatched name; the network is as it was.
    """
    with _opened(path, target) as (opened, inputs):
        parameters = _parameters(target, inputs)
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
            raise ParameterError.listing(
                ", nothing was loaded",
                missing=missing,
                unexpected=unexpected,
                remarks=names.remarks_on(missing, report.unexpected) | names.remarks_on(unexpected, lacking),
                hint=ways_out(missing, unexpected, {}),
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
    with _opened(source, None) as (opened, _):
        return write_with(
            opened, target, out, options, freeze=freeze, dry_run=dry_run, durable=durable, progress=progress
        )


@contextlib.contextmanager
def _opened(source: Any, target: Any) -> Iterator[tuple[Source, Inputs]]:
    """What a source gives to a target, and what tells the inputs that the source declares."""
    from modelarchive.nn import Block

    if isinstance(source, str | os.PathLike):
        try:
            with _opened_file(source, target) as found:
                yield found
        except ParameterError as error:
            error.file = error.file or os.fsdecode(source)
            raise
    elif isinstance(source, Archive):
        yield _of_archive(source)
    elif isinstance(source, Bundle):
        yield _of_bundle(source)
    elif isinstance(source, Block):
        yield Source({name: p.value() for name, p in source.collect_params().items() if p.is_initialized}), list
    elif is_keras_model(source):
        yield Source(room("keras").arrays_of(source)), list
    elif is_torch_module(source):
        yield Source(tensors.arrays_of(room("torch").named_tensors(source))), list
    elif is_exported_program(source):
        yield Source(tensors.arrays_of(source.state_dict)), list
    elif isinstance(source, Mapping):
        extra = [name for name in source if isinstance(name, str) and name.rpartition(".")[2] == _EXTRA_STATE]
        told = [f"{name!r} is left out: it is no array, module.set_extra_state() takes it" for name in extra]
        yield Source(tensors.arrays_of({k: v for k, v in source.items() if k not in extra}), notes=told), list
    else:
        expected = "a path, an archive, a network or a mapping of arrays"
        raise TypeError(f"source is {type(source).__name__}, expected {expected}")


@contextlib.contextmanager
def _opened_file(path: str | os.PathLike[str], target: Any) -> Iterator[tuple[Source, Inputs]]:
    name = format_of_file(path)
    if name == "archive":
        with Archive(path) as archive:
            yield _of_archive(archive)
    else:
        bundle = arrays_of(name, path)
        if name == "huggingface" and is_torch_module(target) and not is_keras_model(target):
            bundle = _closer(room("torch").named_tensors(target), bundle, read_as(name, path, parameters_only=True))
        elif name == "keras" and bundle.architecture is None and is_keras_model(target):
            bundle = room("keras").weights_for(target, path) or bundle
        yield _of_bundle(bundle)


def _closer(target: Mapping[str, Any], *bundles: Bundle) -> Bundle:
    """The bundle that has more of a target's names and shapes; of equal ones the first.

    A folder of transformers may be read as the vocabulary's network, with some matrices turned, and as it is stored,
    which is what transformers' own modules have.
    """
    wanted = {(tuple(name.split(".")[-2:]), tuple(tensor.shape)) for name, tensor in target.items()}

    def fitting(bundle: Bundle) -> int:
        entries = deferred(bundle.parameters).items()
        return sum((tuple(name.split(".")[-2:]), entry.shape) in wanted for name, entry in entries)

    return max(bundles, key=fitting)


def _of_archive(archive: Archive) -> tuple[Source, Inputs]:
    stored, notes = _network_in(archive)
    return Source(archive.deferred(stored), archive.tokens, notes), lambda: _inputs(
        archive.architecture if archive.has_architecture else None
    )


def _network_in(archive: Archive) -> tuple[dict[str, str], list[str]]:
    """Name -> name in the archive of a network's parameters; of a checkpoint, a dict of dicts, those of the network."""
    members = archive.reader.contents.members or {}
    key = next((each for each in names.CHECKPOINT_KEYS if members.get(each) == "dict"), None)
    if key is None or any("/" not in name for name in archive.parameters):
        return {_key(name): name for name in archive.parameters}, []
    stored = {_key(name.removeprefix(f"{key}/")): name for name in archive.parameters if name.startswith(f"{key}/")}
    others = sorted({name.partition("/")[0] for name in archive.parameters} - {key})
    note = f"its {key!r} is taken" + (f", {', '.join(map(repr, others))} beside it left alone" if others else "")
    return stored, [note]


def _key(path: str) -> str:
    """What an array was called that was saved in a dict; one that lies deeper keeps its path."""
    try:
        return path if "/" in path else str(names.decode_key(path))
    except UnicodeDecodeError:  # no name that an archive of ours has
        return path


def _of_bundle(bundle: Bundle) -> tuple[Source, Inputs]:
    told = [str(note) for note in bundle.notes if note.where == "(architecture)"]
    return Source(deferred(bundle.parameters), bundle.tokens, told), lambda: _inputs(bundle.architecture)


def _inputs(architecture: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The declared inputs of an architecture, which is checked for it."""
    if architecture is None:
        return []
    from modelarchive import spec

    spec.validate(architecture)
    return list(architecture["inputs"])


def _mistaken(target: Any) -> tuple[str, str]:
    """What was given for a target, and what to do with it."""
    if isinstance(target, Archive):
        return "Archive", ": build() gives its network, the command `transplant` writes files"
    if isinstance(target, str | os.PathLike):
        way = ": the source comes first, transplant(source, target); the command `modelarchive transplant` writes files"
        return f"a path ({os.fsdecode(target)!r})", way
    if isinstance(target, type):
        return f"the class {target.__name__}", f": make one first, {target.__name__}(...)"
    return type(target).__name__, ""


def _parameters(target: Any, inputs: Inputs) -> Mapping[str, TargetParameter]:
    """The target's parameters by name.

    Args:
        target: The network, or a ``state_dict``.
        inputs: Gives what the source says that it takes, to build a Keras model by.
    """
    from modelarchive.nn import Block

    if isinstance(target, Block):
        return target.collect_params()
    found: Mapping[str, TargetParameter]
    if is_keras_model(target):
        found = room("keras").parameters_of(target, inputs)
    elif is_torch_module(target):
        found = room("torch").parameters_of(target)
    elif isinstance(target, Mapping) and not isinstance(target, Archive):  # whose views are copies when written to
        found = parameters_of_dict(target)
    else:
        expected = "a Block, a torch.nn.Module, a keras.Model or a state_dict"
        what, way = _mistaken(target)
        raise TypeError(f"target is {what}, expected {expected}{way}")
    return found
