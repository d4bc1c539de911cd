"""What is chosen for each array by name: whether it is compressed, which dtype it becomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from modelarchive import names
from modelarchive.errors import ParameterError

#: One choice for all arrays, or pattern of names -> choice: the first that matches counts, without one it is None.
Choice = str | None | Mapping[str, str | None]
#: HDF5's own filters, shuffle and deflate: every viewer has them.
DEFLATE: Final = "deflate"
#: An array stays as the source has it.
KEEP: Final = "keep"


def choose(choice: Choice, wanted: Iterable[str], allowed: Iterable[str], *, what: str) -> dict[str, str | None]:
    """Name -> what is chosen for it.

    Args:
        choice: One of `allowed` or None for all, or patterns with such.
        wanted: The names.
        allowed: What may be chosen.
        what: The name of the argument, for errors.

    Raises:
        ValueError: Something else was chosen.
        ParameterError: Something was chosen for a name that is not there.
        TypeError: `choice` is neither.
    """
    several = dict.fromkeys(wanted)
    rules = dict(choice) if isinstance(choice, Mapping) else {"*": choice}
    known = [*allowed]
    for pattern, chosen in rules.items():
        if not isinstance(pattern, str) or not isinstance(chosen, str | None):
            raise TypeError(f"{what} is {choice!r}, expected one choice or patterns of names with one each")
        if chosen is not None and chosen not in known:
            where = f"{what}[{pattern!r}]" if isinstance(choice, Mapping) else what
            raise ValueError(f"{where} is {chosen!r}, expected None, {', '.join(map(repr, known))}")
        if not _is_wild(pattern) and pattern not in several:
            near = names.near(pattern, list(several))
            raise ParameterError(
                f"{what}[{pattern!r}]: there is no such array",
                missing=[pattern],
                hint=f"did you mean {near!r}?" if near else "`*` and `?` in a pattern match several names, or none",
            )
    if [*rules] == ["*"]:
        return dict.fromkeys(several, rules["*"])
    # The rules may be as many as the arrays: those that are names are looked up, not tried one after another.
    places = {pattern: at for at, pattern in enumerate(rules)}
    wild = [(at, names.matcher(pattern).match) for pattern, at in places.items() if _is_wild(pattern)]
    answers = list(rules.values())
    found = {}
    for name in several:
        own = len(answers) if _is_wild(name) else places.get(name, len(answers))
        first = next((at for at, match in wild if at < own and match(name)), own)
        found[name] = answers[first] if first < len(answers) else None
    return found


def _is_wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def compressed(choice: Choice, wanted: Iterable[str]) -> frozenset[str]:
    """The names of arrays that shall be compressed.

    Raises:
        ValueError: Something else than "deflate" or None was chosen.
        ParameterError: Something was chosen for a name that is not there.
    """
    if choice is None:
        return frozenset()
    chosen = choose(choice, wanted, [DEFLATE], what="compression")
    return frozenset(name for name, each in chosen.items() if each is not None)
