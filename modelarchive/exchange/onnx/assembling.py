"""A whole model in ONNX's messages, before any byte is written: graph, initialisers, names, what was changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelarchive.architecture import Checked, build, check
from modelarchive.architecture.declaring import declared_inputs
from modelarchive.errors import ConversionError, SpecError
from modelarchive.exchange.bundle import Bundle, Note, Source, bundle_of, deferred, shared_names
from modelarchive.exchange.metadata import escaped
from modelarchive.exchange.onnx import encoding
from modelarchive.exchange.onnx.emitting import Body, Emitter, Entry, Step
from modelarchive.exchange.onnx.exporting import Exporter, output_names
from modelarchive.exchange.refusal import problems_of
from modelarchive.exchange.walking import output_structure
from modelarchive.names import as_text
from modelarchive.nn import Block
from modelarchive.nn.axes import axis_names, groups_of
from modelarchive.nn.evaluate import Abstract
from modelarchive.nn.fitting import called_names
from modelarchive.nn.nesting import usual
from modelarchive.nn.trials import Trial
from modelarchive.store.deferred import Deferred
from modelarchive.version import VERSION

#: Version of ONNX's operators (2024), which has all that is written, and that of the format it came with.
_OPSET: Final = 21
_IR_VERSION: Final = 10


@dataclass(frozen=True)
class Assembled:
    """A model as ONNX has it, its arrays not read yet.

    Attributes:
        model: A ``ModelProto`` but for its graph.
        graph: A ``GraphProto`` but for its initialisers.
        initialisers: Name -> array.
        inputs: What the model takes, as an architecture declares it.
        called: What each is called in a call.
        outputs: Name and dtype of each result.
        structure: The containers around them.
        notes: What was changed or lost.
    """

    model: bytes
    graph: bytes
    initialisers: Mapping[str, Deferred]
    inputs: list[dict[str, Any]]
    called: list[str]
    outputs: list[tuple[str, Any]]
    structure: Any
    notes: list[Note]


def assembled(source: Source, inputs: Any = None, *, hint: str) -> Assembled:
    """A model in ONNX's messages.

    Args:
        source: A bundle with an architecture, an open archive, the path of an archive, or a network.
        inputs: An example of what the model takes, or declarations; None: those that the architecture declares.
        hint: What to do where it cannot be said in ONNX.

    Raises:
        ConversionError: There is no architecture, its inputs are not declared, or something is not supported in
            ONNX; lists all of it.
        ParameterError: The parameters are not those of the architecture.
        SpecError: The architecture is invalid.
    """
    bundle = bundle_of(source, inputs=inputs if isinstance(source, Block) else None)
    if bundle.architecture is None:
        raise ConversionError([("(architecture)", bundle.reason or "there is none")], hint=hint)
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
    exporter = Exporter(deferred(bundle.parameters), [each["name"] for each in declarations])
    given = [(each["name"], value) for each, value in zip(declarations, checked.trial.values, strict=True)]
    results = exporter.run(network, given)
    if exporter.report.problems:
        raise ConversionError(exporter.report.problems, hint=hint)
    structure = output_structure(network, len(results))
    names = _named_outputs(exporter.emitter, structure, results)
    graph = _graph(exporter.emitter, checked.trial, names, results)
    return Assembled(
        _model(bundle),
        graph,
        exporter.emitter.initialisers,
        declarations,
        called_names(network, declarations),
        [(name, known.array_dtype) for name, (_, known) in zip(names, results, strict=True)],
        structure,
        exporter.report.notes + _left_out(bundle, network, exporter.emitter),
    )


def _with_inputs(architecture: Mapping[str, Any], inputs: list[dict[str, Any]]) -> Checked:
    """The architecture with other inputs, checked."""
    try:
        return check({**architecture, "inputs": inputs})
    except SpecError as error:
        raise ConversionError(problems_of(error), hint=error.hint) from error


# ------------------------------------------------------------------ the messages


def _model(bundle: Bundle) -> bytes:
    parts = [
        encoding.integer(1, _IR_VERSION),
        encoding.text(2, "modelarchive"),
        encoding.text(3, VERSION),
        encoding.message(8, encoding.opset(_OPSET)),
    ]
    for key, value in bundle.metadata.items():
        words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        parts.append(encoding.message(14, encoding.entry(as_text(key), as_text(words))))
    return b"".join(parts)


def _graph(graph: Emitter, trial: Trial, names: Sequence[str], results: Sequence[tuple[Entry, Abstract]]) -> bytes:
    parts = [encoding.text(2, "model")]
    parts += [encoding.message(1, _node(step)) for step in graph.needed(names)]
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


def _node(step: Step) -> bytes:
    body = None if step.body is None else _body(step.body)
    return encoding.node(step.op, step.name, step.inputs, step.outputs, step.attributes, body)


def _body(body: Body) -> bytes:
    """A ``GraphProto`` that stands in a node."""
    return b"".join(
        [
            *(encoding.message(1, _node(step)) for step in body.steps),
            encoding.text(2, "body"),
            *(encoding.message(11, _declared(*each)) for each in body.inputs),
            *(encoding.message(12, _declared(*each)) for each in body.outputs),
        ]
    )


def _declared(name: str, known: Abstract) -> bytes:
    return encoding.value_info(name, known.array_dtype, _sizes(known, {}))


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
        step.rename(new)
    return names


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
    notes += escaped(bundle.metadata)
    notes += [Note(f"tokens[{name!r}]", "left out: ONNX holds none") for name in bundle.tokens]
    return notes
