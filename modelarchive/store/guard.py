"""The one place that opens HDF5 files: every object is checked against a list of what is allowed.

Deny by default: hard links only, followed one component at a time; no external storage, no virtual
datasets; filters and dtypes from short lists; bounds on objects, depth and declared bytes. What passes
is described by the same :class:`Contents` that the index gives.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
from collections.abc import Iterator
from typing import Any, Final

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5s, h5t, h5z

from modelarchive import dtypes, names
from modelarchive.errors import FormatError, UnsafeFileError, UnsupportedVersionError
from modelarchive.store import index
from modelarchive.store.assembly import Dataset, Group, assemble
from modelarchive.store.contents import LITERALS, MAX_INFLATION, Contents, Entry, Text
from modelarchive.store.index import MAX_LENGTH
from modelarchive.store.source import Identity, file_identity

#: At most so many groups and datasets are walked.
MAX_OBJECTS: Final = 1_000_000
#: Groups nest at most so deep: a parameter's parts and its section.
MAX_DEPTH: Final = names.MAX_PARTS + 2
#: Bytes that datasets may declare in total beyond what is stored: unwritten parts read as fill values.
MAX_UNSTORED: Final = 64 << 20
#: An attribute that names a format, a container or a dtype is short.
MAX_ATTRIBUTE: Final = 1024

_FILTERS: Final = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32)
_LAYOUTS: Final = (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED)


def read_contents(
    path: str | os.PathLike[str], *, identity: Identity | None = None, order: dict[str, int] | None = None
) -> Contents:
    """Describe an archive through HDF5.

    Args:
        path: The file.
        identity: Refuse if another file stands there by now.
        order: Name -> position, a hint from an index that does not hold any more: HDF5 keeps no order.

    Raises:
        FormatError: HDF5 cannot read the file, or it is no archive.
        UnsafeFileError: It breaks one of the rules above.
    """
    with _opened(path, identity) as file:
        generator = _check_root(file, path)
        contents = assemble(_walk(file, path), generator, order or {})
        contents.user_block = file.get_create_plist().get_userblock()
        contents.size = file.get_filesize()
    return contents


def read_array(path: str | os.PathLike[str], hdf5_path: str, *, identity: Identity | None = None) -> np.ndarray:
    """Read one array that has no bytes of its own in the file: chunked, compact, unwritten or big-endian."""
    with _opened(path, identity) as file:
        dataset, content = _resolve(file, hdf5_path, path)
        if not isinstance(content, Entry):
            raise FormatError("is text, expected an array", file=path, path=hdf5_path)
        array = np.empty(content.shape, dtypes.numpy_dtype(content.dtype))
        raw = _raw_type(dataset.get_type(), array.dtype)
        if array.size:
            dataset.read(h5s.ALL, h5s.ALL, array.view(f"V{array.itemsize}"), mtype=raw)
        return array


def read_text(path: str | os.PathLike[str], hdf5_path: str, *, identity: Identity | None = None) -> list[bytes]:
    """Read fixed or variable strings as a flat list of bytes."""
    with _opened(path, identity) as file:
        dataset, content = _resolve(file, hdf5_path, path)
        if not isinstance(content, Text):
            raise FormatError("is an array, expected text", file=path, path=hdf5_path)
        values = np.asarray(h5py.Dataset(dataset)[()], dtype=object).ravel().tolist()
        return [value if isinstance(value, bytes) else str(value).encode() for value in values]


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str], identity: Identity | None) -> Iterator[h5f.FileID]:
    try:
        file = h5f.open(os.fsencode(path), h5f.ACC_RDONLY)
    except OSError as error:
        if "unable to lock file" in str(error):
            raise BlockingIOError(
                errno.EAGAIN, "another program has the file open for writing", os.fsdecode(path)
            ) from error
        raise _unreadable(error, path) from error
    try:
        # HDF5 opens by name: what it says about a new file must not be mixed with an old file's bytes.
        if identity is not None and identity != file_identity(file.get_vfd_handle()):
            raise FormatError("was replaced while it was open", file=path, hint="open it again")
        yield file
    except (
        KeyError,
        RuntimeError,
        OSError,
        TypeError,
        UnicodeDecodeError,
        OverflowError,
        MemoryError,
    ) as error:
        raise _unreadable(error, path) from error
    except ValueError as error:
        if isinstance(error, FormatError | UnsafeFileError):
            raise
        raise _unreadable(error, path) from error
    finally:
        file.close()


def _unreadable(error: Exception, path: object) -> FormatError:
    reason = str(error)
    if "truncated file" in reason:
        return FormatError("the file is truncated: it ends before its HDF5 data does", file=path)
    return FormatError(
        f"HDF5 cannot read it: {reason.strip() or type(error).__name__}",
        file=path,
        hint="the file is damaged; take it from where it came from again",
    )


def _check_root(file: h5f.FileID, path: object) -> str:
    root = h5g.open(file, b"/")
    if _attribute(root, "format") != "modelarchive":
        raise FormatError(
            "is an HDF5 file, but no model archive (its root has no attribute format = 'modelarchive')",
            file=path,
            hint="modelarchive.save() and save_model() write archives",
        )
    version = _attribute(root, "format_version")
    if not isinstance(version, int) or version < 1:
        raise FormatError(f"format_version is {version!r}, expected a positive integer", file=path)
    if version > index.FORMAT_VERSION:
        raise UnsupportedVersionError(
            f"written in format {version}, this package reads up to {index.FORMAT_VERSION}",
            file=path,
            hint="pip install --upgrade modelarchive",
        )
    return str(_attribute(root, "generator") or "")


def _walk(file: h5f.FileID, path: object) -> Iterator[Dataset | Group]:
    """Every object below the root, each checked before it is opened further."""
    root = h5g.open(file, b"/")
    pending = [("", root, 0)]
    visited = {h5o.get_info(root).addr}
    known: set[int] = set()
    objects = 0
    unstored = 0
    room = size = file.get_filesize()
    while pending:
        prefix, group, depth = pending.pop()
        if depth > MAX_DEPTH:
            _refuse("depth", f"groups nest deeper than {MAX_DEPTH}", path, prefix)
        links: list[tuple[bytes, Any]] = []
        group.links.iterate(lambda link, info, links=links: links.append((link, info.type)), info=True)
        for link, link_type in links:
            objects += 1
            if objects > MAX_OBJECTS:
                _refuse("objects", f"more than {MAX_OBJECTS:,} objects", path, prefix)
            child_path = f"{prefix}/{link.decode()}"
            child, address = _open_link(group, link, link_type, path, child_path)
            if isinstance(child, h5g.GroupID):
                if address in visited:
                    _refuse("revisit", "a group is linked twice", path, child_path)
                visited.add(address)
                yield Group(
                    child_path,
                    str(_attribute(child, "container") or ""),
                    str(_attribute(child, "kind") or ""),
                )
                pending.append((child_path, child, depth + 1))
            elif isinstance(child, h5d.DatasetID):
                content, missing = _describe(child, size, path, child_path)
                unstored += missing
                if unstored > MAX_UNSTORED:
                    _refuse("declared bytes", "datasets declare far more bytes than are stored", path, child_path)
                if address not in known:
                    known.add(address)
                    room -= child.get_storage_size()
                # Chunks that share bytes would make any declared size look stored.
                if room < 0:
                    _refuse("declared bytes", "datasets claim more bytes than the file has", path, child_path)
                yield Dataset(child_path, address, content)


def _open_link(group: h5g.GroupID, link: bytes, link_type: int, path: object, where: str) -> tuple[Any, int]:
    """The object that a hard link names, and its address: the object's identity."""
    if link_type != h5l.TYPE_HARD:
        _refuse("hard links only", "is a soft, external or user-defined link", path, where)
    info = h5o.get_info(group, link)
    # What its type is known for opens in less than half the time.
    opener = {h5o.TYPE_DATASET: h5d.open, h5o.TYPE_GROUP: h5g.open}.get(info.type, h5o.open)
    return opener(group, link), info.addr


def _resolve(file: h5f.FileID, hdf5_path: str, path: object) -> tuple[h5d.DatasetID, Entry | Text]:
    node: Any = h5g.open(file, b"/")
    where = ""
    for part in hdf5_path.strip("/").split("/"):
        where += f"/{part}"
        if not isinstance(node, h5g.GroupID) or part.encode() not in node:
            raise FormatError("is not in the file", file=path, path=hdf5_path)
        link_type = node.links.get_info(part.encode()).type
        node, _ = _open_link(node, part.encode(), link_type, path, where)
    if not isinstance(node, h5d.DatasetID):
        raise FormatError("is no dataset", file=path, path=hdf5_path)
    content, missing = _describe(node, file.get_filesize(), path, hdf5_path)
    if missing > MAX_UNSTORED:
        _refuse("declared bytes", "declares far more bytes than are stored", path, hdf5_path)
    if content is None:
        raise FormatError("has a dtype that archives do not hold", file=path, path=hdf5_path)
    return node, content


def _describe(dataset: h5d.DatasetID, size: int, path: object, where: str) -> tuple[Entry | Text | None, int]:
    """What a dataset of a file of `size` bytes holds (None: nothing that an archive holds).

    Returns:
        That, and the bytes declared but not stored.
    """
    creation = dataset.get_create_plist()
    layout = creation.get_layout()
    # Before anything else is asked: even the extent of a virtual dataset may open other files.
    if layout not in _LAYOUTS:
        _refuse("no virtual datasets", "is a virtual dataset", path, where)
    if creation.get_external_count():
        _refuse("no external storage", "keeps its data in another file", path, where)
    filters = [creation.get_filter(number)[0] for number in range(creation.get_nfilters())]
    # Each at most once: what is deflated twice inflates by the square.
    if len(set(filters)) != len(filters) or any(code not in _FILTERS for code in filters):
        _refuse(
            "filters",
            f"uses the HDF5 filters {filters}, allowed are deflate, shuffle, fletcher32, once each "
            "(`h5repack -f GZIP=4` recompresses)",
            path,
            where,
        )
    space = dataset.get_space()
    if space.get_simple_extent_type() == h5s.NULL:
        return None, 0
    shape = tuple(space.shape)
    type_ = dataset.get_type()
    nbytes = type_.get_size() * math.prod(shape)
    stored = dataset.get_storage_size()
    limit = stored * MAX_INFLATION if h5z.FILTER_DEFLATE in filters else stored
    if math.prod(filter(None, shape)) * type_.get_size() > MAX_LENGTH:
        raise FormatError(f"has the shape {shape}, which no memory can hold", file=path, path=where)
    offset = dataset.get_offset() if layout == h5d.CONTIGUOUS and 0 < stored == nbytes else None
    if offset is not None and offset + nbytes > size:
        raise FormatError("lies outside the file", file=path, path=where)
    content: Entry | Text | None
    if isinstance(type_, h5t.TypeStringID):
        content = _describe_text(dataset, type_, shape, offset)
    else:
        dtype, is_plain = _known_type(type_)
        if dtype == "uint8" and (declared := _attribute(dataset, "dtype")) in _CODES:
            dtype = str(declared)
        content = None if dtype is None else Entry(dtype, shape, offset if is_plain else None, nbytes, None)
    return content, max(0, nbytes - limit)


def _describe_text(dataset: h5d.DatasetID, type_: h5t.TypeStringID, shape: tuple[int, ...], offset: int | None) -> Text:
    is_padded_with_nul = not type_.is_variable_str() and type_.get_strpad() == h5t.STR_NULLPAD
    code = _attribute(dataset, "dtype")
    if not isinstance(code, str) or not index.TEXT_DTYPE.fullmatch(code) or (shape and code in (*LITERALS, "text")):
        code = "string" if shape else "text"
    return Text(code, shape, type_.get_size(), offset if is_padded_with_nul else None, None)


#: Dtypes that are stored as their uint8 codes.
_CODES: Final = ("float8_e4m3fn", "float8_e5m2")


def _known_type(type_: h5t.TypeID) -> tuple[str | None, bool]:
    """The logical dtype of an HDF5 type, and whether its stored bytes are those of an archive's arrays."""
    key = type_.encode()
    if key not in _TYPES:
        dtype = _dense_dtype(type_)
        is_plain = dtype is not None and _raw_type(type_, dtypes.numpy_dtype(dtype)).equal(type_) and _is_little(type_)
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


def _raw_type(type_: h5t.TypeID, dtype: np.dtype) -> h5t.TypeID:
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


def _attribute(owner: Any, name: str) -> str | int | None:
    """A short string or an integer; None if the attribute is missing or something else."""
    if not h5a.exists(owner, name.encode()):
        return None
    attribute = h5a.open(owner, name.encode())
    type_ = attribute.get_type()
    if attribute.get_space().get_simple_extent_type() == h5s.NULL:
        return None
    if math.prod(attribute.shape) != 1 or attribute.get_storage_size() > MAX_ATTRIBUTE:
        return None
    if isinstance(type_, h5t.TypeIntegerID):
        number = np.empty(attribute.shape, np.int64)
        attribute.read(number)
        return int(number.item())
    if isinstance(type_, h5t.TypeStringID):
        value = np.empty(attribute.shape, attribute.dtype)
        attribute.read(value)
        text = value.item()
        return text.decode() if isinstance(text, bytes) else str(text)
    return None


def _refuse(rule: str, message: str, path: object, where: str) -> None:
    raise UnsafeFileError(
        f"{where or '/'} {message}",
        rule=rule,
        file=path,
        path=where,
        hint="the file is not opened; see docs/security.md",
    )
