"""HDF5's types and attributes in our words: which dtype a type is, what a short attribute says."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from h5py import h5a, h5s, h5t

from modelarchive import dtypes

#: An attribute that names a format, a container or a dtype is short.
MAX_ATTRIBUTE: Final = 1024


def known_type(type_: h5t.TypeID) -> tuple[str | None, bool]:
    """The logical dtype of an HDF5 type, and whether its stored bytes are those of an archive's arrays."""
    key = type_.encode()
    if key not in _TYPES:
        dtype = _dense_dtype(type_)
        is_plain = dtype is not None and raw_type(type_, dtypes.numpy_dtype(dtype)).equal(type_) and _is_little(type_)
        if len(_TYPES) >= 64:
            _TYPES.clear()
        _TYPES[key] = (dtype, is_plain)
    return _TYPES[key]


#: Encoded HDF5 type -> what it is: asking costs more than all else that is asked of a dataset.
_TYPES: Final[dict[bytes, tuple[str | None, bool]]] = {}


def _dense_dtype(type_: h5t.TypeID) -> str | None:
    if isinstance(type_, h5t.TypeFloatID) and type_.get_size() == 2 and type_.get_ebias() == 127:
        return "bfloat16" if type_.get_fields() == (15, 7, 8, 0, 7) else None
    if not isinstance(type_, h5t.TypeIntegerID | h5t.TypeFloatID | h5t.TypeEnumID | h5t.TypeCompoundID):
        return None
    if isinstance(type_, h5t.TypeIntegerID) and type_.get_size() == 1:
        # One byte has no order, whatever the type says.
        type_ = type_.copy()
        type_.set_order(h5t.ORDER_LE)
    dtype = type_.dtype
    name = dtypes.dense_name(dtype)
    # A dtype that NumPy has and HDF5 stores otherwise (a float of odd fields, say) would be converted.
    if name is None or not h5t.py_create(dtype, logical=True).equal(type_):
        return None
    return name


def raw_type(type_: h5t.TypeID, dtype: np.dtype) -> h5t.TypeID:
    """The memory type that moves bits unchanged, but for the byte order."""
    name = dtypes.dense_name(dtype)
    if name == "bfloat16":
        found = type_.copy()
        found.set_order(h5t.ORDER_LE)
        return found
    if (name or "").startswith("float8"):
        return type_
    return h5t.py_create(dtype, logical=True)


def _is_little(type_: h5t.TypeID) -> bool:
    dtype = np.dtype("<u2") if isinstance(type_, h5t.TypeFloatID) and type_.get_size() == 2 else type_.dtype
    if isinstance(type_, h5t.TypeFloatID) and type_.get_order() != h5t.ORDER_LE:
        return False
    return dtype.newbyteorder("<") == dtype


def attribute(owner: Any, name: str) -> str | int | None:
    """A short string or an integer; None if the attribute is missing or something else."""
    if not h5a.exists(owner, name.encode()):
        return None
    found = h5a.open(owner, name.encode())
    type_ = found.get_type()
    if found.get_space().get_simple_extent_type() == h5s.NULL:
        return None
    if math.prod(found.shape) != 1 or found.get_storage_size() > MAX_ATTRIBUTE:
        return None
    if isinstance(type_, h5t.TypeIntegerID):
        number = np.empty(found.shape, np.int64)
        found.read(number)
        return int(number.item())
    if isinstance(type_, h5t.TypeStringID):
        value = np.empty(found.shape, found.dtype)
        found.read(value)
        text = value.item()
        return text.decode() if isinstance(text, bytes) else str(text)
    return None


def long_text(owner: Any, name: str) -> str:
    """An attribute's text, however long; "" if it is none."""
    found = h5a.open(owner, name.encode())
    if found.shape != () or not isinstance(found.get_type(), h5t.TypeStringID):
        return ""
    value = np.empty((), found.dtype)
    found.read(value)
    text = value.item()
    return text.decode() if isinstance(text, bytes) else str(text)


def texts_of(group: Any, attributes: list[str]) -> dict[str, list[str]]:
    """What a group says in these attributes: one text, or several, in parts ``name0``, ``name1``, ... too."""
    found: dict[str, list[str]] = {}
    for name in attributes:
        if h5a.exists(group, name.encode()):
            found[name] = _several(group, name)
            continue
        number = 0  # longer lists than an attribute can be are cut into parts
        while h5a.exists(group, f"{name}{number}".encode()):
            found.setdefault(name, []).extend(_several(group, f"{name}{number}"))
            number += 1
    return found


def _several(owner: Any, name: str) -> list[str]:
    """An attribute's texts, flat; none if it is something else."""
    found = h5a.open(owner, name.encode())
    space = found.get_space()
    if not isinstance(found.get_type(), h5t.TypeStringID) or space.get_simple_extent_type() == h5s.NULL:
        return []
    value = np.empty(found.shape, found.dtype)
    if value.size:
        found.read(value)
    return [each.decode() if isinstance(each, bytes) else str(each) for each in value.reshape(-1).tolist()]
