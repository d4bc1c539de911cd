"""Which of the tensors of a checkpoint are a network's parameters, under which names, and what is left beside them.

A checkpoint is told by its structure: one mapping of tensors among other things. What an optimizer keeps is none of
them, whatever its key is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from modelarchive.errors import FormatError, UnsafeFileError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.torch.stored.numbers import NumpyArray
from modelarchive.exchange.torch.stored.structure import (
    Plain,
    are_optimizers,
    attributes_beside,
    entries,
    is_array,
    is_container,
    is_module,
    parts_beside,
    shape_of,
    state_of,
    stubs_in,
    with_arrays,
)
from modelarchive.exchange.torch.stored.stubs import Stub, kind_of, shown
from modelarchive.exchange.torch.stored.tensors import Tensor, Unreadable
from modelarchive.names import CHECKPOINT_KEYS

#: Dicts inside of one another, and values of metadata in all.
_MAX_DEPTH: Final = 16
_MAX_METADATA: Final = 10_000
#: Things beside the tensors of one dict that are named; of more only how many they are.
_MAX_NAMED: Final = 20
#: Attributes of a tensor that are named.
_FEW: Final = 4
#: A checkpoint inside of a checkpoint has no more entries.
_MAX_BESIDE: Final = 64
#: Words by which averages of parameters are called, which are no other parameters.
_AVERAGES: Final = ("ema", "shadow", "swa", "average")

_Entries: TypeAlias = list[tuple[Any, Any]]


@dataclass
class Found:
    """What a file holds.

    Attributes:
        arrays: Name and tensor or array, in order; a name may come twice.
        metadata: Plain values beside them.
        notes: What is left out.
        module: The class of the first whole module in it; "": there is none.
    """

    arrays: list[tuple[str, Tensor | Unreadable | NumpyArray]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    module: str = ""


def parameters_in(value: Any) -> Found:
    """The parameters in the object that a file holds.

    Raises:
        FormatError: There are none, or dicts inside of one another without end.
        UnsafeFileError: There are none, and only code would make what there is.
    """
    holders = with_arrays(value)
    if not is_array(value) and id(value) not in holders:
        raise _without_tensors(value)
    found = _Reading(holders, takes_moments=False).read(value)
    if not found.arrays:
        found = _Reading(holders, takes_moments=True).read(value)
        if not found.arrays:
            raise _without_tensors(value)
        found.notes.insert(0, Note("(names)", "these are what an optimizer keeps, and no parameters of a network"))
    return found


def _without_tensors(value: Any) -> FormatError | UnsafeFileError:
    if some := stubs_in(value):
        what = f"holds no tensors that are read without running code: {', '.join(some)}"
        hint = "if it is to hold a network, save module.state_dict() where the file comes from"
        return UnsafeFileError(what, rule="pickle", hint=hint)
    if not is_container(value):
        return FormatError(f"holds {kind_of(value)}, expected a dict of tensors")
    return FormatError("holds no tensors", hint="torch.save(module.state_dict(), path) writes some")


class _Reading:
    """One way through what a file holds.

    Args:
        holders: Ids of the containers that have arrays in them.
        takes_moments: What an optimizer keeps is taken too.
    """

    def __init__(self, holders: set[int], *, takes_moments: bool) -> None:
        self._found = Found()
        self._holders = holders
        self._takes_moments = takes_moments
        self._plain = Plain(_MAX_METADATA)
        self._beside: dict[int, _Entries] = {}
        self._attributes: list[tuple[str, str]] = []

    def read(self, top: Any) -> Found:
        """Take what is to be taken of the object that a file holds."""
        if is_array(top):
            self._take([("array", top, 0)])
        elif is_module(top):
            self._take([("", top, 0)])
        elif self._is_group(top):
            self._read_several(top)
        self._tell_several("(tensors)", self._attributes, "more with attributes that are left out")
        return self._found

    def _read_several(self, top: Any) -> None:
        inside = self._entries(top, "the file")
        if isinstance(top, list | tuple):
            self._note("(names)", "the file is a list: its tensors are called by their places, from 0")
            chosen = None
        else:
            chosen = self._chosen(inside)
        if isinstance(top, Stub):
            self._note("(the file)", f"is an object of {top.name[:80]}: what is kept are its tensors")
        if chosen is None:
            self._take([(str(key), value, 1) for key, value in inside if self._is_taken(value)])
        else:
            self._read_chosen(str(chosen), next(value for key, value in inside if key == chosen))
        for key, value in inside:
            if key != chosen and (chosen is not None or not self._is_taken(value)):
                self._leave(str(key), value)

    def _read_chosen(self, where: str, value: Any) -> None:
        """Take the mapping that the parameters are in, or the one that is in it: checkpoints lie in one another."""
        if not isinstance(value, dict) or not 0 < len(value) <= _MAX_BESIDE:
            self._take([("", value, 1)])
            return
        inside = self._entries(value, where)
        taken = [key for key, each in inside if self._is_taken(each)]
        if len(taken) != 1 or taken[0] not in CHECKPOINT_KEYS or not isinstance(value[taken[0]], dict | Stub):
            self._take([("", value, 1)])
            return
        self._take([("", value[taken[0]], 2)])
        for key, each in inside:
            if key != taken[0]:
                self._leave(f"{where}.{key}", each)

    def _chosen(self, inside: _Entries) -> Any:
        """The key of the mapping that the parameters are in; None: of all that there is."""
        groups = {key: value for key, value in inside if isinstance(value, dict | Stub) and self._is_group(value)}
        if known := next((key for key in CHECKPOINT_KEYS if key in groups), None):
            return known
        flat = {key: value for key, value in groups.items() if is_module(value) or self._is_flat(value)}
        if len(flat) != len(groups) or not flat or any(self._has_tensors(value) for _, value in inside):
            return None
        if len(flat) > 1:
            return self._not_averaged(flat)
        ((key, value),) = flat.items()
        count = sum(is_array(each) for _, each in inside)
        others = [each for _, each in inside if not is_array(each) and each is not value]
        is_told = is_module(value) or any(map(are_optimizers, others))
        # One tensor and a dict of one tensor are two parameters; with a number beside they may be as well.
        is_beside = any(not is_container(each) or self._entries(each, "a dict") for each in others)
        is_likely = is_beside and len(self._entries(value, "a dict")) > count
        return key if is_told or is_likely else None

    def _not_averaged(self, groups: Mapping[Any, Any]) -> Any:
        """Of several mappings of the same names and shapes, the one that is no average of the others; None: none."""
        own = [key for key in groups if not any(word in str(key).lower() for word in _AVERAGES)]
        if len(own) != 1:
            return None
        shapes = [{str(name): shape_of(each) for name, each in self._entries(value, str(key))}
                  for key, value in groups.items()]  # fmt: skip
        return own[0] if all(each == shapes[0] for each in shapes) else None

    def _has_tensors(self, value: Any) -> bool:
        """Whether it is a list of tensors, which are parameters as those of a dict are."""
        return isinstance(value, list) and any(isinstance(each, Tensor) for _, each in self._entries(value, "a list"))

    def _is_taken(self, value: Any) -> bool:
        return is_array(value) or self._is_group(value)

    def _is_group(self, value: Any) -> bool:
        """Whether there are tensors in it, and it is no optimizer."""
        return id(value) in self._holders and (self._takes_moments or not are_optimizers(value))

    def _is_flat(self, value: Any) -> bool:
        """Whether it is as a state_dict is: tensors under texts, most of it."""
        inside = self._entries(value, "a dict")
        return 2 * sum(isinstance(key, str) and is_array(each) for key, each in inside) >= len(inside)

    def _entries(self, value: Any, what: str) -> _Entries:
        """The entries of a container, counted each time that they are looked at: several may share it."""
        found = []
        for entry in entries(value):
            spend(f"what {what[:80]!r} holds", steps=1)
            found.append(entry)
        return found

    def _take(self, several: list[tuple[str, Any, int]]) -> None:
        """Take the tensors of values, under names put together of keys."""
        pending = several[::-1]
        in_module: set[int] = set()
        while pending:
            name, value, depth = pending.pop()
            if depth > _MAX_DEPTH:
                raise FormatError(f"holds dicts inside dicts without end, at {name[:80]!r}")
            if is_array(value):
                self._found.arrays.append((name, value))
                if isinstance(value, Tensor) and value.attributes:
                    names = ", ".join(value.attributes[:_FEW])
                    self._attributes.append((name, f"has attributes that are left out: {names}"))
                continue
            inside = self._entries(value, name)
            if isinstance(value, Stub):
                self._tell(name, value, is_told=id(value) in in_module)
            inner = [(self._joined(name, key), each, depth + 1) for key, each in inside]
            pending += [entry for entry in reversed(inner) if self._is_taken(entry[1])]
            if is_module(value):
                in_module.update(id(each) for _, each in inside)
            else:
                self._leave_several(name, [(key, each) for key, each, _ in inner if not self._is_taken(each)])

    def _joined(self, name: str, key: Any) -> str:
        joined = f"{name}.{key}" if name else str(key)
        spend("names", nbytes=len(joined))
        return joined

    def _tell(self, name: str, stub: Stub, *, is_told: bool) -> None:
        """Note what an object was of which tensors are kept."""
        where = name or "(the module)"
        if not is_module(stub):
            self._note(where, f"is an object of {stub.name[:80]}: what is kept are its tensors")
            for part in parts_beside(stub):
                if id(part) in self._holders or is_array(part[0] if isinstance(part, tuple) else None):
                    self._note(where, "is left out in part: there are tensors beside its entries")
            return
        if not is_told:
            self._found.module = self._found.module or shown(stub.name[:80])
            what = f"is a whole module of {stub.name[:80]}: its parameters and buffers are kept, its code is not run"
            self._note(where, what)
        # Several modules may share their attributes: they are looked at once.
        state = id(state_of(stub))
        if state not in self._beside:
            self._beside[state] = [entry for entry in attributes_beside(stub) if self._is_taken(entry[1])]
        self._leave_several(name, [(self._joined(name, key), value) for key, value in self._beside[state]])

    def _leave_several(self, name: str, several: list[tuple[str, Any]]) -> None:
        told = [(where, f"is left out: {self._said(value)}") for where, value in several[:_MAX_NAMED]]
        self._tell_several(name or "(the file)", told, "more entries that are left out", count=len(several))

    def _tell_several(self, name: str, told: list[tuple[str, str]], more: str, count: int | None = None) -> None:
        for where, what in told[:_MAX_NAMED]:
            self._note(where, what)
        if (passed := (len(told) if count is None else count) - _MAX_NAMED) > 0:
            self._note(name, f"has {passed:,} {more}")

    def _leave(self, key: str, value: Any) -> None:
        """Keep what is beside the parameters as metadata, or note it."""
        if is_array(value) or id(value) in self._holders or are_optimizers(value):
            self._note(key, f"is left out: {self._said(value)} beside the parameters")
            return
        name = shown(key)
        if name in self._found.metadata:
            self._note(key, "is left out: another entry has its name")
            return
        self._plain.told = []
        try:
            self._found.metadata[name] = self._plain.of(value, name)
        except ValueError as error:
            self._note(key, f"is left out: {error} beside the parameters")
        else:
            self._tell_several(key, self._plain.told, "more entries that are left out")

    def _said(self, value: Any) -> str:
        if is_array(value):
            shape = shape_of(value)
            what = "an array" if isinstance(value, NumpyArray) else "a tensor"
            return what if shape is None else f"{what} of shape {shape}"
        if are_optimizers(value):
            return "what an optimizer keeps"
        return kind_of(value) + (" with tensors in it" if id(value) in self._holders else ", no tensor")

    def _note(self, where: str, what: str) -> None:
        spend("notes", nbytes=len(where) + len(what))
        self._found.notes.append(Note(shown(where[:200]), shown(what)))
