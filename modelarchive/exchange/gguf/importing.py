"""Tensors of llama.cpp's networks as transformers has them: their names, and how they lie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from modelarchive.exchange.bundle import Note
from modelarchive.exchange.gguf.architecture import Architecture
from modelarchive.exchange.gguf.files import Contents
from modelarchive.store.deferred import Deferred


def arrays_of(
    architecture: Architecture, contents: Contents, config: Mapping[str, Any]
) -> tuple[dict[str, Deferred], list[tuple[str, str]], list[Note]]:
    """The tensors by transformers' names, lying as they do there.

    Args:
        architecture: What they are of.
        contents: What the file holds.
        config: What config.json would say.

    Returns:
        The arrays; which tensors have no place in the network; and what was left out.
    """
    found: dict[str, Deferred] = {}
    unknown: list[tuple[str, str]] = []
    notes: list[Note] = []
    experts: dict[str, list[Deferred | None]] = {}
    for name in contents.tensors:
        theirs = architecture.theirs(name)
        if (joint := architecture.joint(name)) is not None:
            whole, at, count = joint
            experts.setdefault(whole, [None] * count)[at] = _scaled(name, contents)
            continue
        if name.endswith(".input_scale"):
            notes.append(Note(name, "left out: it is for inputs that are quantised, which they are not here"))
        elif theirs is not None:
            found[theirs] = _lying(architecture, theirs, _scaled(name, contents), config)
        elif name not in architecture.optional and not _is_scale(name, contents):
            unknown.append((name, f"is no tensor of {architecture.name} that is known"))
    for theirs, several in experts.items():
        there = [each for each in several if each is not None]
        if len({each.shape for each in there}) == 1 and len(there[0].shape) == 3 and None not in several:
            found[theirs] = _joined(there)
            continue
        names = architecture.parts(theirs)
        unknown += [
            (name, "is missing" if part is None else f"has the shape {part.shape}, and {names[0]} another")
            for name, part in zip(names, several, strict=True)
            if part is None or part is not there[0] or len(part.shape) != 3
        ]
    return found, unknown, notes


def _joined(several: list[Deferred]) -> Deferred:
    """Tensors of all experts behind each other, in the axis behind that of the experts."""
    if len(several) == 1:
        return several[0]
    experts, rows, columns = several[0].shape
    dtypes = {each.dtype for each in several}
    dtype = dtypes.pop() if len(dtypes) == 1 else np.dtype(np.float32)
    return Deferred(
        (experts, rows * len(several), columns),
        dtype,
        lambda: np.concatenate([each.read().astype(dtype, copy=False) for each in several], axis=1),
    )


def _is_scale(name: str, contents: Contents) -> bool:
    return name.endswith(".scale") and name.removesuffix("scale") + "weight" in contents.tensors


def _scaled(name: str, contents: Contents) -> Deferred:
    """The numbers of a tensor, times the one number that NVFP4 has beside it."""
    array = contents.tensors[name].array()
    beside = contents.tensors.get(name.removesuffix("weight") + "scale") if name.endswith(".weight") else None
    if beside is None or beside.shape not in ((), (1,)):
        return array
    scale = beside.array()
    return array.changed(lambda each: each * scale.read().reshape(()).astype(each.dtype))


def _lying(architecture: Architecture, theirs: str, array: Deferred, config: Mapping[str, Any]) -> Deferred:
    """An array as transformers has it."""
    if architecture.permuted and (part := re.search(r"\.([qk])_proj\.", theirs)):
        heads = config.get("num_attention_heads" if part[1] == "q" else "num_key_value_heads")
        if type(heads) is int and heads > 0 and array.ndim and array.shape[0] % (2 * heads) == 0:
            return array.changed(lambda each: _apart(each, heads))
    if architecture.shifted and theirs.endswith("norm.weight"):
        return array.changed(lambda each: each - each.dtype.type(1))
    if re.fullmatch(architecture.grouped, theirs):
        queries: Any = config.get("num_attention_heads")
        groups: Any = config.get("num_key_value_heads")
        if _fits(array, queries, groups):
            return array.changed(lambda each: _by_group(each, queries, groups))
    if re.fullmatch(architecture.lone, theirs) and array.ndim == 1:
        return array.changed(lambda each: each[None], (1, *array.shape))
    if re.fullmatch(architecture.turned, theirs) and array.ndim == 2:
        return array.changed(lambda each: each.T, array.shape[::-1])
    return array


def _fits(array: Deferred, heads: Any, groups: Any) -> bool:
    whole = type(heads) is int and type(groups) is int and heads > 0 and groups > 0
    return whole and heads % groups == 0 and bool(array.ndim) and array.shape[0] % (heads + 2 * groups) == 0


def _by_group(array: np.ndarray, heads: int, groups: int) -> np.ndarray:
    """Rows of all queries, all keys and all values as those of one group of queries, its key and its value, and on."""
    size = array.shape[0] // (heads + 2 * groups)
    rows = np.arange(array.shape[0]).reshape(-1, size)
    parts = np.split(rows, [heads, heads + groups])
    order = np.concatenate([each.reshape(groups, -1, size) for each in parts], axis=1).reshape(-1)
    return np.ascontiguousarray(array[order])


def _apart(array: np.ndarray, heads: int) -> np.ndarray:
    """Rows of heads whose neighbours turn together, with those that turn first in front: as transformers has them."""
    return np.ascontiguousarray(array.reshape(heads, -1, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape))


def together(array: np.ndarray, heads: int) -> np.ndarray:
    """The other way: as llama.cpp has them."""
    return np.ascontiguousarray(array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape))
