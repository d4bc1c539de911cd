"""Names of modules and tensors: PyTorch takes any text without dots, an archive letters, digits, '_' and '-'."""

from __future__ import annotations

import torch

from modelarchive import names
from modelarchive.exchange.bundle import Note

#: A name is shown to so many characters.
_SHOWN = 60


class Names:
    """What each part of a module is called in the archive: its own name, or one that looks like it.

    Attributes:
        notes: A note of each name that was changed.
    """

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self._parts: dict[int, dict[str, str]] = {}

    def of(self, module: torch.nn.Module, path: str) -> dict[str, str]:
        """PyTorch's name -> ours, of a module's parameters, buffers and parts; no two become one.

        Args:
            module: The module.
            path: Where it was found first, in PyTorch's names.
        """
        if id(module) not in self._parts:
            own = dict.fromkeys([*module._parameters, *module._buffers, *module._modules])
            # What may stay stays, whatever comes before it.
            found = {name: name for name in own if names.problem_with_part(name) is None}
            taken = names.Taken(found)
            for name in own:
                if name not in found:
                    new = found[name] = taken.free(names.as_part(name))
                    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
                    what = f"is called {new!r} here: a name is 1 to 128 letters, digits, '_' or '-'"
                    self.notes.append(Note(names.joined(path, shown), what))
            self._parts[id(module)] = found
        return self._parts[id(module)]

    def path(self, module: torch.nn.Module, theirs: str) -> str:
        """The dotted name in the archive of what is called `theirs` in the module."""
        ours = []
        part: torch.nn.Module | None = module
        for name in theirs.split("."):
            ours.append(self._parts.get(id(part), {}).get(name, name))
            part = part._modules.get(name) if part is not None else None
        return ".".join(ours)
