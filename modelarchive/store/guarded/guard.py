"""The one place that opens HDF5 files: every object is checked against a list of what is allowed.

Deny by default: hard links only, followed one component at a time; no external storage, no virtual
datasets; filters and dtypes from short lists; bounds on objects, depth and declared bytes. What passes
is described by the same :class:`Contents` that the index gives.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Iterator
from typing import Any, Final

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5fd, h5g, h5l, h5o, h5p, h5s, h5t, h5z

from modelarchive import dtypes, names
from modelarchive.errors import FormatError, UnsafeFileError, UnsupportedVersionError
from modelarchive.store import index
from modelarchive.store.contents import LITERALS, MAX_INFLATION, Chunks, Contents, Entry, Foreign, Text
from modelarchive.store.guarded.assembly import Dataset, Group, assemble
from modelarchive.store.guarded.filled import check_chunks
from modelarchive.store.guarded.tables import chunk_table
from modelarchive.store.guarded.types import attribute, known_type, long_text, raw_type, texts_of
from modelarchive.store.guarded.unreadable import refuse_left_open, unreadable
from modelarchive.store.header import MAX_LENGTH

#: A path, or a readable binary file.
File = Any
#: At most so many groups and datasets are walked.
MAX_OBJECTS: Final = 1_000_000
#: Groups nest at most so deep: a parameter's parts and its section.
MAX_DEPTH: Final = names.MAX_PARTS + 2
#: Bytes that datasets may declare in total beyond what is stored: unwritten parts read as fill values.
MAX_UNSTORED: Final = 64 << 20

_FILTERS: Final = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32)
_LAYOUTS: Final = (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED)


def read_contents(path: File, *, order: dict[str, int] | None = None) -> Contents:
    """Describe an archive through HDF5.

    Args:
        path: The file.
        order: Name -> position, a hint from an index that does not hold any more: HDF5 keeps no order.

    Raises:
        FormatError: HDF5 cannot read the file, or it is no archive.
        UnsafeFileError: It breaks one of the rules above.
    """
    with _opened(path) as file:
        generator = _check_root(file, path)
        contents = assemble(_walk(file, path), generator, order or {})
        contents.user_block = file.get_create_plist().get_userblock()
        contents.size = file.get_filesize()
    return contents


def read_array(path: File, hdf5_path: str) -> np.ndarray:
    """Read one array that has no bytes of its own in the file: chunked, compact, unwritten or big-endian."""
    with _opened(path) as file:
        dataset, content = _resolve(file, hdf5_path, path)
        if not isinstance(content, Entry):
            raise FormatError("is text, expected an array", file=path, path=hdf5_path)
        check_chunks(dataset, path, hdf5_path)
        # Zeros: what no chunk holds HDF5 may leave as it finds it, and that is no content of the file.
        array = np.zeros(content.shape, dtypes.numpy_dtype(content.dtype))
        raw = raw_type(dataset.get_type(), array.dtype)
        if array.size:
            dataset.read(h5s.ALL, h5s.ALL, array.view(f"V{array.itemsize}"), mtype=raw)
        return array


def read_text(path: File, hdf5_path: str) -> list[bytes]:
    """Read fixed or variable strings as a flat list of bytes."""
    with _opened(path) as file:
        dataset, content = _resolve(file, hdf5_path, path)
        if not isinstance(content, Text):
            raise FormatError("is an array, expected text", file=path, path=hdf5_path)
        check_chunks(dataset, path, hdf5_path)
        array = np.zeros(content.shape, dataset.dtype)
        if array.size:
            dataset.read(h5s.ALL, h5s.ALL, array)
        return [value if isinstance(value, bytes) else b"" for value in array.ravel().tolist()]


def read_kinds(file: File, hdf5_path: str) -> dict[str, str]:
    """The kinds of the blocks at and below a group, by HDF5 path; what is no group is not opened."""
    with _opened(file) as opened:
        pending = [(hdf5_path, _group(opened, hdf5_path, file), 0)]
        visited: set[int] = set()
        kinds = {}
        while pending:
            path, group, depth = pending.pop()
            address = h5o.get_info(group).addr
            if depth > MAX_DEPTH or address in visited or len(visited) > MAX_OBJECTS:
                _refuse("revisit", "a group is linked twice, or nests too deep", file, path)
            visited.add(address)
            if kind := attribute(group, "kind"):
                kinds[path] = str(kind)
            links: list[tuple[bytes, int]] = []
            group.links.iterate(lambda link, info, links=links: links.append((link, info.type)), info=True)
            for link, link_type in links:
                if link_type == h5l.TYPE_HARD and h5o.get_info(group, link).type == h5o.TYPE_GROUP:
                    pending.append((f"{path}/{link.decode()}", h5g.open(group, link), depth + 1))
        return kinds


def _group(file: h5f.FileID, hdf5_path: str, path: object) -> h5g.GroupID:
    node = _object(file, hdf5_path, path)
    if not isinstance(node, h5g.GroupID):
        raise FormatError("is no group", file=path, path=hdf5_path)
    return node


def read_foreign(file: File, *, attributes: list[str], of_groups: list[str]) -> Foreign:
    """Describe an HDF5 file of another system.

    Args:
        file: The file.
        attributes: Attributes of the root whose texts are wanted, however long they are.
        of_groups: Attributes of groups, the root too, whose one or several texts are wanted.

    Raises:
        FormatError: HDF5 cannot read the file, or a program that was writing it did not come to its end.
        UnsafeFileError: It breaks a rule.
    """
    refuse_left_open(file)
    with _opened(file) as opened:
        root = h5g.open(opened, b"/")
        texts = {name: long_text(root, name) for name in attributes if h5a.exists(root, name.encode())}
        arrays: dict[str, Entry | None] = {}
        groups = {"": texts_of(root, of_groups)}
        for found in _walk(opened, file):
            if isinstance(found, Dataset):
                entry = found.content if isinstance(found.content, Entry) else None
                arrays[found.path[1:]] = entry or _opaque(opened, found.path, file)
            else:
                groups[found.path[1:]] = texts_of(h5g.open(opened, found.path.encode()), of_groups)
    return Foreign(arrays, texts, groups)


def rehearse() -> None:
    """Do once what every job does: what is imported and remembered on the way need not be in each process."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "modelarchive", 1
        for name in ("float32", "float16", "int64", "bool"):
            file[f"arrays/{name}"] = np.zeros(2, name)
        file.create_dataset("arrays/chunked", data=np.zeros(8), chunks=(4,), compression="gzip", shuffle=True)
        file["arrays/text"], file["arrays/words"] = np.bytes_(b"x"), ["x"]
    read_contents(buffer)
    for name in ("float32", "chunked"):
        read_array(buffer, f"/arrays/{name}")
    for name in ("text", "words"):
        read_text(buffer, f"/arrays/{name}")


def _opaque(file: h5f.FileID, hdf5_path: str, path: object) -> Entry | None:
    """An array whose dtype HDF5 has no word for, as h5py writes it, and an attribute names it."""
    dataset = h5d.open(file, hdf5_path.encode())
    size, offset = dataset.get_type().get_size(), dataset.get_offset()
    shape = tuple(dataset.get_space().shape)
    nbytes = size * math.prod(shape)
    is_whole = offset is not None and offset + nbytes <= file.get_filesize()
    if isinstance(dataset.get_type(), h5t.TypeOpaqueID) and size == 2 and is_whole:
        return Entry("bfloat16", shape, offset, nbytes, None) if attribute(dataset, "dtype") == "bfloat16" else None
    return None


@contextlib.contextmanager
def _opened(path: File) -> Iterator[h5f.FileID]:
    try:
        file = _open(path)
    except OSError as error:
        raise unreadable(error, path) from error
    try:
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
        raise unreadable(error, path) from error
    except ValueError as error:
        if isinstance(error, FormatError | UnsafeFileError):
            raise
        raise unreadable(error, path) from error
    finally:
        file.close()


def _open(path: File) -> h5f.FileID:
    if not hasattr(path, "readinto"):
        return h5f.open(os.fsencode(path), h5f.ACC_RDONLY)
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fileobj_driver(h5fd.fileobj_driver, path)
    # Nothing may ask the file object for bytes after it was closed.
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    return h5f.open(b"/", h5f.ACC_RDONLY, access)


def _check_root(file: h5f.FileID, path: object) -> str:
    root = h5g.open(file, b"/")
    if attribute(root, "format") != "modelarchive":
        raise FormatError(
            "is an HDF5 file, but no model archive (its root has no attribute format = 'modelarchive')",
            file=path,
            hint="modelarchive.save() and save_model() write archives; load() and convert() read Keras' files of HDF5",
        )
    version = attribute(root, "format_version")
    if not isinstance(version, int) or version < 1:
        raise FormatError(f"format_version is {version!r}, expected a positive integer", file=path)
    if version > index.FORMAT_VERSION:
        raise UnsupportedVersionError(
            f"written in format {version}, this package reads up to {index.FORMAT_VERSION}",
            file=path,
            hint="pip install --upgrade modelarchive",
        )
    return str(attribute(root, "generator") or "")


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
                    str(attribute(child, "container") or ""),
                    str(attribute(child, "kind") or ""),
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
                yield Dataset(child_path, address, content, _chunks(child, content, file))


def _chunks(dataset: h5d.DatasetID, content: Entry | Text | None, file: h5f.FileID) -> Chunks | None:
    """Where a compressed array lies, if an index could say so."""
    if not isinstance(content, Entry) or content.offset is not None or not content.nbytes:
        return None
    if dataset.get_create_plist().get_layout() != h5d.CHUNKED or not known_type(dataset.get_type())[1]:
        return None
    user_block, version = file.get_create_plist().get_userblock(), h5py.version.hdf5_version_tuple
    return chunk_table(dataset, content, user_block=user_block, size=file.get_filesize(), version=version)


def _open_link(group: h5g.GroupID, link: bytes, link_type: int, path: object, where: str) -> tuple[Any, int]:
    """The object that a hard link names, and its address: the object's identity."""
    if link_type != h5l.TYPE_HARD:
        _refuse("hard links only", "is a soft, external or user-defined link", path, where)
    info = h5o.get_info(group, link)
    # What its type is known for opens in less than half the time.
    opener = {h5o.TYPE_DATASET: h5d.open, h5o.TYPE_GROUP: h5g.open}.get(info.type, h5o.open)
    return opener(group, link), info.addr


def _object(file: h5f.FileID, hdf5_path: str, path: object) -> Any:
    """What stands at a path, each link of it checked."""
    node: Any = h5g.open(file, b"/")
    where = ""
    for part in hdf5_path.strip("/").split("/"):
        where += f"/{part}"
        if not isinstance(node, h5g.GroupID) or part.encode() not in node:
            raise FormatError("is not in the file", file=path, path=hdf5_path)
        link_type = node.links.get_info(part.encode()).type
        node, _ = _open_link(node, part.encode(), link_type, path, where)
    return node


def _resolve(file: h5f.FileID, hdf5_path: str, path: object) -> tuple[h5d.DatasetID, Entry | Text]:
    node = _object(file, hdf5_path, path)
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
        dtype, is_plain = known_type(type_)
        if dtype == "uint8" and (declared := attribute(dataset, "dtype")) in _CODES:
            dtype = str(declared)
        content = None if dtype is None else Entry(dtype, shape, offset if is_plain else None, nbytes, None)
    return content, max(0, nbytes - limit)


def _describe_text(dataset: h5d.DatasetID, type_: h5t.TypeStringID, shape: tuple[int, ...], offset: int | None) -> Text:
    is_padded_with_nul = not type_.is_variable_str() and type_.get_strpad() == h5t.STR_NULLPAD
    code = attribute(dataset, "dtype")
    if not isinstance(code, str) or not index.TEXT_DTYPE.fullmatch(code) or (shape and code in (*LITERALS, "text")):
        code = "string" if shape else "text"
    is_ascii = type_.get_cset() == h5t.CSET_ASCII
    return Text(code, shape, type_.get_size(), offset if is_padded_with_nul else None, None, is_ascii)


#: Dtypes that are stored as their uint8 codes.
_CODES: Final = ("float8_e4m3fn", "float8_e5m2")


def _refuse(rule: str, message: str, path: object, where: str) -> None:
    raise UnsafeFileError(
        f"{where or '/'} {message}",
        rule=rule,
        file=path,
        path=where,
        hint="the file is not opened; see docs/security.md",
    )
