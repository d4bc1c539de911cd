"""Everything that would be copied into a network, worked out before anything is read or changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from modelarchive import names
from modelarchive.nn import Parameter
from modelarchive.nn.parameter import dtype_name, shape_text
from modelarchive.nn.target import TargetParameter
from modelarchive.store.deferred import Deferred, expect
from modelarchive.transplant import casting, refusing
from modelarchive.transplant.computed import computed, respelt
from modelarchive.transplant.matches import Matches, Move
from modelarchive.transplant.options import Options, Source, several
from modelarchive.transplant.prefixes import Prefixes, without
from modelarchive.transplant.report import Transplant
from modelarchive.transplant.resizing import resizing
from modelarchive.transplant.stored import shape_of


class Plan(Matches):
    """What goes where.

    Args:
        source: What is taken from; its arrays are not read for the plan.
        parameters: The target's parameters by name; one that is shared is the same object under all of its names.
        options: How.

    Raises:
        ParameterError: With `select`, a selected parameter has no place, or shapes or dtypes differ; lists all of
            them. Also if nothing at all matches.
        ValueError: Two source parameters are renamed to one, or word lists are wrong.
    """

    def __init__(self, source: Source, parameters: Mapping[str, TargetParameter], options: Options) -> None:
        super().__init__(source.arrays, parameters, options)
        self.notes = list(source.notes)
        self.words = _words(source, options)
        self._match()

    def _match(self) -> None:
        """Find a place for every selected array."""
        by_target = self._placed()
        for new, name in by_target.items():
            if new not in self.parameters:
                self.unexpected.append(name)
            elif (move := self._move(name, new)) is not None:
                self.moves[new] = move
        self._refuse_torn()
        self._refuse_alone()
        if lost := [name for name in self.words if name not in by_target]:
            raise ValueError(f"rows names {lost[0]!r}, which nothing is copied into")
        for pattern in self.options.resize:
            if not names.select(by_target, pattern):
                raise ValueError(f"resize names {pattern!r}, which nothing is copied into")
        refused = self.mismatched if self.options.mismatch == "error" else {}
        unplaced = self.unexpected if self.options.select is not None else []
        if refused or unplaced or not self.moves:
            raise refusing.refusal(self, unplaced, refused, {name: new for new, name in by_target.items()})
        if hint := computed(self.unexpected, self.parameters):
            self.notes.append(hint)
        elif len(self.unexpected) > 1 and (rule := refusing.rename_for(self, self.unexpected)):
            self.notes.append(f"not all that looks alike was copied: {rule}")

    def _placed(self) -> dict[str, str]:
        """Name in the target -> name in the source, of all that is selected."""
        matches = names.matcher(self.options.select).match
        rules = self.options.rename
        is_renamed = names.matcher(rules).match
        by_rule: dict[str, str | None] = {}
        for name in self.arrays:
            bare = [name, *without(name)]
            if any(matches(each) for each in bare):
                by_rule[name] = next((names.rename(each, rules) for each in bare if is_renamed(each)), None)
        prefixes = Prefixes(self.parameters, [name for name, made in by_rule.items() if made is None])
        found: dict[str, str] = {}
        by_prefix: set[str] = set()
        for name, made in by_rule.items():
            new = prefixes.target_of(name) if made is None else prefixes.target_of_renamed(made)
            new = respelt(new, self.parameters)
            is_by_prefix = made is None and new != name
            if new in found and not is_by_prefix and found[new] not in by_prefix:
                stays = next((f"; {each!r} keeps its name: select= leaves it out" for each in (found[new], name)
                              if by_rule[each] is None), "")  # fmt: skip
                raise ValueError(f"rename sends both {found[new]!r} and {name!r} to {new!r}{stays}")
            # A name that is the target's own comes before one that became it without a wrapper's prefix.
            if is_by_prefix:
                by_prefix.add(name)
            if new in found:
                self.unexpected.append(name if is_by_prefix else found[new])
            if new not in found or not is_by_prefix:
                found[str(new)] = name
        self.notes += prefixes.notes()
        return found

    def _refuse_torn(self) -> None:
        """One parameter of two names takes one value: the second of two different ones has no place."""
        first: dict[int, str] = {}
        for name, move in list(self.moves.items()):
            other = first.setdefault(id(self.parameters[name]), name)
            if other == name or self.moves[other].source == move.source:
                continue
            theirs, ours = self.arrays[move.source], self.arrays[self.moves[other].source]
            if ours is not theirs and not _is_equal(self.moves[other].values, move.values):
                self.mismatched[name] = (f"the values of {other!r}, which it is shared with", "other values")
                del self.moves[name]

    def _refuse_alone(self) -> None:
        """A parameter that must come with others has no place without them."""
        filled = {id(self.parameters[name]) for name in self.moves}
        for name in list(self.moves):
            companions = getattr(self.parameters[name], "companions", ())
            if any(id(each) not in filled for each in companions):
                what = "values for all parameters of a layer that is not initialised"
                self.mismatched[name] = (what, "only some; call the network once on an example first")
                del self.moves[name]

    # ------------------------------------------------------------------ one array

    def _move(self, name: str, new: str) -> Move | None:
        array, parameter = self.arrays[name], self.parameters[new]
        if problem := getattr(parameter, "problem", ""):
            self.mismatched[new] = ("a parameter that can be filled", problem)
            return None
        if new in self.words:
            return self._move_rows(name, new)
        # A Block without values takes those of any dtype; another framework's has its dtype from the start.
        is_open = isinstance(parameter, Parameter) and not parameter.is_initialized
        dtype = array.dtype if is_open else parameter.dtype
        shaped = self._shaped(array, new, dtype)
        if shaped is None:
            return None
        if dtype == array.dtype:
            return Move(name, *shaped)
        problem = casting.problem(array.dtype, dtype, is_wanted=self.options.cast_dtype)
        if problem is not None:
            self.mismatched[new] = problem
            return None
        words, values = shaped
        return Move(name, f"{words}, {dtype_name(array.dtype)} to {dtype_name(dtype)}", values)

    def _shaped(self, array: np.ndarray | Deferred, new: str, dtype: np.dtype[Any]) -> tuple[str, Deferred] | None:
        """How the array comes to the target's shape and `dtype`, and the values; None where it does not."""
        parameter = self.parameters[new]
        shape = shape_of(parameter) if parameter.is_initialized else None
        if shape == array.shape or (shape is None and parameter.fits(array.shape)):
            return "whole", casting.cast(_deferred(array), dtype, new)
        how = next((each for pattern, each in self.options.resize.items() if names.select([new], pattern)), None)
        expected, found = f"shape {shape_text(parameter.shape)}", f"shape {array.shape}"
        if shape is not None and how is not None:
            resized = resizing(array.shape, shape, how)
            if not isinstance(resized, str):
                apply = resized.apply
                there = array if isinstance(array, Deferred) else Deferred.of(array)
                values = there.changed(lambda x: casting.converted(apply(x), dtype, new), shape, dtype)
                return resized.words, values
            found = f"{found}, which {resized}"
        elif shape is not None and self.options.mismatch == "overlap" and len(shape) == array.ndim:
            return self._overlap(array, parameter, shape, new)
        self.mismatched[new] = (expected, found)
        return None

    def _overlap(
        self, array: np.ndarray | Deferred, parameter: TargetParameter, shape: tuple[int, ...], new: str
    ) -> tuple[str, Deferred]:
        common = tuple(slice(0, min(pair)) for pair in zip(shape, array.shape, strict=True))

        def overlapped() -> np.ndarray:
            values = parameter.value().copy()
            values[common] = casting.converted(_values(array)[common], parameter.dtype, new)
            return values

        words = f"overlap {tuple(part.stop for part in common)} of {shape}"
        return words, Deferred(shape, parameter.dtype, overlapped)

    def _move_rows(self, name: str, new: str) -> Move | None:
        array, parameter = self.arrays[name], self.parameters[new]
        ours, theirs = self.words[new]
        if not parameter.is_initialized:
            raise ValueError(f"rows[{new!r}]: initialise the target first, rows of new words keep its values")
        shape = shape_of(parameter)
        rows = [each[0] if each else 0 for each in (array.shape, shape)]
        if [len(ours), len(theirs)] != rows:
            raise ValueError(f"rows[{new!r}]: {len(ours)} and {len(theirs)} words for {rows[0]} and {rows[1]} rows")
        is_cast = casting.problem(array.dtype, parameter.dtype, is_wanted=self.options.cast_dtype) is None
        if array.shape[1:] != shape[1:] or not (array.dtype == parameter.dtype or is_cast):
            self.mismatched[new] = (
                f"rows of {parameter.dtype} {shape[1:]}",
                f"rows of {array.dtype} {array.shape[1:]}",
            )
            return None
        row_of = {word: row for row, word in enumerate(ours)}
        pairs = [(row, row_of[word]) for row, word in enumerate(theirs) if word and word in row_of]

        def aligned() -> np.ndarray:
            values = parameter.value().copy()
            if pairs:
                to, start = map(list, zip(*pairs, strict=True))
                values[to] = casting.converted(_values(array)[start], parameter.dtype, name)
            return values

        values = Deferred(shape, parameter.dtype, aligned)
        return Move(name, f"{len(pairs):,} of {len(theirs):,} rows by word", values)

    # ------------------------------------------------------------------ what comes of it

    def report(self, *, freeze: bool | str | Iterable[str], dry_run: bool) -> Transplant:
        """The table of what is copied where."""
        # A shared parameter is filled under all of its names.
        filled = {id(self.parameters[name]) for name in self.moves}
        chosen = list(self.moves) if freeze is True else []
        if not isinstance(freeze, bool):
            chosen = names.select(self.moves, several(freeze))
        if not chosen and freeze is not False:
            raise ValueError(f"freeze={freeze!r} matches nothing of what is copied: {', '.join([*self.moves][:5])}")
        return Transplant(
            copied={name: (move.source, move.how) for name, move in self.moves.items()},
            missing=[name for name, parameter in self.parameters.items() if id(parameter) not in filled],
            unexpected=self.unexpected,
            mismatched=self.mismatched,
            frozen=chosen,
            notes=[*self.notes, *self._moving(chosen)],
            dry_run=dry_run,
        )

    def _moving(self, frozen: Sequence[str]) -> list[str]:
        """That statistics are no parameters, and freezing does not stop them."""
        found = [name for name in frozen if getattr(self.parameters[name], "is_statistic", False)]
        if not found:
            return []
        more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
        return [f"training mode still moves the statistics {found[0]}{more}: eval() of their modules stops that"]

    def carry_out(self, frozen: Sequence[str]) -> None:
        """Change the target, once everything has been read: nothing can fail any more.

        A parameter that is shared, and filled under several names, is filled once.
        """
        first = {id(self.parameters[name]): name for name in reversed(self.moves)}
        expect(self.moves[name].values for name in first.values())
        values = {name: self._taken(name) for name in first.values()}
        for name, array in values.items():
            self.parameters[name].set_data(array)
        for name in frozen:
            self.parameters[name].trainable = False

    def _taken(self, name: str) -> np.ndarray:
        """The values for a parameter: in memory of their own where it keeps what it is given."""
        values = self.moves[name].values
        return values.read() if isinstance(self.parameters[name], Parameter) else _values(values)


def _words(source: Source, options: Options) -> dict[str, tuple[list[str], list[str]]]:
    """Both word lists of each target name; the source's own where only the target's are given."""
    by_target = {names.rename(name, options.rename): words for name, words in source.tokens.items()}
    found = {}
    for name, words in options.rows.items():
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


def _is_equal(one: Deferred, other: Deferred) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.read().tobytes() == other.read().tobytes()


def _values(array: np.ndarray | Deferred) -> np.ndarray:
    """The array, or a view of it where the file can be mapped."""
    if isinstance(array, np.ndarray):
        return array
    return array.read() if array.view is None else array.view()


def _deferred(array: np.ndarray | Deferred) -> Deferred:
    """The array in memory of its own, once it is read."""
    return array if isinstance(array, Deferred) else Deferred.of(array).changed(np.array)
