"""Public names that the reference does not have."""

from __future__ import annotations

import importlib
import inspect
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import modelarchive
from modelarchive.formats import FORMATS

#: Modules whose public names are `__all__`, or what they define where there is none.
MODULES = (
    "modelarchive",
    "modelarchive.nn",
    "modelarchive.nn.init",
    "modelarchive.ops",
    "modelarchive.zoo",
    "modelarchive.exchange",
    *(f"modelarchive.exchange.{name}" for name in FORMATS if name != "archive"),
)
#: Of these, what docs/ name.
CHOSEN = {
    "modelarchive.compare": ("diff", "Differences"),
    "modelarchive.maintenance": ("extract", "reindex", "repack"),
    "modelarchive.signing": ("check", "sign"),
}


def public() -> Iterator[str]:
    """Every public name, in full."""
    for name in MODULES:
        module = importlib.import_module(name)
        yield from (f"{name}.{each}" for each in _names(module))
    for name, chosen in CHOSEN.items():
        yield from (f"{name}.{each}" for each in chosen)
    for kind in (modelarchive.Archive, modelarchive.nn.Block, modelarchive.nn.Parameter):
        room = "modelarchive" if kind is modelarchive.Archive else "modelarchive.nn"
        yield from (f"{room}.{kind.__name__}.{name}" for name, each in vars(kind).items() if _is_public(name, each))


def _is_public(name: str, member: object) -> bool:
    """Slots, which the class's own text describes, left out."""
    return not name.startswith("_") and not inspect.ismemberdescriptor(member)


def _names(module: ModuleType) -> list[str]:
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if not _is_of_another(getattr(module, name), module.__name__)]
    return [
        name
        for name, each in vars(module).items()
        if not name.startswith("_") and inspect.isfunction(each) and each.__module__ == module.__name__
    ]


def _is_of_another(each: object, module: str) -> bool:
    """Whether a system's room only passes on what stands with all systems, such as a Bundle."""
    return module.startswith("modelarchive.exchange.") and not str(each.__module__).startswith(module)


def documented(site: Path) -> set[str]:
    """What the site's inventory lists: the names that other sites can link to."""
    content = (site / "objects.inv").read_bytes()
    start = 0
    for _ in range(4):  # lines of text, then what they say is compressed
        start = content.index(b"\n", start) + 1
    lines = zlib.decompress(content[start:]).decode("utf-8").splitlines()
    return {line.split(" ", 1)[0] for line in lines if " py:" in line}


def missing(site: Path) -> list[str]:
    """Public names that no page of the reference describes."""
    found = documented(site)
    return [name for name in public() if name not in found]
