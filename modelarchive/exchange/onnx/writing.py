"""Write whole models as ONNX: any architecture of the vocabulary, its parameters streamed."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from modelarchive.architecture import Checked, build, check
from modelarchive.architecture.declaring import declared_inputs
from modelarchive.errors import ConversionError, SpecError
from modelarchive.exchange.bundle import Bundle, Note, Source, bundle_of, deferred, shared_names
from modelarchive.exchange.onnx import encoding
from modelarchive.exchange.onnx.emitting import Emitter, Entry, Step
from modelarchive.exchange.onnx.exporting import Exporter, output_names
from modelarchive.exchange.refusal import problems_of
from modelarchive.exchange.walking import output_structure
from modelarchive.nn import Block
from modelarchive.nn.axes import axis_names, groups_of
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.nesting import usual
from modelarchive.nn.trials import Trial
from modelarchive.store.deferred import Deferred
from modelarchive.store.replace import replacing
from modelarchive.version import VERSION

#: Version of ONNX's operators (2024), which has all that is written, and that of the format it came with.
OPSET: Final = 21
_IR_VERSION: Final = 10
#: Protocol buffers end below 2 GiB; some room for what is not data.
_MOST: Final = 2**31 - 2**24
#: Smaller arrays stay in the model's file also where data are beside it.
_SMALL: Final = 1024


def write(
    source: Source,
    path: str | os.PathLike[str],
    *,
    inputs: Any = None,
    external_data: bool | None = None,
    durable: bool = True,
) -> list[Note]:
    """Write a model as ONNX, as its checker accepts it and ONNX Runtime runs it.

    Parameters are initialisers under their names, as they are, and those that are shared stand there once; only
    recurrences have theirs packed and reordered. Dtypes narrower than float32 are computed in float32, as they are
    here. Every axis that the architecture leaves open is symbolic: its name, or what it usually is (``batch``).

    Args:
        source: A bundle with an architecture, an open archive, the path of an archive, or a network.
        path: The file, usually ``*.onnx``.
        inputs: An example of what the model takes, or declarations, as :func:`modelarchive.describe` takes them;
            None: those that the architecture declares.
        external_data: Whether the parameters are in a second file beside it, ``<name>.data``; None: where one file
            would not hold them (2 GiB). Where the model that is replaced has its data there, the new ones go to
            ``<name>.2.data``, and the old ones are removed last: a model is never beside another's data.
        durable: Have the system put the files on the disk before returning.

    Returns:
        What was changed or lost.

    Raises:
        ConversionError: There is no architecture, its inputs are not declared, or something is not supported in
            ONNX; lists all of it. Nothing is written.
        ParameterError: The parameters are not those of the architecture.
        SpecError: The architecture is invalid.
        OSError: A file cannot be written.
    """
    path = Path(os.fsdecode(path))
    bundle = bundle_of(source, inputs=inputs if isinstance(source, Block) else None)
    if bundle.architecture is None:
        raise ConversionError([("(architecture)", bundle.reason or "there is none")], hint="nothing was written")
    checked = bundle.checked()
    network = build(checked)
    if inputs is not None and not isinstance(source, Block):
        checked = _with_inputs(bundle.architecture, declared_inputs(network, inputs))
    declarations = checked.inputs
    if not declarations:
        raise ConversionError(
            [("(inputs)", "shapes and dtypes of the inputs are not declared, and ONNX needs them")],
            hint="pass inputs=x, an example of what it takes",
        )
    entries = deferred(bundle.parameters)
    exporter = Exporter(entries, [each["name"] for each in declarations])
    given = [(each["name"], value) for each, value in zip(declarations, checked.trial.values, strict=True)]
    results = exporter.run(network, given)
    if exporter.report.problems:
        raise ConversionError(exporter.report.problems, hint="nothing was written")
    graph, initialisers = _graph(exporter.emitter, network, checked.trial, results), exporter.emitter.initialisers
    _write(path, _model(bundle), graph, initialisers, external_data=external_data, durable=durable)
    return exporter.report.notes + _left_out(bundle, network, exporter.emitter)


def _with_inputs(architecture: Mapping[str, Any], inputs: list[dict[str, Any]]) -> Checked:
    """The architecture with other inputs, checked."""
    try:
        return check({**architecture, "inputs": inputs})
    except SpecError as error:
        raise ConversionError(problems_of(error), hint=error.hint) from error


# ------------------------------------------------------------------ the messages


def _model(bundle: Bundle) -> bytes:
    """A ``ModelProto`` but for its graph."""
    parts = [
        encoding.integer(1, _IR_VERSION),
        encoding.text(2, "modelarchive"),
        encoding.text(3, VERSION),
        encoding.message(8, encoding.opset(OPSET)),
    ]
    for key, value in bundle.metadata.items():
        words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts.append(encoding.message(14, encoding.entry(key, words)))
    return b"".join(parts)


def _graph(graph: Emitter, network: Block, trial: Trial, results: Sequence[tuple[Entry, Abstract]]) -> bytes:
    """A ``GraphProto`` but for its initialisers."""
    names = _named_outputs(graph, output_structure(network, len(results)), results)
    parts = [encoding.text(2, "model")]
    parts += [
        encoding.message(1, encoding.node(step.op, step.name, step.inputs, step.outputs, step.attributes))
        for step in graph.needed(names)
    ]
    # A name is a promise: axes that are one by need, and may be of size 1, have none.
    declared = groups_of(trial.inputs)
    words = axis_names(trial.inputs, declared)
    symbols = {
        trial.sizes[number, axis]: words[number][axis]
        for number, axis in map(min, (group for group in declared if group in trial.groups))
    }
    for each, value in zip(trial.inputs, trial.values, strict=True):
        parts.append(encoding.message(11, encoding.value_info(each["name"], value.array_dtype, _sizes(value, symbols))))
    for name, (_, known) in zip(names, results, strict=True):
        parts.append(encoding.message(12, encoding.value_info(name, known.array_dtype, _sizes(known, symbols))))
    return b"".join(parts)


def _sizes(known: Abstract, symbols: Mapping[tuple[int, int], str]) -> list[int | str | None]:
    """A shape with names for the axes that are one with a free axis of an input."""
    return [one if one == two else symbols.get((one, two)) for one, two in zip(*known.shapes, strict=True)]


def _named_outputs(graph: Emitter, structure: Any, results: Sequence[tuple[Entry, Abstract]]) -> list[str]:
    """Give the results the names of outputs; one that is an input, a parameter or two outputs is copied."""
    preferred = output_names(structure)
    if len(preferred) != len(results):
        preferred = output_names(usual(len(results)))
    made = {name for step in graph.steps for name in step.outputs}
    new: dict[Entry, str] = {}
    names: list[str] = []
    for wanted, (entry, _) in zip(preferred, results, strict=True):
        name = graph.free(wanted)
        names.append(name)
        if entry in made and entry not in new:
            new[entry] = name
        else:
            graph.steps.append(Step("Identity", name, [entry], [name], {}))
    for step in graph.steps:
        step.inputs = [new.get(each, each) for each in step.inputs]
        step.outputs = [new.get(each, each) for each in step.outputs]
    return names


# ------------------------------------------------------------------ the files


def _write(
    path: Path,
    model: bytes,
    graph: bytes,
    arrays: Mapping[str, Deferred],
    *,
    external_data: bool | None,
    durable: bool,
) -> None:
    total = len(model) + len(graph) + sum(each.nbytes for each in arrays.values())
    if external_data is False and total > _MOST:
        raise ConversionError(
            [(str(path), f"{total:,} bytes are more than one file of ONNX holds")],
            hint="leave external_data to None or True; nothing was written",
        )
    path = Path(os.path.realpath(path))  # beside the file, where a link to it leads
    places = [path.with_name(f"{path.name}{suffix}") for suffix in (".data", ".2.data")]
    old = [each for each in places if each.exists() and _refers(path, each.name)]
    if not (total > _MOST if external_data is None else external_data):
        with replacing(path, durable=durable) as temporary, temporary.open("wb") as file:
            _stream(file, model, graph, [(_head(name, each), each) for name, each in arrays.items()])
    else:
        beside = next(each for each in places if each not in old or len(old) == len(places))
        _write_pair(path, beside, model, graph, arrays, durable=durable)
        old = [each for each in old if each != beside]
    for each in old:
        each.unlink(missing_ok=True)


def _refers(path: Path, name: str) -> bool:
    """Whether the model that is there has its data in the file of a name."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(encoding.entry("location", name)) >= 0


def _write_pair(
    path: Path, beside: Path, model: bytes, graph: bytes, arrays: Mapping[str, Deferred], *, durable: bool
) -> None:
    """A model and its data, which take their places first: the model that is replaced has others."""
    with replacing(path, durable=durable) as temporary, replacing(beside, durable=durable) as temporary_data:
        tensors: list[tuple[bytes, Deferred | None]] = []
        with temporary_data.open("wb") as data:
            for name, each in arrays.items():
                if each.nbytes < _SMALL:
                    tensors.append((_head(name, each), each))
                    continue
                where = {"location": beside.name, "offset": str(_append(data, each)), "length": str(each.nbytes)}
                tensors.append((encoding.external_tensor(name, each.dtype, each.shape, where), None))
        with temporary.open("wb") as file:
            _stream(file, model, graph, tensors)
            file.flush()
            if durable:
                os.fsync(file.fileno())


def _head(name: str, array: Deferred) -> bytes:
    return encoding.tensor_head(name, array.dtype, array.shape) + encoding.head(9, array.nbytes)


def _append(data: BinaryIO, array: Deferred) -> int:
    """Append an array where a page begins, so that it can be mapped; its offset."""
    step = 4096 if array.nbytes >= 2**16 else 64
    data.write(bytes(-data.tell() % step))
    begin = data.tell()
    for piece in _bytes(array):
        data.write(piece)
    return begin


def _stream(file: BinaryIO, model: bytes, graph: bytes, tensors: Sequence[tuple[bytes, Deferred | None]]) -> None:
    """A model, its initialisers one after another: no more than one array is in memory."""
    sizes = [len(head) + (0 if array is None else array.nbytes) for head, array in tensors]
    heads = [encoding.head(5, size) + head for (head, _), size in zip(tensors, sizes, strict=True)]
    whole = len(graph) + sum(map(len, heads)) + sum(0 if array is None else array.nbytes for _, array in tensors)
    file.write(model + encoding.head(7, whole) + graph)
    for head, (_, array) in zip(heads, tensors, strict=True):
        file.write(head)
        if array is not None:
            for piece in _bytes(array):
                file.write(piece)


def _bytes(array: Deferred) -> Iterator[memoryview]:
    if array.pieces is not None:
        yield from array.pieces()
        return
    values = encoding.little(array.read() if array.view is None else array.view())
    if values.size:
        yield values.reshape(-1).view(np.uint8).data


def _left_out(bundle: Bundle, network: Block, graph: Emitter) -> list[Note]:
    notes = []
    shared = shared_names(bundle.parameters)
    used = {name for initialiser in graph.initialisers for name in graph.sources.get(initialiser, ())}
    for name, parameter in network.collect_params().items():
        if name in shared and shared[name] in graph.initialisers:
            notes.append(Note(name, f"is {shared[name]!r}, and stands there once, under that name"))
        elif name not in used and shared.get(name) not in used:
            notes.append(Note(name, "is not used by the model's outputs, and is left out"))
        if not parameter.trainable and not name.endswith(("running_mean", "running_var")):
            notes.append(Note(name, "is frozen, which ONNX does not say"))
    for key, value in bundle.metadata.items():
        if not isinstance(value, str):
            notes.append(Note(f"metadata[{key!r}]", "is kept as the text of its JSON"))
    notes += [Note(f"tokens[{name!r}]", "left out: ONNX holds none") for name in bundle.tokens]
    return notes
