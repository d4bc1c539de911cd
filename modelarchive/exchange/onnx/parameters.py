"""The arrays of an ONNX model without its graph: what is stored, whatever the operators around it mean."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from modelarchive import dtypes, names
from modelarchive.errors import FormatError
from modelarchive.exchange import budget
from modelarchive.exchange.bundle import Bundle, Note, Parameters
from modelarchive.exchange.onnx.model import Graph, Model, Node, graph_of, metadata_of
from modelarchive.exchange.onnx.tensors import MAX_RANK
from modelarchive.exchange.onnx.words import DTYPES
from modelarchive.exchange.refusal import Refusal
from modelarchive.store.deferred import Deferred

#: Attributes of operators of ai.onnx.ml that hold what was learned, as lists of numbers.
_LEARNED: Final = re.compile(
    r"coefficients|intercepts|rho|support_vectors|prob_[ab]|offset|scale|base_values"
    r"|(nodes|class|target|leaf|tree)\w*_(values|weights|splits|hitrates)(_as_tensor)?"
)
#: Times that a name is held while arrays are named.
_NAME_TIMES: Final = 8
#: Kinds of dtypes whose constants are sizes, axes and the like, but for bytes in several axes: quantised weights.
_COUNTING: Final = "biu"


def bundle_of_stored(model: Model, *, reason: str) -> Bundle:
    """The initialisers of a graph, of the branches and bodies inside of it, and what Constant nodes hold.

    Args:
        model: The model, of any operators of any version.
        reason: Why there is no architecture.

    Raises:
        FormatError: It has no arrays, or a damaged one.
        UnsafeFileError: Data is to come from outside its folder.
    """
    stored = [*_inside(model.graph, "")]
    for name, function in model.functions.items():
        stored += _of_nodes(function.nodes, name)
    notes = [*model.notes, *(Note(*problem) for problem in model.graph.problems)]
    preferred = [_cleaned(name) for name, _ in stored]
    # What is the name of a block is no parameter's as well.
    taken = {wanted[:at] for wanted in preferred for at, sign in enumerate(wanted) if sign == "."}
    counts: dict[str, int] = {}
    found: dict[str, Deferred] = {}
    for (name, value), wanted in zip(stored, preferred, strict=True):
        try:
            array = _numbers(value) if isinstance(value, list) else model.tensors.array(value)
        except Refusal as error:
            notes.append(Note(name, f"is left out: it {error}"))
            continue
        ours = wanted
        while ours in taken:
            counts[wanted] = counts.get(wanted, 1) + 1
            ours = f"{wanted}_{counts[wanted]}"
        taken.add(ours)
        found[ours] = array
        if ours != name:
            notes.append(Note(name, f"is the parameter {ours!r}"))
    if not found:
        raise FormatError("holds no arrays, neither initialisers nor constants", file=model.file.path,
                          hint="what a model of trees has learned is in other forms, which are not read")  # fmt: skip
    return Bundle(
        Parameters(found), reason=reason, metadata=metadata_of(model), notes=[*notes, *model.tensors.unread()]
    )


def _cleaned(name: str) -> str:
    """A dotted name that looks like a name of ONNX, which may be any text."""
    if not names.problem_with_name(name):
        return name
    parts = [names.as_part(part) for part in re.split(r"[./]+|::", name.removesuffix(":0")) if part]
    if len(parts) > names.MAX_PARTS:
        parts = [*parts[: names.MAX_PARTS - 1], names.as_part("_".join(parts[names.MAX_PARTS - 1 :]))]
    return ".".join(parts) or "array"


def _inside(graph: Graph, path: str) -> Iterator[tuple[str, Any]]:
    """Everything stored in a graph: where it stands, and the tensor or list of numbers."""
    for name, tensor in graph.stored.items():
        yield _joined(path, name), tensor
    yield from _of_nodes(graph.nodes, path)


def _of_nodes(nodes: Sequence[Node], path: str) -> Iterator[tuple[str, Any]]:
    for node in nodes:
        result = next(filter(None, node.outputs), node.op)
        here = _joined(path, node.name or result)
        for own, attribute in node.attributes.items():
            held = attribute.get("t", attribute.get("floats"))
            if node.op == "Constant" and _is_weight(held):
                yield _joined(path, result), held
            elif held and node.op.startswith("ai.onnx.ml::") and _LEARNED.fullmatch(own):
                yield _joined(here, own), held
            inside = [attribute["g"]] if "g" in attribute else attribute.get("graphs", [])
            for number, graph in enumerate(inside):
                yield from _inside(graph_of(graph, node.tensors), _joined(here, f"{own}_{number}" if number else own))


def _joined(path: str, name: str) -> str:
    """A name below another; long ones are held for each array, and looked at."""
    joined = f"{path}.{name}" if path else name
    budget.spend("the name of an array", nbytes=_NAME_TIMES * len(joined))
    return joined


def _is_weight(held: Any) -> bool:
    """Whether a constant may have been learned: not one number, and no list of sizes or axes."""
    if not isinstance(held, dict):
        return held is not None and len(held) > 1
    dtype = dtypes.DENSE.get(DTYPES.get(held.get("data_type", 0), ""))
    dims = held.get("dims", ())
    if dtype is None or len(dims) > MAX_RANK or math.prod(dims) < 2:
        return False
    return dtype.kind not in _COUNTING or (dtype.itemsize == 1 and dtype.kind != "b" and len(dims) > 1)


def _numbers(values: list[float]) -> Deferred:
    with np.errstate(over="ignore"):
        return Deferred.of(np.array(values, np.float32))
