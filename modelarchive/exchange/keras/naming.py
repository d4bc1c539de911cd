"""What Keras' layers and arrays are called here: their own names, wherever these are names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from modelarchive import names
from modelarchive.exchange.bundle import Note

#: What a note says of a name that is not kept.
RENAMED: Final = "is called {!r} here: a name is up to 128 letters, digits, '_' and '-'"


def block_names(layers: Iterable[str]) -> dict[str, str]:
    """Layer -> the name of its block: its own, wherever that is one; others go around those."""
    several = list(dict.fromkeys(layers))
    found = {layer: layer for layer in several if names.problem_with_part(layer) is None}
    taken = names.Taken(found)
    for layer in several:
        if layer not in found:
            found[layer] = taken.free(names.as_part(layer))
    return found


def dotted(paths: Mapping[str, Sequence[str]], notes: list[Note]) -> dict[str, str]:
    """Dotted names, each its own.

    Args:
        paths: Key -> the parts of its name, which may be any text.
        notes: Takes what is not called as it was.

    Returns:
        Key -> name.
    """
    inside: dict[tuple[str, ...], dict[str, None]] = {}
    for parts in paths.values():
        for at, part in enumerate(parts):
            inside.setdefault(tuple(parts[:at]), {})[part] = None
    called = {above: block_names(several) for above, several in inside.items()}
    found: dict[str, str] = {}
    taken = names.Taken()
    reported: set[str] = set()
    for key, parts in paths.items():
        own = [called[tuple(parts[:at])][part] for at, part in enumerate(parts)]
        for part, name in zip(parts, own, strict=True):
            if part != name and part not in reported:
                reported.add(part)
                notes.append(Note(part, RENAMED.format(name)))
        name = taken.free(".".join(own))
        if name != ".".join(own):
            notes.append(Note(key, f"is called {name!r} here: another array is called {'.'.join(own)!r}"))
        found[key] = name
    return found
