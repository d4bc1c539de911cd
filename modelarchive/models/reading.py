"""Read a file of any format that is known, recognised by its content."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.bundle import Bundle, Note, bundle_of
from modelarchive.formats import FORMATS, explain, is_certain, recognise
from modelarchive.formats.commands import convert_line
from modelarchive.formats.systems import listed
from modelarchive.models.rooms import room
from modelarchive.remote import expect_path, located
from modelarchive.store.source import Source

if TYPE_CHECKING:
    from modelarchive.architecture.declarations import Inputs


def read(
    path: str | os.PathLike[str],
    *,
    inputs: Inputs | None = None,
    parameters_only: bool = False,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    base: str | os.PathLike[str] | None = None,
    until: str | Sequence[str] | None = None,
    variant: str | None = None,
    dtype: str | None = None,
) -> Bundle:
    """Read a file of any format that is known, recognised by its content.

    Args:
        path: The file, or a Hugging Face folder.
        inputs: As in :func:`convert`.
        parameters_only: As in :func:`convert`.
        config: As in :func:`convert`.
        base: As in :func:`convert`.
        until: As in :func:`convert`.
        variant: As in :func:`convert`.
        dtype: As in :func:`convert`, of a source.

    Returns:
        Architecture (or why there is none), parameters, metadata, and notes of what was changed or lost.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is of no format that is known, or damaged, or something else, which is called by its name.
        UnsafeFileError: It breaks a safety rule.
        ConversionError: It holds what cannot be read; lists all of it.
    """
    path = located(path)
    name = format_of_file(path)
    options: dict[str, Any] = {}
    for option, value in (("config", config), ("base", base), ("until", until), ("variant", variant)):
        if value is not None:
            options[option] = _belonging(name, option, value)
    if dtype is not None:
        options["dtype"] = _read_as(name, dtype)
    takes = FORMATS[name].inputs
    if inputs is not None and not FORMATS[name].values:
        _refuse_values(inputs)
    if inputs is None or not takes or parameters_only:
        return declared(read_as(name, path, parameters_only=parameters_only, **options), inputs)
    from modelarchive.architecture.declarations import given_inputs

    said = given_inputs(inputs)
    return read_as(name, path, inputs=[each.get("name") for each in said] if takes == "names" else said, **options)


def format_of_file(path: str | os.PathLike[str]) -> str:
    """The name of a file's format; of an HDF5 file that does not say whose it is, HDF5 is asked.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is of no format that is known.
        TypeError: It is no path.
    """
    expect_path(path)
    name = recognise(path)
    if is_certain(path, name):
        return name
    from modelarchive.store.guarded import boundary

    with contextlib.closing(Source(path)) as source:
        try:
            boundary.read_contents(source)
        except FormatError as error:
            # What HDF5 cannot read, or is of a newer format, is nobody else's.
            return name if error.message.startswith("is an HDF5 file, but no") else "archive"
    return "archive"


def read_as(name: str, path: str | os.PathLike[str], *, parameters_only: bool = False, **options: Any) -> Bundle:
    """Read a file of a known format; "archive" too."""
    if name == "archive":
        bundle = bundle_of(path)
    else:
        alone = {"parameters_only": True} if parameters_only and FORMATS[name].alone else {}
        try:
            bundle = room(name).read(path, **options, **alone)
        except FormatError as error:
            explained = error if error.hint else explain(error, path)
            explained.hint = explained.hint or f"as {FORMATS[name].what} it is damaged, or cut short: {_AGAIN}"
            raise explained from error
        except ConversionError as error:
            if FORMATS[name].alone and not parameters_only:
                own = (error.hint or "").partition(_STILL)[0].rstrip("; ")  # a reader cannot name the target
                error.hint = "; ".join(filter(None, [own, _alone(path)]))
            raise
    return without_architecture(bundle) if parameters_only else bundle


_STILL: Final = "its parameters still come"
_AGAIN: Final = "take it from where it came from again"
#: Why there is no architecture where nobody wanted one.
_ASKED: Final = "only the parameters were asked for"


def arrays_of(name: str, path: str | os.PathLike[str]) -> Bundle:
    """A file's parameters; they need no architecture, and come without it where it cannot be said."""
    try:
        bundle = read_as(name, path)
        return replace(bundle, notes=_of_the_parameters(bundle))
    except ConversionError as error:
        if not FORMATS[name].alone:
            raise
        try:
            bundle = read_as(name, path, parameters_only=True)
        except ConversionError:
            raise error from None
        some = "; ".join(f"{where}: {what}" for where, what in error.unsupported[:3])
        more = "; ..." if len(error.unsupported) > 3 else ""
        note = Note("(architecture)", f"there is none, only the arrays under the file's own names: {some}{more}")
        return replace(bundle, notes=[note, *_of_the_parameters(bundle)])


def _alone(path: str | os.PathLike[str]) -> str:
    """How the parameters come without the architecture that was refused."""
    command = convert_line(Path(os.fsdecode(path)), parameters_only=True)
    return f"{_STILL}: `{command}` keeps them, load() gives them"


def without_architecture(bundle: Bundle) -> Bundle:
    """The parameters alone, as they were asked for."""
    return bundle if bundle.architecture is None else replace(bundle, architecture=None, reason=_ASKED)


def notes_of(name: str, bundle: Bundle) -> list[Note]:
    """What reading changed or lost; first that there is no architecture, and why, where one was expected."""
    if bundle.architecture is not None or (not FORMATS[name].models and bundle.reason != _ASKED):
        return bundle.notes
    why = bundle.reason or "the file holds parameters only"
    return [Note("(architecture)", f"there is none: {why}"), *_of_the_parameters(bundle)]


def _of_the_parameters(bundle: Bundle) -> list[Note]:
    """The notes on what is there: a room may have one on an architecture that is not."""
    return [note for note in bundle.notes if bundle.architecture is not None or note.where != "(architecture)"]


def _belonging(name: str, option: str, value: Any) -> Any:
    """What lies beside the file, if its reader takes such."""
    if not getattr(FORMATS[name], option):
        files = listed(found for known in FORMATS.values() if (found := getattr(known, option)))
        raise ValueError(f"{option} is for {files}, the source is {FORMATS[name].what}")
    return value


def _read_as(name: str, dtype: str) -> str:
    """A dtype, if the file's reader takes one."""
    known = FORMATS[name].reads_as
    if not known:
        files = listed(each.what for each in FORMATS.values() if each.reads_as)
        raise ValueError(f"dtype is for {files}, the source is {FORMATS[name].what}")
    if dtype not in known:
        raise ValueError(f"dtype is {dtype!r}, expected {listed(map(repr, known), last='or')}")
    return dtype


def _refuse_values(inputs: Inputs) -> None:
    """Refuse values of inputs where the reader does not compute with them."""
    from modelarchive.architecture.declarations import given_inputs

    if given := [each for each in given_inputs(inputs) if "value" in each]:
        files = listed(each.what for each in FORMATS.values() if each.values)
        first = str(given[0].get("name", "?"))
        raise ConversionError(
            [(first, f"is given the value {given[0]['value']}, and that is for {files} only")],
            hint="declare its shape and dtype, and give the value when the model runs",
        )


def declared(bundle: Bundle, inputs: Inputs | None) -> Bundle:
    """The same model with other inputs declared, which must fit it; what is not said of them is as it was."""
    if inputs is None:
        return bundle
    _refuse_values(inputs)
    if bundle.architecture is None:
        hint = "inputs belong to whole models: leave them out"
        raise ConversionError([("(inputs)", f"are not known without an architecture: {bundle.reason}")], hint=hint)
    from modelarchive.architecture import build, check
    from modelarchive.architecture.declarations import by_name, given_inputs
    from modelarchive.architecture.declaring import declared_inputs

    checked = bundle.checked()
    own = {each["name"]: each for each in checked.inputs}
    said = given_inputs(inputs)
    is_by_name = len(said) != len(own) or isinstance(inputs, Mapping) or all(each.get("name") in own for each in said)
    if own and is_by_name:
        new = by_name(said, list(own))
        said = [each | new.get(name, {}) for name, each in own.items()]
    elif own:  # in their order, by other names
        said = [old | new for old, new in zip(own.values(), said, strict=True)]
    model = check(bundle.architecture | {"inputs": declared_inputs(build(checked), said)})
    return replace(bundle, architecture=model.architecture, known=model)


def refuse_verify(path: str | os.PathLike[str], name: str) -> NoReturn:
    """Say that a file of this format has no digests."""
    hint = "load it without verify=True, or convert it into an archive"
    what = (
        f"{FORMATS[name].what}, which has" if is_certain(path, name) else "an HDF5 file, but no model archive: it has"
    )
    raise FormatError(f"is {what} no digests to verify", file=path, hint=hint)
