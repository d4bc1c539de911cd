"""Hypothesis strategies for what users save: arrays of every dtype and layout, nested structures, odd keys."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from numpy.lib.stride_tricks import as_strided

from modelarchive import dtypes, names

#: Folder of the memory-mapped inputs; it lives as long as the process.
_FOLDER = tempfile.TemporaryDirectory(prefix="modelarchive-strategies-")
_SHAPES = array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
LAYOUTS = ("plain", "fortran", "strided", "negative", "broadcast", "big", "read-only", "memmap", "odd strides")


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """A dense array of any dtype, bits, shape and layout."""
    name = draw(st.sampled_from(sorted(dtypes.DENSE)))
    return _laid_out(draw(st.sampled_from(LAYOUTS)), _contiguous(name, draw(_SHAPES), draw(st.randoms())))


def _contiguous(name: str, shape: tuple[int, ...], random: Any) -> np.ndarray:
    dtype = dtypes.DENSE[name]
    raw = np.frombuffer(random.randbytes(int(np.prod(shape)) * dtype.itemsize), np.uint8)
    return (raw > 127 if name == "bool" else raw.view(dtype)).reshape(shape)


def _laid_out(layout: str, array: np.ndarray) -> np.ndarray:
    if layout == "fortran":
        return array.copy(order="F")
    if layout == "strided" and array.ndim:
        return array.repeat(2, axis=-1)[..., ::2]
    if layout == "negative" and array.ndim:
        return array[::-1] if array.ndim == 1 else array[::-1, ..., ::-1]
    if layout == "broadcast":
        return np.broadcast_to(array, (2, *array.shape))
    if layout == "big" and array.dtype.kind in "iufc":
        return array.astype(array.dtype.newbyteorder(">"))
    if layout == "read-only":
        array.flags.writeable = False
    if layout == "memmap" and array.size and array.dtype.isbuiltin == 1:
        path = Path(_FOLDER.name) / "input"
        array.tofile(path)
        return np.memmap(path, array.dtype, "c", shape=array.shape)
    if layout == "odd strides" and array.size == 1 and array.ndim:
        return as_strided(array, strides=(7,) * array.ndim)
    return array


#: Any string of Python is a key: lone surrogates, NUL, slashes, dots, names that the format reserves.
keys = (
    st.text(st.characters(codec=None), max_size=6)
    | st.text("/.%\0ä\ud800 ", max_size=4)
    | st.sampled_from(["__metadata__", "__hdf5__.0", "_", "%2F", "%", "..", "array", "0", "modelarchive"])
)

#: Integers are keys as well, as in an optimizer's state.
numbers = st.integers(-names.MAX_NUMBER, names.MAX_NUMBER)

strings = (
    st.lists(st.text(st.characters(codec="utf-8"), max_size=4), max_size=3).map(lambda x: np.array(x, dtype=str))
    | st.lists(st.binary(max_size=4), max_size=3).map(lambda x: np.array(x, dtype=bytes))
    | st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4), max_size=3).map(
        lambda x: np.array(x, dtype=np.dtypes.StringDType())
    )
)

literals = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.just(float("nan"))
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters(codec=None), max_size=6)
)

structures = st.recursive(
    arrays() | strings | literals,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys | numbers, inner, max_size=4)
    ),
    max_leaves=8,
)
