"""The members of a ``.pt2`` file: its program in JSON, and where its parameters and constants lie; all as data."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.budget import reading, spend
from modelarchive.exchange.bundle import Bundle, Note, Parameters
from modelarchive.exchange.mapped import MappedFile
from modelarchive.exchange.pt2.records import Record
from modelarchive.exchange.pt2.sizes import whole
from modelarchive.exchange.torch.stored.tensors import Dtype, Storage, Tensor, Unreadable, tensor
from modelarchive.exchange.torch.stored.zips import read_zip
from modelarchive.exchange.zipped import Member, content, members
from modelarchive.formats import explain
from modelarchive.store.deferred import Deferred

#: Bytes of memory that a byte of JSON may take.
_WIDTH: Final = 32
#: The major version of the schema that is known; PyTorch has written no other since 2.5.
_SCHEMA: Final = 8
#: Numbers of dtypes, as ``torch._export.serde.schema.ScalarType`` has them.
DTYPES: Final = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
    9: "complex32", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16",
    29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz", 33: "float8_e8m0fnu",
    34: "uint32", 35: "uint64",
}  # fmt: skip
_AGAIN: Final = "where the file was made, write it again: torch.export.save(program, path)"


@dataclass(frozen=True)
class Stored:
    """A tensor of a program.

    Attributes:
        tensor: Where it lies.
        trains: Whether training changes it; None: the file does not say.
    """

    tensor: Tensor | Unreadable
    trains: bool | None = None


@dataclass
class Package:
    """What a file holds.

    Attributes:
        file: The file.
        program: The program, as its JSON has it.
        state: Name -> parameter or persistent buffer.
        constants: Name -> any other tensor that the program has.
        example: What it was exported on, in lists and dicts; None: that is not in the file.
        notes: What is left out.
    """

    file: MappedFile
    program: Record
    state: dict[str, Stored]
    constants: dict[str, Stored]
    example: Any = None
    notes: list[Note] = field(default_factory=list)

    @property
    def graph(self) -> Record:
        """The calls of the program."""
        return self.program.record("graph_module").record("graph")

    @property
    def signature(self) -> Record:
        """What its inputs and outputs are."""
        return self.program.record("graph_module").record("signature")


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Package]:
    """A file, while it is read inside of its budget.

    Raises:
        FormatError: It is no exported program, or damaged.
        UnsafeFileError: It claims more than it has.
    """
    file = MappedFile(Path(os.fsdecode(path)))
    try:
        with reading(file.path, file.size):
            yield _package(file)
    except FormatError as error:
        raise explain(error, file.path) from error


def parameters_of(package: Package) -> Bundle:
    """The parameters and persistent buffers alone, under the names that the program has for them."""
    return Bundle(Parameters(entries(package)), reason="only the parameters were asked for", notes=package.notes)


def entries(package: Package) -> dict[str, Deferred]:
    """The arrays of the state, to be read later; the same one where two are the same memory.

    Raises:
        ConversionError: Some are no arrays in memory; lists all of them.
    """
    known: dict[Any, Deferred] = {}
    problems = [(name, what) for name, each in package.state.items() if (what := each.tensor.problem) is not None]
    if problems:
        raise ConversionError(problems, hint=_AGAIN)
    found = {}
    for name, each in package.state.items():
        assert isinstance(each.tensor, Tensor)
        place = each.tensor.place if each.tensor.nbytes else (name,)
        found[name] = known.setdefault(place, each.tensor.in_file(package.file))
    return found


# ---------------------------------------------------------------------- layouts


def _package(file: MappedFile) -> Package:
    found = {each.name: each for each in members(file, most=lambda _: file.size << 10)}
    flat = found.get("serialized_exported_program.json")
    return _legacy(file, found, flat) if flat is not None else _archive(file, found)


def _archive(file: MappedFile, found: dict[str, Member]) -> Package:
    """The layout since PyTorch 2.8: one folder, with ``models``, ``data/weights`` and ``data/constants``."""
    models = [name for name in found if name.partition("/")[2].startswith("models/") and name.endswith(".json")]
    if not models:
        raise FormatError("has no program in it: compiled code is not read", hint=_AGAIN)
    if len(models) > 1:
        names = ", ".join(Path(each).stem[:40] for each in models[:4])
        raise FormatError(
            f"holds {len(models)} programs ({names}), expected one", hint="save each into a file of its own"
        )
    root, name = models[0].partition("/")[0], models[0].rpartition("/")[2].removesuffix(".json")
    inside = {each.removeprefix(f"{root}/"): member for each, member in found.items()}
    if f"data/weights/{name}.pt" in inside:  # 2.8
        state = _of_pickle(file, inside[f"data/weights/{name}.pt"])
    else:
        state = _of_config(file, inside, "data/weights", f"{name}_weights_config.json")
    if f"data/constants/{name}.pt" in inside:
        constants = _of_pickle(file, inside[f"data/constants/{name}.pt"])
    else:
        constants = _of_config(file, inside, "data/constants", f"{name}_constants_config.json")
    notes = _left_out(found, [f"{root}/{each}" for each in _OWN], extra=f"{root}/extra/")
    example = inside.get(f"data/sample_inputs/{name}.pt")
    program = _program(file, found[models[0]])
    return Package(file, program, state, constants, _value(file, example), notes)


def _legacy(file: MappedFile, found: dict[str, Member], program: Member) -> Package:
    """The layout of PyTorch 2.5 to 2.7: files of torch.save beside the program."""
    for name in ("serialized_state_dict.pt", "serialized_constants.pt"):
        if name not in found:
            raise FormatError(f"is damaged: {name} is not in it", hint=_AGAIN)
    state, constants = (_of_pickle(file, found[f"serialized_{name}.pt"]) for name in ("state_dict", "constants"))
    notes = _left_out(found, _OWN_BEFORE, extra="extra_files/")
    example = _value(file, found.get("serialized_example_inputs.pt"))
    return Package(file, _program(file, program), state, constants, example, notes)


#: How the names of members begin that PyTorch itself writes, since 2.8 and before.
_OWN: Final = ("models/", "data/", ".data/", "archive_format", "archive_version", "byteorder", "version")
_OWN_BEFORE: Final = ("serialized_", "version")


def _left_out(found: Mapping[str, Member], own: Sequence[str], *, extra: str) -> list[Note]:
    """A note on files that lie beside the program; empty ones of the user's own are none."""
    others = [name for name in found if not name.startswith(tuple(own))]
    count = sum(not name.startswith(extra) or found[name].size > 0 for name in others)
    return [Note("(file)", f"{count} extra files beside the program are left out")] if count else []


def _program(file: MappedFile, member: Member) -> Record:
    program = _json(file, member)
    version = program.record("schema_version")
    if version.whole("major") != _SCHEMA:
        what = f"is a program of the schema {version.whole('major')}, and {_SCHEMA} is known"
        raise FormatError(what, hint="write it again with a PyTorch of 2.5 or newer: torch.export.save(program, path)")
    return program


def _json(file: MappedFile, member: Member) -> Record:
    name = member.name[:80]
    spend(name, nbytes=_WIDTH * member.size)
    try:
        return Record(json.loads(content(file, member)), name)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"is damaged: {name!r} is no JSON that can be read: {str(error)[:80]}") from error


# ---------------------------------------------------------------------- tensors


def _of_config(file: MappedFile, inside: Mapping[str, Member], folder: str, name: str) -> dict[str, Stored]:
    """Tensors as raw bytes, which a list in JSON tells."""
    if f"{folder}/{name}" not in inside:
        raise FormatError(f"is damaged: '{folder}/{name}' is not in it", hint=_AGAIN)
    found = {}
    for key, entry in _json(file, inside[f"{folder}/{name}"]).items("config"):
        spend(key[:80], steps=1)
        path = entry.text("path_name")
        member = inside.get(f"{folder}/{path}")
        if member is None:
            raise FormatError(f"is damaged: '{folder}/{path[:80]}' is not in it", hint=_AGAIN)
        if "tensor_meta" not in entry:
            found[key] = Stored(Unreadable("is an object of a class of somebody's own, which only code makes"))
        elif entry.truth("use_pickle"):
            found[key] = _only(_value(file, member))
        else:
            found[key] = _raw(member, entry.record("tensor_meta"), is_parameter=entry.truth("is_param"))
    return found


def _raw(member: Member, meta: Record, *, is_parameter: bool) -> Stored:
    code = meta.whole("dtype")
    if code not in DTYPES:
        raise FormatError(f"is damaged: {meta.where} has the dtype {code}, which is none")
    if member.is_compressed:
        raise FormatError(f"has {member.name[:80]!r} compressed, which PyTorch never writes", hint=_AGAIN)
    shape, strides = ([whole(each) for each in meta.records(key)] for key in ("sizes", "strides"))
    storage = Storage(member.name, None, member.size, member.offset)
    found = tensor(storage, Dtype(DTYPES[code]), whole(meta.record("storage_offset")), shape, strides)
    return Stored(found, meta.truth("requires_grad") if is_parameter else False)


def _of_pickle(file: MappedFile, member: Member) -> dict[str, Stored]:
    """Tensors that torch.save wrote as a dict."""
    value = _value(file, member)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise FormatError(f"is damaged: {member.name[:80]!r} holds no dict of tensors", hint=_AGAIN)
    return {key: _only(each) for key, each in value.items()}


def _only(value: Any) -> Stored:
    if isinstance(value, Tensor | Unreadable):
        return Stored(value)
    return Stored(Unreadable("is an object of a class of somebody's own, which only code makes"))


def _value(file: MappedFile, member: Member | None) -> Any:
    """What torch.save wrote into a member; None where there is none."""
    if member is None or not member.size:
        return None
    if member.is_compressed:
        raise FormatError(f"has {member.name[:80]!r} compressed, which PyTorch never writes", hint=_AGAIN)
    found = read_zip(file.part(member.offset, member.size))
    for each in found.storages:  # which are told from those of other members, and lie in the whole file
        each.key, each.place = f"{member.name}/{each.key}", (each.place or 0) + member.offset
    return found.value
