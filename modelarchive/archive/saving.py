"""Save arrays, parameters and whole models: what goes where in the file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from modelarchive import names
from modelarchive.archive.choices import Choice, compressed
from modelarchive.archive.documents import architecture_texts, json_texts, token_texts
from modelarchive.archive.structure import encoded, take_apart
from modelarchive.archive.training import Training, training_of
from modelarchive.errors import DeferredShapeError, UnsupportedDataError, counted
from modelarchive.store.contents import block_group
from modelarchive.store.deferred import Deferred
from modelarchive.version import VERSION

if TYPE_CHECKING:
    from modelarchive.archive.folders import Counterpart
    from modelarchive.nn import Block
    from modelarchive.store.layout import Layout

Progress = Callable[[int], None]


def save(
    path: str | os.PathLike[str],
    data: object,
    *,
    compression: Choice = None,
    max_shard_size: int | str | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> None:
    """Save an array, or a list, tuple or dict of arrays, numbers, strings and further such.

    Args:
        path: The file; an old one is replaced as a whole, or left as it was.
        data: Dict keys are strings, any string, or integers of 64 bits. Arrays may have any byte order and strides;
            they are stored little-endian in C order. ``OrderedDict`` and named tuples come back as dict and tuple,
            NumPy scalars as arrays of no axes. Arrays of other libraries (``torch.Tensor`` on any device,
            ``keras.Variable``, JAX, whatever has ``__array__`` or DLPack) are stored as the same numbers; tensors
            that are the same memory once, under each of their names.
        compression: "deflate" compresses the arrays that shrink by it, with HDF5's own filters; a dict chooses by
            name, the first pattern that matches: ``{"*.bias": None, "*": "deflate"}``. None: they stay as they
            are, and can be mapped.
        max_shard_size: Write a folder of shards, a new one where one would have more bytes of arrays: "5GB", "512MiB"
            or a number. A `path` that ends in a slash is such a folder, of 5 GB each. None: one file.
        durable: Have the system put the file on the disk before returning; without it a power cut within
            the next seconds can lose the new file, never damage the old one.
        progress: Called with the number of bytes written since the last call.

    Raises:
        UnsupportedDataError: A value cannot be stored; lists all of them; no file is touched.
        ValueError: `compression` is unknown, or `max_shard_size` no size.
        ParameterError: It names an array that is not there.
        OSError: The file cannot be written.
    """
    from modelarchive.store.layout import Layout

    members = take_apart(data)
    layout = Layout(
        section="arrays",
        generator=generator(),
        arrays=members.arrays,
        aliases=members.aliases,
        texts=encoded(members, "/arrays/"),
        members=members.kinds,
        order=[member for member in members.kinds if member in members.arrays or member in members.aliases],
        compressed=compressed(compression, members.arrays),
    )
    write(path, layout, max_shard_size=max_shard_size, durable=durable, progress=progress)


def write(
    path: str | os.PathLike[str],
    layout: Layout,
    *,
    max_shard_size: int | str | None = None,
    counterpart: Counterpart | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> None:
    """Write an archive: as one file, or as a folder of shards where a size is given or the name ends in a slash.

    Args:
        path: The file or the folder.
        layout: What to write.
        max_shard_size: As in :func:`save`.
        counterpart: What makes the folder another library's, too.
        durable: As in :func:`save`.
        progress: As in :func:`save`.
    """
    from modelarchive.archive import folders
    from modelarchive.store import writer

    if not folders.is_for_shards(path, max_shard_size):
        _warn_of_name(path)
        writer.write(path, layout, durable=durable, progress=progress)
        return
    folders.write_folder(
        path, layout, max_shard_size=max_shard_size, counterpart=counterpart, durable=durable, progress=progress
    )


#: Suffixes of an archive, and some that many systems have.
_NO_SYSTEMS: Final = (".h5", ".hdf5", ".safetensors", ".ckpt", ".bin", ".params", ".txt")


def _warn_of_name(path: str | os.PathLike[str]) -> None:
    """Warn where a file's name says that it is another system's: what is written is an archive all the same."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    name = Path(text).name.lower()
    if not name.endswith(".weights.h5") and (name.endswith(_NO_SYSTEMS) or "." not in name):
        return
    from modelarchive.formats import system_of_name

    if (system := system_of_name(name)) is not None:
        way = f", and convert() makes {system.what} of it" if system.writes else ""
        warnings.warn(f"{text}: is written as an archive, whatever its name says: call it .h5{way}", stacklevel=4)


def save_parameters(
    block: Block,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
    training: object = None,
    compression: Choice = None,
    max_shard_size: int | str | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> None:
    """Save a block's parameters by their structural names, without its architecture.

    Args:
        block: An initialised block. A shared parameter is stored once, under all of its names.
        path: The file; an old one is replaced as a whole, or left as it was.
        metadata: Anything JSON can say, under string keys.
        training: As in :func:`save_model`.
        compression: As in :func:`save`; names are the structural ones.
        max_shard_size: As in :func:`save`.
        durable: As in :func:`save`.
        progress: As in :func:`save`.

    Raises:
        DeferredShapeError: Parameters have no values yet; lists all of them.
        OSError: The file cannot be written.
    """
    write_model(
        path,
        initialized(block),
        kinds=kinds_in(block),
        texts=json_texts(metadata=metadata),
        training=None if training is None else training_of(training),
        compression=compression,
        max_shard_size=max_shard_size,
        durable=durable,
        progress=progress,
    )


def kinds_in(block: Block) -> dict[str, str]:
    """Path -> kind of a block and of every one inside; "" is the block itself."""
    return {name: _kind(child) for name, child in block.named_blocks()}


def _kind(block: Block) -> str:
    """The vocabulary's word for a block; a class of the user's own is what an architecture calls a Graph."""
    from modelarchive.nn import Layer, Scan, Sequential

    if isinstance(block, Layer):
        return block.kind
    return next((each.__name__ for each in (Scan, Sequential) if isinstance(block, each)), "Graph")


def save_model(
    path: str | os.PathLike[str],
    block: Block,
    *,
    inputs: Any = None,
    metadata: Mapping[str, Any] | None = None,
    tokens: Mapping[str, Sequence[str]] | None = None,
    training: object = None,
    compression: Choice = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> None:
    """Save a whole model: the architecture that its ``forward`` draws, and its parameters.

    Args:
        path: The file; an old one is replaced as a whole, or left as it was.
        block: The network. Its ``forward`` is recorded on `inputs` with a symbolic batch axis.
        inputs: An example input, or a tuple of several. A network that was rebuilt remembers its own, one that
            was called what it was given last.
        metadata: Anything JSON can say, under string keys: licence, training data, measured accuracy.
        tokens: Parameter name -> the word that each of its rows belongs to, for embeddings.
        training: What training goes on from, whatever :func:`save` takes; it lies beside the parameters.
        compression: As in :func:`save`; names are the structural ones.
        durable: As in :func:`save`.
        progress: As in :func:`save`.

    Raises:
        SpecError: ``forward`` cannot be recorded; names class, file and line.
        DeferredShapeError: Parameters have no values yet; lists all of them.
        OSError: The file cannot be written.
    """
    from modelarchive.architecture import describing
    from modelarchive.nn import Block

    if not isinstance(block, Block):
        raise TypeError(f"block is {type(block).__name__}, expected a modelarchive.nn.Block")
    described = describing.described(block, inputs)
    values = initialized(block)
    # In the architecture's order, which a rebuilt network has too: saved again, it gives the same bytes.
    parameters = {name: values[name] for name in described.shapes}
    texts = architecture_texts(described.architecture) | json_texts(metadata=metadata)
    texts |= token_texts(tokens or {}, {name: parameter.shape[:1] for name, parameter in parameters.items()})
    write_model(
        path,
        parameters,
        kinds=kinds_of(described.architecture),
        texts=texts,
        training=None if training is None else training_of(training),
        compression=compression,
        durable=durable,
        progress=progress,
    )


def write_model(
    path: str | os.PathLike[str],
    parameters: Mapping[str, np.ndarray | Deferred],
    *,
    kinds: Mapping[str, str],
    texts: Mapping[str, Any],
    training: Training | None = None,
    compression: Choice = None,
    max_shard_size: int | str | None = None,
    counterpart: Counterpart | None = None,
    durable: bool = True,
    progress: Progress | None = None,
    stream: Iterable[tuple[str, np.ndarray]] | None = None,
) -> None:
    """Write parameters and texts as a model archive; the same array under two names is stored once.

    Args:
        path: The file.
        parameters: Structural name -> array, or one to be read when it is its turn; in the model's order.
        kinds: Block path -> kind; "" is the model itself.
        texts: HDF5 path -> encoded text.
        training: What lies beside the parameters.
        compression: As in :func:`save`; a shared parameter goes by the first of its names.
        max_shard_size: As in :func:`save`.
        counterpart: As in :func:`write`.
        durable: As in :func:`save`.
        progress: As in :func:`save`.
        stream: Gives the arrays, by the first name of shared ones; `parameters` then only announces them.
    """
    from modelarchive.store.layout import Layout

    canonical: dict[int, str] = {}
    arrays: dict[str, np.ndarray | Deferred] = {}
    aliases: dict[str, str] = {}
    for name, array in parameters.items():
        if id(array) in canonical:
            aliases[name] = canonical[id(array)]
        else:
            canonical[id(array)] = name
            arrays[name] = array
    texts = dict(texts)
    if training is not None:
        arrays |= training.arrays
        aliases |= training.aliases
        texts |= training.texts
    layout = Layout(
        section="parameters",
        generator=generator(),
        arrays=arrays,
        aliases=aliases,
        texts=texts,
        training=None if training is None else training.members,
        order=list(parameters),
        kinds={block_group(path): kind for path, kind in kinds.items()},
        stream=stream,
        compressed=compressed(compression, parameters),
    )
    write(
        path,
        layout,
        max_shard_size=max_shard_size,
        counterpart=counterpart,
        durable=durable,
        progress=progress,
    )


def write_dict(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray | Deferred],
    *,
    texts: Mapping[str, Any],
    compression: Choice = None,
    max_shard_size: int | str | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> None:
    """Write what :func:`save` writes of a flat dict of arrays, also of arrays to be read when it is their turn.

    Args:
        path: The file.
        arrays: Key, any string -> array.
        texts: HDF5 path -> encoded text.
        compression: As in :func:`save`.
        max_shard_size: As in :func:`save`.
        durable: As in :func:`save`.
        progress: As in :func:`save`.

    Raises:
        UnsupportedDataError: Keys are longer than HDF5's names may be; lists all of them.
    """
    from modelarchive.store.layout import Layout

    encoded = {names.encode_key(key): array for key, array in arrays.items()}
    if problems := [(f"{key[:40]!r}...", names.TOO_LONG) for key in encoded if names.is_too_long(key)]:
        raise UnsupportedDataError(problems, hint="nothing was written")
    layout = Layout(
        section="arrays",
        generator=generator(),
        arrays=encoded,
        texts=dict(texts),
        members={"": "dict"} | dict.fromkeys(encoded, "array"),
        order=list(encoded),
        compressed=compressed(compression, encoded),
    )
    write(path, layout, max_shard_size=max_shard_size, durable=durable, progress=progress)


def initialized(block: Block) -> dict[str, np.ndarray]:
    """Structural name -> array of all that is stored, parameters and constants; a shared one is the same object.

    Raises:
        DeferredShapeError: Some have no values yet; lists all of them.
    """
    parameters = block.collect_stored()
    waiting = [name for name, parameter in parameters.items() if not parameter.is_initialized]
    if waiting:
        from modelarchive.nn.parameter import shape_text

        listed = "".join(f"\n  {name}: shape {shape_text(parameters[name].shape)}" for name in waiting)
        raise DeferredShapeError(
            f"{counted(len(waiting), 'parameter')} of {type(block).__name__} cannot be saved, no values yet:{listed}",
            names=waiting,
            hint="call initialize() and run the network once on an example input, or load parameters",
        )
    return {name: parameter.value() for name, parameter in parameters.items()}


def blocks_of(architecture: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, block) of every block of a valid architecture, each before its children; "" is the model itself."""
    from modelarchive.architecture.vocabulary import children_of

    pending = [("", architecture["model"])]
    while pending:
        path, block = pending.pop()
        yield path, block
        children = [each for each in children_of(block) if "block" in each]
        prefix = f"{path}." if path else ""
        pending += [(prefix + child["name"], child["block"]) for child in reversed(children)]


def kinds_of(architecture: Mapping[str, Any]) -> dict[str, str]:
    """Path -> kind of every block of a valid architecture; "" is the model itself."""
    return {path: block["kind"] for path, block in blocks_of(architecture)}


def generator() -> str:
    """This program's name and version, as archives carry it."""
    return f"modelarchive {VERSION}"
