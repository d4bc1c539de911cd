"""Write MXNet's files: parameters for Gluon, and whole models as symbol and parameters."""

from __future__ import annotations

import math
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelarchive import names
from modelarchive.architecture import build
from modelarchive.archive.saving import kinds_of
from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Bundle, Note, Source, bundle_of, deferred
from modelarchive.exchange.mxnet import naming
from modelarchive.exchange.mxnet.exporting import Exporter
from modelarchive.exchange.mxnet.ndarrays import DTYPES, MAGIC, MAX_AXES, V2, V3
from modelarchive.store.deferred import Deferred
from modelarchive.store.replace import replacing

_PAIR: Final = re.compile(r"(?P<prefix>.*?)(?:(?:-symbol)?\.json|-(?P<epoch>\d{4,})\.params)", re.DOTALL)


def write(source: Source, path: str | os.PathLike[str], *, inputs: Any = None, durable: bool = True) -> list[Note]:
    """Write a model, or parameters, as MXNet 1.x reads them.

    Args:
        source: A bundle, an open archive, the path of an archive, a network, or a mapping of arrays.
        path: ``net-symbol.json`` or ``net-0000.params``: both files of a whole model are written, as ``export``
            does, for ``SymbolBlock.imports``. Any other name: one file of arrays, for ``load_parameters`` of a
            Gluon network of the same structure, or ``nd.load``.
        inputs: For a network: what to record its ``forward`` on, unless it remembers that.
        durable: Have the system put the files on the disk before returning.

    Returns:
        What was changed or lost.

    Raises:
        ConversionError: Something is not supported in MXNet; lists all of it. Nothing is written.
        OSError: A file cannot be written.
    """
    path = Path(os.fsdecode(path))
    bundle = bundle_of(source, inputs=inputs)
    pair = _PAIR.fullmatch(path.name)
    if pair is not None and (bundle.architecture is not None or path.suffix == ".json"):
        stem = path.with_name(pair["prefix"])
        arrays = stem.with_name(f"{stem.name}-{pair['epoch'] or '0000'}.params")
        return _write_model(bundle, stem.with_name(f"{stem.name}-symbol.json"), arrays, durable=durable)
    entries = deferred(bundle.parameters)
    kinds = {} if bundle.architecture is None else kinds_of(bundle.architecture)
    new = naming.to_gluon(entries, kinds)
    notes = [Note(name, f"is called {other!r}") for name, other in new.items() if name != other]
    if bundle.architecture is not None:
        notes.append(Note("(architecture)", "left out: name the file net-0000.params to have its symbol beside it"))
    notes += _left_out(bundle)
    return notes + _save_arrays(path, {new[name]: array for name, array in entries.items()}, durable=durable)


def _write_model(bundle: Bundle, symbol_path: Path, arrays_path: Path, *, durable: bool) -> list[Note]:
    if bundle.architecture is None:
        raise ConversionError([("(architecture)", bundle.reason or "there is none")], hint="nothing was written")
    architecture: Mapping[str, Any] = bundle.architecture
    checked = bundle.checked()
    network = build(checked)
    names = naming.to_gluon(bundle.parameters, kinds_of(architecture))
    entries = deferred(bundle.parameters)
    exporter = Exporter(entries, names)
    given: list[tuple[str, Any]] = [
        (each["name"], value) for each, value in zip(checked.inputs, checked.trial.values, strict=True)
    ]
    if not given:
        own = getattr(network, "inputs", ())
        given = [(name, None) for name in own] or [("data", None)]
    heads = exporter.run(network, given)
    problems = exporter.report.problems + _problems_with(exporter.emitter.arrays)
    if problems:
        raise ConversionError(problems, hint="nothing was written")
    arrays = {
        f"{'aux' if name in exporter.emitter.auxiliary else 'arg'}:{name}": each
        for name, each in exporter.emitter.arrays.items()
    }
    notes = _save_arrays(arrays_path, arrays, durable=durable)
    text = exporter.emitter.text(heads).encode()
    with replacing(symbol_path, durable=durable, size=len(text)) as temporary:
        temporary.write_bytes(text)
    unused = [name for name, array in entries.items() if id(array) not in exporter.emitter.used]
    notes += [Note(name, "is not used by the model's outputs, and is left out") for name in unused]
    return exporter.report.notes + notes + _left_out(bundle)


def _left_out(bundle: Bundle) -> list[Note]:
    notes = [Note(f"metadata[{key!r}]", "left out: MXNet's files hold none") for key in bundle.metadata]
    notes += [Note(f"tokens[{name!r}]", "left out: MXNet's files hold none") for name in bundle.tokens]
    if bundle.architecture is not None:
        notes += [
            Note(name, "is frozen, which MXNet's files do not say")
            for name, parameter in bundle.checked().block.collect_params().items()
            if not parameter.trainable and not name.endswith(("running_mean", "running_var"))
        ]
    return notes


# ------------------------------------------------------------------ NDArray files

#: Name of a dtype -> its code, of those that MXNet 1.9 has in Python.
CODES: Final = {
    str(dtype.newbyteorder("=") if dtype.kind in "iuf" else dtype): code
    for code, dtype in DTYPES.items()
    if code < 8 or code == 12
}


def _problems_with(arrays: Mapping[str, Deferred]) -> list[tuple[str, str]]:
    """What MXNet cannot hold."""
    found = names.problems_with_texts(arrays)
    for name, array in arrays.items():
        if str(array.dtype.newbyteorder("=")) not in CODES:
            found.append((name, f"MXNet has no {array.dtype}, only {', '.join(CODES)}"))
        elif len(array.shape) > MAX_AXES:
            found.append((name, f"MXNet holds at most {MAX_AXES} axes, found {len(array.shape)}"))
    return found


def _save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Deferred], *, durable: bool) -> list[Note]:
    """Write an NDArray file with names.

    Args:
        path: The file; an old one is replaced as a whole, or left as it was.
        arrays: Name -> array.
        durable: Have the system put the file on the disk before returning.

    Returns:
        How MXNet has to be set to read it.

    Raises:
        ConversionError: Arrays that MXNet cannot hold; lists all of them. Nothing is written.
        OSError: The file cannot be written.
    """
    problems = _problems_with(arrays)
    if problems:
        raise ConversionError(problems, hint="nothing was written")
    # What has no axes, or no elements, is an array in NumPy's sense only. MXNet reads files of one sense: a version
    # 2 beside a version 3 is refused with np_shape and without.
    numpy = [name for name, array in arrays.items() if math.prod(array.shape) == 0 or not array.shape]
    only = "so that MXNet reads the file under mx.util.np_shape() only"
    notes = [Note(name, f"is of shape {arrays[name].shape}, {only}") for name in numpy]
    size = sum(each.nbytes for each in arrays.values())
    with replacing(path, durable=durable, size=size) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<QQQ", MAGIC, 0, len(arrays)))
        for array in arrays.values():
            _write(file, array, V3 if numpy else V2)
        file.write(struct.pack("<Q", len(arrays)))
        for name in arrays:
            text = name.encode()
            file.write(struct.pack("<Q", len(text)) + text)
    return notes


def _write(file: Any, array: Deferred, version: int) -> None:
    code = CODES[str(array.dtype.newbyteorder("="))]
    axes = len(array.shape)
    file.write(struct.pack(f"<Iii{axes}q", version, 0, axes, *array.shape))
    file.write(struct.pack("<iii", 1, 0, code))  # on device 0 of the processor
    values = array.read()  # and not a view, whose pages would stay in memory
    little = DTYPES[code]
    flat = np.ascontiguousarray(values, little).reshape(-1)
    file.write(flat.view(np.uint8).data)
