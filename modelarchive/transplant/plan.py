"""Move parameters from one network into another: select, rename, match, and copy all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelarchive import names
from modelarchive.archive import Archive
from modelarchive.errors import ParameterError, counted
from modelarchive.nn import Block, Parameter
from modelarchive.store.deferred import Deferred
from modelarchive.transplant.report import Transplant
from modelarchive.transplant.stored import shape_of

Patterns = str | Iterable[str] | None
Source = str | os.PathLike[str] | Archive | Block | Mapping[str, np.ndarray]
#: Target parameter -> (words of the source's rows, words of the target's rows).
Rows = Mapping[str, tuple[Sequence[str], Sequence[str]] | Sequence[str]]

POLICIES: Final = ("error", "skip", "overlap")


def transplant(
    source: Source,
    target: Block,
    *,
    select: Patterns = None,
    rename: Mapping[str, str] | None = None,
    mismatch: str = "error",
    freeze: bool | str | Iterable[str] = False,
    rows: Rows | None = None,
    dry_run: bool = False,
) -> Transplant:
    """Copy parameters of one network into another of a different architecture: all that match, or nothing.

    Args:
        source: A path of an archive, an open archive, a block, or a mapping of arrays. Only the selected
            arrays are read.
        target: The network that receives. It need not be initialised: shapes not known yet come from the source.
        select: Which source parameters (``"features.*"``, or several patterns); None: all that the target has.
        rename: Source patterns -> target names: ``{"features.*": "backbone.*"}``; the first that matches counts.
        mismatch: For shapes that differ: "error" refuses, "skip" leaves the target's values, "overlap"
            copies the region that both have, from index 0 of each axis.
        freeze: True makes what was copied not trainable; patterns of target names choose among it.
        rows: Target name -> (source words, target words): copy each row to the row of the same word ("": none), as for
            word embeddings of another vocabulary. The target's words alone suffice where the source archive
            carries its own tokens. Rows of words that the source lacks keep their values.
        dry_run: Report only.

    Returns:
        What was copied into where.

    Raises:
        ParameterError: With `select`, a selected parameter has no place in the target, or shapes or dtypes
            differ; lists all of them, and the target is as it was. Also if nothing at all matches.
        ValueError: Unknown policy, two source parameters renamed to one, wrong word lists, `freeze` that
            matches nothing.
    """
    if not isinstance(target, Block):
        raise TypeError(f"target is {type(target).__name__}, expected a modelarchive.nn.Block")
    if isinstance(source, str | os.PathLike):
        with Archive(source) as archive:
            return transplant(
                archive,
                target,
                select=select,
                rename=rename,
                mismatch=mismatch,
                freeze=freeze,
                rows=rows,
                dry_run=dry_run,
            )
    plan = planned(source, target, select=select, rename=rename, mismatch=mismatch, rows=rows)
    report = plan.report(freeze=freeze, dry_run=dry_run)
    if not dry_run:
        plan.carry_out(report.frozen)
    return report


def planned(
    source: Archive | Block | Mapping[str, np.ndarray],
    target: Block,
    *,
    select: Patterns = None,
    rename: Mapping[str, str] | None = None,
    mismatch: str = "error",
    rows: Rows | None = None,
) -> Plan:
    """What :func:`transplant` would do; arrays of an archive are not read for it."""
    if mismatch not in POLICIES:
        raise ValueError(f"mismatch is {mismatch!r}, expected one of {', '.join(POLICIES)}")
    arrays = _arrays(source)
    plan = Plan(arrays, target, mismatch=mismatch, words=_words(source, rows or {}, rename or {}, arrays))
    plan.match(names.select(arrays, select), rename or {}, strict=select is not None)
    return plan


def _arrays(source: Archive | Block | Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray | Deferred]:
    if isinstance(source, Archive):
        return {**source.deferred({name: name for name in source.parameters})}
    if isinstance(source, Block):
        return {name: p.value() for name, p in source.collect_params().items() if p.is_initialized}
    if isinstance(source, Mapping):
        return source
    raise TypeError(f"source is {type(source).__name__}, expected a path, Archive, Block or mapping of arrays")


def _words(
    source: object, rows: Rows, rename: Mapping[str, str], arrays: Mapping[str, np.ndarray | Deferred]
) -> dict[str, tuple[list[str], list[str]]]:
    """Both word lists of each target name; the source's from the archive where only the target's are given."""
    stored = source.tokens if isinstance(source, Archive) else {}
    by_target = {names.rename(name, rename): words for name, words in stored.items()}
    found = {}
    for name, words in rows.items():
        if isinstance(words, tuple) and len(words) == 2 and not isinstance(words[0], str):
            ours, theirs = list(words[0]), list(words[1])
        elif name in by_target:
            ours, theirs = list(by_target[name]), [str(word) for word in words]
        else:
            raise ValueError(f"rows[{name!r}]: the source carries no words for it, give (source words, target words)")
        for side in (ours, theirs):
            known = [word for word in side if word]  # "" stands for a row without a word
            if len(set(known)) != len(known):
                raise ValueError(f"rows[{name!r}]: a word stands twice in one list")
        found[name] = (ours, theirs)
    return found


@dataclass
class _Move:
    source: str
    how: str
    values: Deferred


class Plan:
    """Everything that would be copied, worked out before anything is changed or read."""

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray | Deferred],
        target: Block,
        *,
        mismatch: str,
        words: dict[str, tuple[list[str], list[str]]],
    ) -> None:
        self.arrays = arrays
        self.parameters = target.collect_params()
        self.mismatch = mismatch
        self.words = words
        self.moves: dict[str, _Move] = {}
        self.unexpected: list[str] = []
        self.mismatched: dict[str, tuple[str, str]] = {}

    def match(self, selected: Sequence[str], rename: Mapping[str, str], *, strict: bool) -> None:
        """Find a place for every selected array."""
        by_target: dict[str, str] = {}
        for name in selected:
            new = names.rename(name, rename)
            if new in by_target:
                raise ValueError(f"rename sends both {by_target[new]!r} and {name!r} to {new!r}")
            by_target[new] = name
        for new, name in by_target.items():
            if new not in self.parameters:
                self.unexpected.append(name)
            elif (move := self._move(name, new)) is not None:
                self.moves[new] = move
        self._refuse_torn()
        if lost := [name for name in self.words if name not in by_target]:
            raise ValueError(f"rows names {lost[0]!r}, which nothing is copied into")
        refused = self.mismatched if self.mismatch == "error" else {}
        unplaced = self.unexpected if strict else []
        if refused or unplaced or not self.moves:
            raise self._refusal(unplaced, refused, rename)

    def _refuse_torn(self) -> None:
        """One parameter of two names takes one value: the second of two different ones has no place."""
        first: dict[int, str] = {}
        for name, move in list(self.moves.items()):
            other = first.setdefault(id(self.parameters[name]), name)
            if other == name or self.moves[other].source == move.source:
                continue
            ours = self.moves[other].values
            if ours.shape != move.values.shape or ours.read().tobytes() != move.values.read().tobytes():
                self.mismatched[name] = (f"the values of {other!r}, which it is shared with", "other values")
                del self.moves[name]

    def _move(self, name: str, new: str) -> _Move | None:
        array, parameter = self.arrays[name], self.parameters[new]
        if not isinstance(array, np.ndarray | Deferred):
            raise TypeError(f"source[{name!r}] is {type(array).__name__}, expected an array")
        if parameter.is_initialized and array.dtype != parameter.dtype and new not in self.words:
            self.mismatched[new] = (f"dtype {parameter.dtype}", f"dtype {array.dtype}")
            return None
        if new in self.words:
            return self._move_rows(name, new)
        if parameter.fits(array.shape) and (not parameter.is_initialized or shape_of(parameter) == array.shape):
            return _Move(name, "whole", _copy(array))
        shape = parameter.shape
        if self.mismatch == "overlap" and parameter.is_initialized and len(shape or ()) == array.ndim:
            common = tuple(slice(0, min(pair)) for pair in zip(shape_of(parameter), array.shape, strict=True))

            def overlapped() -> np.ndarray:
                values = parameter.data().copy()
                values[common] = _values(array)[common]
                return values

            values = Deferred(shape_of(parameter), parameter.dtype, overlapped)
            return _Move(name, f"overlap {tuple(part.stop for part in common)} of {shape_of(parameter)}", values)
        self.mismatched[new] = (f"shape {_shape(parameter)}", f"shape {array.shape}")
        return None

    def _move_rows(self, name: str, new: str) -> _Move | None:
        array, parameter = self.arrays[name], self.parameters[new]
        ours, theirs = self.words[new]
        if not parameter.is_initialized:
            raise ValueError(f"rows[{new!r}]: initialise the target first, rows of new words keep its values")
        shape = shape_of(parameter)
        rows = [each[0] if each else 0 for each in (array.shape, shape)]
        if [len(ours), len(theirs)] != rows:
            raise ValueError(f"rows[{new!r}]: {len(ours)} and {len(theirs)} words for {rows[0]} and {rows[1]} rows")
        if array.shape[1:] != shape[1:] or array.dtype != parameter.dtype:
            self.mismatched[new] = (
                f"rows of {parameter.dtype} {shape[1:]}",
                f"rows of {array.dtype} {array.shape[1:]}",
            )
            return None
        row_of = {word: row for row, word in enumerate(ours)}
        pairs = [(row, row_of[word]) for row, word in enumerate(theirs) if word and word in row_of]

        def aligned() -> np.ndarray:
            values = parameter.data().copy()
            if pairs:
                to, start = map(list, zip(*pairs, strict=True))
                values[to] = _values(array)[start]
            return values

        values = Deferred(shape, parameter.dtype, aligned)
        return _Move(name, f"{len(pairs):,} of {len(theirs):,} rows by word", values)

    def _refusal(
        self, unplaced: list[str], refused: dict[str, tuple[str, str]], rename: Mapping[str, str]
    ) -> ParameterError:
        lines = []
        known = list(self.parameters)
        for name in unplaced:
            new = names.rename(name, rename)
            near = names.near(new, known)
            place = name if new == name else f"{name} (renamed {new})"
            lines.append(f"  unexpected  {place}" + (f" (near: {near})" if near else ""))
        lines += [f"  mismatched  {name}: expected {e}, found {f}" for name, (e, f) in refused.items()]
        if not lines:
            return ParameterError(
                "no source parameter matches one of the target",
                unexpected=self.unexpected[:20],
                missing=known[:20],
                hint=f"the source has names like {next(iter(self.arrays), 'none')!r}, "
                f"the target like {next(iter(known), 'none')!r}; rename= brings them together",
            )
        ways = ["rename= gives source names a place"] if unplaced else []
        ways += ['mismatch="skip" or "overlap" decides about shapes'] if refused else []
        return ParameterError(
            "\n".join([f"{counted(len(lines), 'parameter')} cannot be transplanted, nothing was changed:", *lines]),
            unexpected=unplaced,
            mismatched=refused,
            hint="; ".join(ways),
        )

    def report(self, *, freeze: bool | str | Iterable[str], dry_run: bool) -> Transplant:
        """The table of what is copied where."""
        # A shared parameter is filled under all of its names.
        filled = {id(self.parameters[name]) for name in self.moves}
        chosen = list(self.moves) if freeze is True else [] if freeze is False else names.select(self.moves, freeze)
        if not chosen and freeze is not False:
            raise ValueError(f"freeze={freeze!r} matches nothing of what is copied: {', '.join([*self.moves][:5])}")
        return Transplant(
            copied={name: (move.source, move.how) for name, move in self.moves.items()},
            missing=[name for name, parameter in self.parameters.items() if id(parameter) not in filled],
            unexpected=self.unexpected,
            mismatched=self.mismatched,
            frozen=chosen,
            dry_run=dry_run,
        )

    def carry_out(self, frozen: Sequence[str]) -> None:
        """Change the target, once everything has been read: nothing can fail any more."""
        values = {name: move.values.read() for name, move in self.moves.items()}
        for name, array in values.items():
            self.parameters[name].set_data(array)
        for name in frozen:
            self.parameters[name].trainable = False


def _values(array: np.ndarray | Deferred) -> np.ndarray:
    """The array, or a view of it where the file can be mapped."""
    if isinstance(array, np.ndarray):
        return array
    return array.read() if array.view is None else array.view()


def _copy(array: np.ndarray | Deferred) -> Deferred:
    """The array in memory of its own, once it is read."""
    if isinstance(array, Deferred):
        return array
    return Deferred(array.shape, array.dtype, lambda: np.array(array))


def _shape(parameter: Parameter) -> tuple[int | str, ...] | str:
    if parameter.shape is None:
        return "?"
    return tuple("?" if axis is None else axis for axis in parameter.shape)
