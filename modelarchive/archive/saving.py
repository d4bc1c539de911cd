"""Save arrays, parameters and whole models: what goes where in the file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import dtypes, names
from modelarchive.archive.structure import place, take_apart
from modelarchive.errors import DeferredShapeError, UnsupportedDataError, counted
from modelarchive.nn import Block, Layer, Sequential
from modelarchive.nn.parameter import shape_text
from modelarchive.store.deferred import Deferred
from modelarchive.store.text import encode, encode_array
from modelarchive.version import VERSION

Progress = Callable[[int], None]
_PATH_OF_TEXT: Final = {"architecture": "/architecture", "metadata": "/metadata"}


def save(path: str | os.PathLike[str], data: object, *, durable: bool = True, progress: Progress | None = None) -> None:
    """Save an array, or a list, tuple or dict of arrays, numbers, strings and further such.

    Args:
        path: The file; an old one is replaced as a whole, or left as it was.
        data: Dict keys are strings, any string. Arrays may have any byte order and strides; they are stored
            little-endian in C order. ``OrderedDict`` and named tuples come back as dict and tuple, NumPy
            scalars as arrays of no axes.
        durable: Have the system put the file on the disk before returning; without it a power cut within
            the next seconds can lose the new file, never damage the old one.
        progress: Called with the number of bytes written since the last call.

    Raises:
        UnsupportedDataError: A value cannot be stored; lists all of them; no file is touched.
        OSError: The file cannot be written.
    """
    from modelarchive.store import writer

    members = take_apart(data)
    texts = {}
    problems = []
    for name, array in members.strings.items():
        try:
            texts[f"/arrays/{name}"] = encode_array(array)
        except ValueError as error:
            problems.append((place(members.kinds, name), str(error)))
    if problems:
        raise UnsupportedDataError(problems, hint="nothing was written")
    for name, (dtype, value) in members.literals.items():
        texts[f"/arrays/{name}"] = encode(value, dtype=dtype)
    # In the order of the structure, as it will be read and written again.
    places = [f"/arrays/{name}" for name in members.kinds]
    texts = {member: texts[member] for member in places if member in texts}
    containers: dict[str, dict[str, str | int]] = {
        f"/arrays/{name}".rstrip("/"): {"container": kind}
        for name, kind in members.kinds.items()
        if kind not in ("array", "literal")
    }
    layout = writer.Layout(
        section="arrays",
        generator=generator(),
        arrays=members.arrays,
        texts=texts,
        members=members.kinds,
        order=list(members.arrays),
        attributes={"/": root_attributes(), **containers},
    )
    writer.write(path, layout, durable=durable, progress=progress)


def save_parameters(
    block: Block,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> None:
    """Save a block's parameters by their structural names, without its architecture.

    Args:
        block: An initialised block. A shared parameter is stored once, under all of its names.
        path: The file; an old one is replaced as a whole, or left as it was.
        metadata: Anything JSON can say, under string keys.
        durable: As in :func:`save`.
        progress: As in :func:`save`.

    Raises:
        DeferredShapeError: Parameters have no values yet; lists all of them.
        OSError: The file cannot be written.
    """
    kinds = {name: _kind(child) for name, child in block.named_blocks()}
    write_model(
        path,
        initialized(block),
        kinds=kinds,
        texts=json_texts(metadata=metadata),
        durable=durable,
        progress=progress,
    )


def _kind(block: Block) -> str:
    """The vocabulary's word for a block; a class of the user's own is what an architecture calls a Graph."""
    if isinstance(block, Layer):
        return block.kind
    return "Sequential" if isinstance(block, Sequential) else "Graph"


def save_model(
    path: str | os.PathLike[str],
    block: Block,
    *,
    inputs: Any = None,
    metadata: Mapping[str, Any] | None = None,
    tokens: Mapping[str, Sequence[str]] | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> None:
    """Save a whole model: the architecture that its ``forward`` draws, and its parameters.

    Args:
        path: The file; an old one is replaced as a whole, or left as it was.
        block: The network. Its ``forward`` is recorded on `inputs` with a symbolic batch axis.
        inputs: An example input, or a tuple of several. A network that was rebuilt remembers its own.
        metadata: Anything JSON can say, under string keys: licence, training data, measured accuracy.
        tokens: Parameter name -> the word that each of its rows belongs to, for embeddings.
        durable: As in :func:`save`.
        progress: As in :func:`save`.

    Raises:
        SpecError: ``forward`` cannot be recorded; names class, file and line.
        DeferredShapeError: Parameters have no values yet; lists all of them.
        OSError: The file cannot be written.
    """
    from modelarchive import spec

    if not isinstance(block, Block):
        raise TypeError(f"block is {type(block).__name__}, expected a modelarchive.nn.Block")
    architecture = spec.describe(block, inputs)
    values = initialized(block)
    # In the architecture's order, which a rebuilt network has too: saved again, it gives the same bytes.
    parameters = {name: values[name] for name in spec.parameter_shapes(architecture)}
    texts = json_texts(architecture=architecture, metadata=metadata)
    texts |= token_texts(tokens or {}, {name: parameter.shape[:1] for name, parameter in parameters.items()})
    write_model(path, parameters, kinds=kinds_of(architecture), texts=texts, durable=durable, progress=progress)


def write_model(
    path: str | os.PathLike[str],
    parameters: Mapping[str, np.ndarray | Deferred],
    *,
    kinds: Mapping[str, str],
    texts: Mapping[str, Any],
    durable: bool = True,
    progress: Progress | None = None,
) -> None:
    """Write parameters and texts as a model archive; the same array under two names is stored once.

    Args:
        path: The file.
        parameters: Structural name -> array, or one to be read when it is its turn; in the model's order.
        kinds: Block path -> kind; "" is the model itself.
        texts: HDF5 path -> encoded text.
        durable: As in :func:`save`.
        progress: As in :func:`save`.
    """
    from modelarchive.store import writer

    canonical: dict[int, str] = {}
    arrays: dict[str, np.ndarray | Deferred] = {}
    aliases: dict[str, str] = {}
    for name, array in parameters.items():
        if id(array) in canonical:
            aliases[name] = canonical[id(array)]
        else:
            canonical[id(array)] = name
            arrays[name] = array
    attributes: dict[str, dict[str, str | int]] = {"/": root_attributes(), "/parameters": {}}
    for path_of_block, kind in kinds.items():
        group = "/parameters" + "".join(f"/{part}" for part in path_of_block.split(".") if part)
        attributes[group] = {"kind": kind}
        if _is_drawable(arrays.get(f"{path_of_block}.weight" if path_of_block else "weight")):
            attributes[group] |= {"NX_class": "NXdata", "signal": "weight"}
    for hdf5_path in texts:
        group, _, last = hdf5_path.rpartition("/")
        if last == "data":
            attributes[group] = {"NX_class": "NXnote"}
    if "/architecture/data" in texts:
        attributes["/"] |= {"default": "architecture", "vocabulary_version": 1}
    layout = writer.Layout(
        section="parameters",
        generator=generator(),
        arrays=arrays,
        aliases=aliases,
        texts=dict(texts),
        order=list(parameters),
        attributes=attributes,
    )
    writer.write(path, layout, durable=durable, progress=progress)


def write_dict(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray | Deferred],
    *,
    texts: Mapping[str, Any],
    durable: bool = True,
    progress: Progress | None = None,
) -> None:
    """Write what :func:`save` writes of a flat dict of arrays, also of arrays to be read when it is their turn.

    Args:
        path: The file.
        arrays: Key, any string -> array.
        texts: HDF5 path -> encoded text.
        durable: As in :func:`save`.
        progress: As in :func:`save`.
    """
    from modelarchive.store import writer

    encoded = {names.encode_key(key): array for key, array in arrays.items()}
    layout = writer.Layout(
        section="arrays",
        generator=generator(),
        arrays=encoded,
        texts=dict(texts),
        members={"": "dict"} | dict.fromkeys(encoded, "array"),
        order=list(encoded),
        attributes={"/": root_attributes(), "/arrays": {"container": "dict"}},
    )
    writer.write(path, layout, durable=durable, progress=progress)


def initialized(block: Block) -> dict[str, np.ndarray]:
    """Structural name -> array of every parameter; a shared parameter is the same array object.

    Raises:
        DeferredShapeError: Some have no values yet; lists all of them.
        UnsupportedDataError: A name is outside the grammar.
    """
    parameters = block.collect_params()
    problems = [(name, problem) for name in parameters if (problem := names.problem_with_name(name))]
    if problems:
        raise UnsupportedDataError(problems, hint="rename the attributes")
    waiting = [name for name, parameter in parameters.items() if not parameter.is_initialized]
    if waiting:
        listed = "".join(f"\n  {name}: shape {shape_text(parameters[name].shape)}" for name in waiting)
        raise DeferredShapeError(
            f"{counted(len(waiting), 'parameter')} of {type(block).__name__} cannot be saved, no values yet:{listed}",
            names=waiting,
            hint="call initialize() and run the network once on an example input, or load parameters",
        )
    return {name: parameter.value() for name, parameter in parameters.items()}


def json_texts(**documents: Mapping[str, Any] | None) -> dict[str, Any]:
    """HDF5 path -> encoded text of JSON documents, in groups that viewers show as notes.

    Raises:
        UnsupportedDataError: A document holds what JSON cannot say; all such places are listed.
    """
    texts = {}
    for name, document in documents.items():
        if document is None:
            continue
        if not isinstance(document, Mapping):
            raise TypeError(f"{name} is {type(document).__name__}, expected a dict")
        if problems := list(_beyond_json(document, name)):
            raise UnsupportedDataError(problems, hint="use numbers, strings, lists and dicts with string keys")
        # A lone surrogate is a legal Python string and JSON escape, and no UTF-8.
        plain = _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", _json_lines(document))
        texts[f"/{name}/data"] = encode(plain)
        texts[f"/{name}/type"] = encode("application/json")
    return texts


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _json_lines(value: Any, indent: str = "") -> str:
    """JSON as people lay it out: an object's members on lines of their own, a list of numbers on one."""
    inner = indent + "  "
    if isinstance(value, Mapping) and value:
        members = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {_json_lines(item, inner)}" for key, item in value.items()
        ]
        return "{\n" + ",\n".join(members) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        return "[\n" + ",\n".join(inner + _json_lines(item, inner) for item in value) + f"\n{indent}]"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_json_lines(item, inner) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def blocks_of(architecture: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, block) of every block of a valid architecture, each before its children; "" is the model itself."""
    pending = [("", architecture["model"])]
    while pending:
        path, block = pending.pop()
        yield path, block
        children = [*block.get("children", ()), *(node for node in block.get("nodes", ()) if "block" in node)]
        prefix = f"{path}." if path else ""
        pending += [(prefix + child["name"], child["block"]) for child in reversed(children)]


def kinds_of(architecture: Mapping[str, Any]) -> dict[str, str]:
    """Path -> kind of every block of a valid architecture; "" is the model itself."""
    return {path: block["kind"] for path, block in blocks_of(architecture)}


def generator() -> str:
    """This program's name and version, as archives carry it."""
    return f"modelarchive {VERSION}"


def root_attributes() -> dict[str, str | int]:
    """The attributes of every archive's root."""
    from modelarchive.store.index import FORMAT_VERSION

    return {"format": "modelarchive", "format_version": FORMAT_VERSION, "generator": generator()}


def token_texts(tokens: Mapping[str, Sequence[str]], rows: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """HDF5 path -> encoded words of the parameters' rows.

    Args:
        tokens: Parameter name -> the word of each of its rows.
        rows: Parameter name -> the length of its first axis, as a shape.

    Raises:
        UnsupportedDataError: Words of no parameter, or not one for each row; lists all of them.
    """
    texts = {}
    problems = []
    for name, words in sorted(tokens.items(), key=lambda item: names.natural_key(item[0])):
        if name not in rows:
            near = names.near(name, list(rows))
            problems.append((f"tokens[{name!r}]", "is no parameter" + (f", did you mean {near!r}?" if near else "")))
        elif isinstance(words, str) or not all(isinstance(word, str) for word in words):
            problems.append((f"tokens[{name!r}]", "is no sequence of strings"))
        elif rows[name] != (len(words),):
            problems.append((f"tokens[{name!r}]", f"has {len(words)} words for {rows[name]} rows"))
        else:
            try:
                array = np.array(list(words), dtype=np.dtypes.StringDType())
                texts[f"/tokens/{name.replace('.', '/')}"] = encode_array(array)
            except ValueError as error:
                problems.append((f"tokens[{name!r}]", str(error)))
    if problems:
        raise UnsupportedDataError(problems, hint="nothing was written")
    return texts


def _beyond_json(value: object, where: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    if depth > names.MAX_PARTS:
        yield where, f"nested deeper than {names.MAX_PARTS}"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{where}[{key!r}]", f"the key is {type(key).__name__}, expected str"
            yield from _beyond_json(item, f"{where}[{key!r}]", depth + 1)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _beyond_json(item, f"{where}[{number}]", depth + 1)
    elif isinstance(value, float) and value - value != 0:
        yield where, f"{value} is no JSON number"
    elif not (value is None or isinstance(value, str | int | float)):
        yield where, f"{type(value).__name__} is nothing that JSON can say"


def _is_drawable(array: np.ndarray | Deferred | None) -> bool:
    if array is None or array.ndim != 2 or min(array.shape) < 2:
        return False
    # float8 is stored as its codes, and codes are no picture.
    return not str(dtypes.dense_name(array.dtype)).startswith(("bool", "complex", "float8"))
