"""Why a transplant is refused, and the way out of the misfit at hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from modelarchive import names
from modelarchive.errors import ParameterError, counted
from modelarchive.transplant.computed import computed
from modelarchive.transplant.matches import Matches
from modelarchive.transplant.stored import shape_of

#: Names that are compared to find what would bring two networks together.
_MOST: Final = 2000


def refusal(
    plan: Matches, unplaced: list[str], refused: Mapping[str, tuple[str, str]], new_names: Mapping[str, str]
) -> ParameterError:
    """The error that lists every misfit.

    Args:
        plan: What was found, which cannot be carried out.
        unplaced: Source names that have no place.
        refused: Target name -> (expected, found).
        new_names: Source name -> what it is called in the target.
    """
    known = list(plan.parameters)
    rule = rename_for(plan, unplaced or list(new_names) or list(plan.arrays))
    if not unplaced and not refused:
        return _nothing(plan, rule)
    new = {name: new_names.get(name, name) for name in unplaced}
    near = names.remarks_on(new.values(), known)
    renamed = {name: "" if name == other else f" (renamed {other})" for name, other in new.items()}
    norm = computed(unplaced, known)
    ways = [norm or rule or "rename= gives source names a place"] if unplaced else []
    return ParameterError(
        ending=", nothing was changed",
        unexpected=unplaced,
        mismatched=refused,
        remarks={name: renamed[name] + near.get(other, "") for name, other in new.items()},
        hint="; ".join([*ways, *_ways(plan, refused, new_names)]),
    )


def _nothing(plan: Matches, rule: str) -> ParameterError:
    known = list(plan.parameters)
    if not plan.arrays or not known:
        empty = "the source has no parameters" if not plan.arrays else "the target has no parameters yet"
        hint = "give a source with parameters" if not plan.arrays else "build it, or call it once on an example"
        return ParameterError(f"{empty}, nothing was changed", hint=hint)
    if plan.mismatched:
        hint = "; ".join(_ways(plan, plan.mismatched, {}))
        ending = ", and no other matches, nothing was changed"
        return ParameterError(ending=ending, mismatched=plan.mismatched, hint=hint)
    if plan.options.select is not None and not plan.unexpected:
        blocks = {f"{name[:at]}.*": None for name in plan.arrays for at, sign in enumerate(name) if sign == "."}
        near = names.near(str(plan.options.select), [*blocks, *plan.arrays])
        hint = f"the source has names like {next(iter(plan.arrays))!r}" + (f"; did you mean {near!r}?" if near else "")
        return ParameterError(f"no source parameter matches select={plan.options.select!r}", hint=hint)
    if all(".vars." in name for name in plan.arrays):
        what = "the source is a file of Keras' weights, whose names are places, not layers"
        hint = "model.load_weights(path) of Keras fills the model that wrote it, which is a source"
        return ParameterError(what, hint=hint)
    ours, theirs = next(iter(plan.arrays)), known[0]
    likes = f"the source has names like {ours!r}, the target like {theirs!r}"
    return ParameterError(
        "no source parameter matches one of the target",
        unexpected=plan.unexpected[:20],
        missing=known[:20],
        hint=f"{likes}; {rule or 'rename= brings them together'}",
    )


def _ways(plan: Matches, refused: Mapping[str, tuple[str, str]], new_names: Mapping[str, str]) -> list[str]:
    """The ways out that fit: for dtypes, for lengths of positions, for other shapes."""
    ways = []
    shapes = [name for name, (expected, _) in refused.items() if expected.startswith("shape")]
    if any(expected.startswith("dtype") and "lose" not in found for expected, found in refused.values()):
        ways.append("cast_dtype=True converts dtypes")
    if any("lose" in found for _, found in refused.values()):
        ways.append("leave them out with select=")
    source = {new: name for name, new in new_names.items()} | {new: move.source for new, move in plan.moves.items()}
    for name in shapes:
        found = plan.arrays[source.get(name, name)].shape if source.get(name, name) in plan.arrays else ()
        expected = shape_of(plan.parameters[name]) if plan.parameters[name].is_initialized else ()
        if found[::-1] == expected and len(found) == 2:
            ways.append(
                f"{name} is transposed: give the source's transposed (Keras keeps (in, out), PyTorch (out, in))"
            )
            break
        if "pos" in name.lower() and name not in names.select([name], list(plan.options.resize)):
            ways.append(f'resize={{"{name}": "interpolate"}} fits positions to another length or grid')
            break
    if shapes:
        ways.append('mismatch="skip" leaves such parameters as they are, "overlap" copies what both have')
    if any("shared" in expected for expected, _ in refused.values()):
        ways.append('mismatch="skip" keeps the first of the values of a shared parameter')
    if any("can be filled" in expected for expected, _ in refused.values()):
        ways.append("give the target as dense tensors or NumPy arrays, or leave it out with select=")
    return ways


def rename_for(plan: Matches, lost: list[str]) -> str:
    """The rule that gives most of the lost names a place with their shapes, as a hint; "" if there is none."""
    by_end: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    filled = set(plan.moves)
    for name, parameter in list(plan.parameters.items())[:_MOST]:
        if parameter.is_initialized and name not in filled:
            by_end.setdefault((_end(name), tuple(shape_of(parameter))), []).append(name)
    votes: Counter[tuple[str, str]] = Counter()
    for name in lost[:_MOST]:
        if name not in plan.arrays:
            continue
        for other in by_end.get((_end(name), tuple(plan.arrays[name].shape)), [])[:20]:
            votes[_difference(name, other)] += 1
    for (ours, theirs), count in votes.most_common(5):
        old, new = f"{ours}*", f"{theirs}*"
        if ours != theirs and count >= min(2, len(lost)) and len(names.select(lost, old)) >= count:
            return f'rename={{"{old}": "{new}"}} gives {counted(count, "name")} a place'
    return ""


def _end(name: str) -> str:
    return name.rpartition(".")[2]


def _difference(name: str, other: str) -> tuple[str, str]:
    """What stands before the longest end, part by part, that both have."""
    ours, theirs = name.split("."), other.split(".")
    common = 0
    while common < min(len(ours), len(theirs)) and ours[-1 - common] == theirs[-1 - common]:
        common += 1
    fronts = (parts[: len(parts) - common] for parts in (ours, theirs))
    one, two = ("".join(f"{part}." for part in front) for front in fronts)
    return one, two
