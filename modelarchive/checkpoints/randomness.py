"""The random states of a run: Python's, NumPy's, and those of the frameworks that are in use."""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from modelarchive.errors import first_line


def random_states() -> dict[str, Any]:
    """Every random state that is found without importing anything."""
    version, words, gauss = random.getstate()
    found: dict[str, Any] = {
        "python": {"version": version, "words": np.array(words, np.uint64), "gauss": gauss},
        "numpy": _of_numpy(),
    }
    return found | {name: room.random_states() for name, room in _rooms()}


def put_random_states(states: Mapping[str, Any]) -> None:
    """Set them again; a framework that is not imported is left out."""
    python = states["python"]
    random.setstate((python["version"], tuple(np.asarray(python["words"]).tolist()), python["gauss"]))
    numpy = states["numpy"]
    np.random.set_state((numpy["bits"], numpy["key"], numpy["pos"], numpy["has_gauss"], numpy["cached_gaussian"]))
    for name, room in _rooms():
        if name in states:
            room.put_random_states(states[name])


def problem_of_putting(states: Any) -> str | None:
    """Set states of a file; what is wrong with them, or None. Where something is, all states are as they were."""
    before = random_states()
    try:
        put_random_states(states)
    except Exception as error:  # each of their owners raises its own
        put_random_states(before)
        return first_line(error)
    return None


def _of_numpy() -> dict[str, Any]:
    bits, key, pos, has_gauss, cached = np.random.get_state(legacy=True)
    return {"bits": str(bits), "key": key, "pos": int(pos), "has_gauss": int(has_gauss), "cached_gaussian": cached}


def _rooms() -> Iterator[tuple[str, Any]]:
    for name in ("torch", "keras"):
        if name in sys.modules and hasattr(sys.modules[name], "__version__"):
            yield name, importlib.import_module(f"modelarchive.exchange.{name}.training")
