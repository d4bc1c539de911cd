"""What an architecture of llama.cpp is: which network of transformers, and what is called how."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Architecture:
    """One value of ``general.architecture``.

    Attributes:
        name: That value.
        kind: ``model_type`` of transformers.
        model: The class of transformers.
        also: Other types of transformers that llama.cpp has no own word for: the same network, once what is lost of
            it is reported.
        keys: Key of the metadata without the architecture's name -> option of config.json, and the type there.
        fixed: What config.json says of all of them.
        names: Names of tensors, ``N`` for the layer's number -> transformers' names.
        optional: Tensors that some of these networks have, besides.
        permuted: Whether the rows of queries and keys lie in pairs, for rotary positions of neighbours.
        shifted: Whether norms are stored with 1 added.
        turned: Names, as a pattern, of matrices that lie the other way in transformers' files.
        joined: Transformers' array of all experts -> the tensors that lie behind each other in its second axis.
        lone: Names, as a pattern, of matrices of one row, which some converters have written as vectors.
        is_written: Whether networks are written as it.
        window: Of which number one layer has no window, where the metadata say how far layers look; 0: no layer has
            one, as llama.cpp runs it.
        listed: Whether the metadata say layer by layer which of them have a window.
        told: Option of config.json -> the tensor, ``N`` for the layer's number, which is there where it is true.
        idle: Keys of the metadata that change nothing of what is read of it.
        grouped: Names, as a pattern, of arrays that have the rows of all queries, keys and values behind each other,
            and in transformers those of one key's group after those of another.
        is_partly_turned: Whether the metadata may say that rotary positions turn a part of each head only.
        usual: Key that files may leave out -> what llama.cpp takes then; None: nothing, or what it computes.
    """

    name: str
    kind: str
    model: str
    keys: Mapping[str, tuple[str, str]]
    names: Mapping[str, str]
    also: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    permuted: bool = False
    shifted: bool = False
    turned: str = r"(?!)"
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lone: str = r"(?!)"
    is_written: bool = True
    window: int = 0
    listed: bool = False
    told: Mapping[str, str] = field(default_factory=dict)
    idle: Iterable[str] = ()
    grouped: str = r"(?!)"
    is_partly_turned: bool = False
    usual: Mapping[str, Any] = field(default_factory=dict)

    def told_by(self, tensors: Iterable[str]) -> dict[str, bool]:
        """The options that tensors tell by being there."""
        there = {_LAYER.sub("blk.N.", name) for name in tensors}
        return {option: name in there for option, name in self.told.items()}

    def theirs(self, name: str) -> str | None:
        """Transformers' name of a tensor; None: this architecture has none of that name."""
        part, _, end = name.rpartition(".")
        layer = _LAYER.match(part)
        found = self.names.get(_LAYER.sub("blk.N.", part))
        if found is None or end not in ("weight", "bias"):
            return None
        return f"{_in(layer, found)}.{end}"

    def ours(self, name: str) -> str | None:
        """The name in GGUF of transformers' tensor; None: it has none."""
        part, _, end = name.rpartition(".")
        layer = _NUMBER.search(part)
        spelled = {theirs: ours for ours, theirs in self.names.items()}
        found = spelled.get(_NUMBER.sub(".N.", part, count=1))
        if found is None:
            return None
        return f"{_in(layer, found)}.{end}"

    def joint(self, name: str) -> tuple[str, int, int] | None:
        """Of which array of transformers' a tensor is a part, which one, and of how many; None: of none."""
        layer = _LAYER.match(name)
        if layer is None:
            return None
        for theirs, several in self.joined.items():
            if (spelled := _LAYER.sub("blk.N.", name)) in several:
                return _in(layer, theirs), several.index(spelled), len(several)
        return None

    def parts(self, name: str) -> list[str]:
        """The tensors of which transformers' array is made, in their order; none of an array that is one itself."""
        layer = _NUMBER.search(name)
        several = self.joined.get(_NUMBER.sub(".N.", name, count=1), ()) if layer else ()
        return [_in(layer, each) for each in several]


def _in(layer: re.Match[str] | None, name: str) -> str:
    """A name with the number of its layer, where it is in one."""
    return name if layer is None else name.replace(".N.", f".{layer[1]}.")


_LAYER: Final = re.compile(r"blk\.(\d{1,9})\.")
_NUMBER: Final = re.compile(r"\.(\d{1,9})\.")
