"""Save a model that does not fit into memory: its arrays come one after another, from an iterator."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from modelarchive import dtypes, names, tensors
from modelarchive.archive.documents import architecture_texts, json_texts, token_texts
from modelarchive.archive.saving import Progress, kinds_of, write_model
from modelarchive.errors import ParameterError, UnsupportedDataError
from modelarchive.store.deferred import Deferred

if TYPE_CHECKING:
    from modelarchive.architecture import Checked


def save_stream(
    path: str | os.PathLike[str],
    arrays: Iterable[tuple[str, np.ndarray]] | Mapping[str, np.ndarray],
    *,
    announced: Mapping[str, Any] | None = None,
    architecture: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    tokens: Mapping[str, Sequence[str]] | None = None,
    durable: bool = True,
    progress: Progress | None = None,
) -> None:
    """Save parameters as an iterator gives them; memory holds one of them at a time, or a part of one.

    Args:
        path: The file; an old one is replaced as a whole, or left as it was.
        arrays: Pairs of a name and an array, in any order, each written before the next is asked for; or a mapping
            of them. An array may come in parts: runs of rows of its first axis, the first run first, each under the
            array's name. Of parameters that an architecture shares, only the first name comes.
        announced: Name -> ``(shape, dtype)``, or anything that has a shape and a dtype, also PyTorch's, in the model's
            order. It says where everything lies before the first array comes. None: what the architecture declares.
        architecture: As :func:`modelarchive.describe` gives it; the archive is a whole model then.
        metadata: Anything JSON can say, under string keys.
        tokens: Parameter name -> the word that each of its rows belongs to, for embeddings.
        durable: As in :func:`modelarchive.save`.
        progress: As in :func:`modelarchive.save`.

    Raises:
        ParameterError: What is announced is not what the architecture declares; or an array came that was not
            announced, or of another shape or dtype, or twice, or did not come. The old file is as it was.
        SpecError: The architecture is invalid.
        UnsupportedDataError: Names are outside the grammar, or dtypes none that archives hold; lists all of them.
        OSError: The file cannot be written.
    """
    if announced is None and architecture is None:
        raise TypeError("announced or architecture is needed: where everything lies is fixed before the first array")
    entries = {} if announced is None else _entries(announced)
    kinds: dict[str, str] = {}
    texts: dict[str, Any] = {}
    if architecture is not None:
        from modelarchive.architecture import check

        checked = check(architecture)
        entries = _declared(checked, entries if announced is not None else None)
        kinds = kinds_of(checked.architecture)
        texts = architecture_texts(checked.architecture)
    texts |= json_texts(metadata=metadata)
    texts |= token_texts(tokens or {}, {name: entry.shape[:1] for name, entry in entries.items()})
    stream = _once(arrays.items() if isinstance(arrays, Mapping) else arrays, entries)
    write_model(path, entries, kinds=kinds, texts=texts, durable=durable, progress=progress, stream=stream)


def _entries(announced: Mapping[str, Any]) -> dict[str, Deferred]:
    from modelarchive.nn.parameter import as_dtype

    problems = []
    found = {}
    for name, value in announced.items():
        try:
            shape, dtype = value if isinstance(value, tuple) else (value.shape, value.dtype)
            entry = _entry(name, shape, as_dtype(dtype))
        except (TypeError, ValueError, AttributeError, RuntimeError):  # a lazy parameter of PyTorch has no shape
            what = value if isinstance(value, tuple) else f"a {type(value).__name__}"
            problems.append((str(name), f"{what} is announced, expected a shape in numbers and a dtype of archives"))
            continue
        if not isinstance(name, str):
            problems.append((repr(name), f"the name is {type(name).__name__}, expected str"))
            continue
        found[name] = entry
        if problem := names.problem_with_name(name):
            problems.append((name, problem))
        elif dtypes.dense_name(entry.dtype) is None:
            problems.append((name, f"an archive holds no {entry.dtype}"))
        elif len(entry.shape) > 32 or min(entry.shape, default=0) < 0 or entry.nbytes >= 1 << 63:
            problems.append((name, f"an archive holds no array of the shape {entry.shape}"))
    blocks = {name[:at] for name in found for at, sign in enumerate(name) if sign == "."}
    problems += [(name, "would be a parameter and a block") for name in found if name in blocks]
    if problems:
        raise UnsupportedDataError(problems, hint="nothing was written")
    return found


def _entry(name: str, shape: Sequence[int], dtype: np.dtype) -> Deferred:
    def read() -> NoReturn:
        raise RuntimeError(f"{name} comes with the stream")

    return Deferred(tuple(map(int, shape)), dtype, read)


def _declared(checked: Checked, announced: dict[str, Deferred] | None) -> dict[str, Deferred]:
    """The parameters of an architecture; a shared one is the same object under each of its names."""
    parameters = checked.block.collect_stored()
    entries: dict[int, Deferred] = {}
    found = {}
    mismatched = {}
    for name, shape in checked.shapes.items():
        parameter = parameters[name]
        if id(parameter) not in entries:
            stated = _entry(name, shape, parameter.dtype)
            entries[id(parameter)] = stated if announced is None else announced.get(name, stated)
        found[name] = entries[id(parameter)]
        if found[name].shape != tuple(shape):
            mismatched[name] = (f"shape {tuple(shape)}", f"shape {found[name].shape}")
    missing = [] if announced is None else [name for name in _firsts(found) if name not in announced]
    unexpected = [name for name in announced or () if name not in found]
    if missing or unexpected or mismatched:
        raise ParameterError(
            ending=" the architecture as they are announced, nothing was written",
            missing=missing,
            unexpected=unexpected,
            mismatched=mismatched,
        )
    return found


def _as_array(name: str, array: Any) -> Any:
    try:
        found = None if isinstance(array, np.ndarray) else tensors.foreign(array)
    except UnsupportedDataError as error:
        raise UnsupportedDataError([(name, what) for _, what in error.problems], hint="nothing was changed") from error
    return array if found is None else found.read()


def _firsts(entries: Mapping[str, Deferred]) -> dict[str, str]:
    """First name of each array -> itself; further names of a shared one are left out."""
    first: dict[int, str] = {}
    return {name: name for name, entry in entries.items() if first.setdefault(id(entry), name) == name}


def _once(
    arrays: Iterable[tuple[str, np.ndarray]], entries: Mapping[str, Deferred]
) -> Iterator[tuple[str, np.ndarray]]:
    """The pairs as they come, refused where a shared parameter comes under a further name."""
    firsts = _firsts(entries)
    for pair in arrays:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"arrays gives a {type(pair).__name__}, expected pairs of a name and an array")
        name, array = pair
        if name in entries and name not in firsts:
            first = next(other for other in firsts if entries[other] is entries[name])
            raise ParameterError(
                f"{name!r} is the same parameter as {first!r}, which comes once, under that name",
                unexpected=[name],
                hint="nothing was changed",
            )
        yield name, _as_array(name, array)
