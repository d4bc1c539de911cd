"""From a network to its architecture: forward is recorded, and blocks become JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelarchive import dtypes
from modelarchive.errors import SpecError
from modelarchive.nn.block import Block
from modelarchive.nn.calling import DECLARED
from modelarchive.nn.signature import free_name, input_names
from modelarchive.nn.trace import record
from modelarchive.spec import vocabulary
from modelarchive.spec.emit import Emitter
from modelarchive.spec.validate import checked


def describe(block: Block, inputs: Any = None) -> dict[str, Any]:
    """The architecture of a network, recorded from its ``forward``.

    Unknown parameter shapes are learned from the inputs, as at a first call. What is built from the
    description runs the same functions in the same order, so its outputs have the same bits; but where a
    ``forward`` reduces or multiplies float16 or bfloat16 with NumPy's own functions, those round at each
    step, and the vocabulary's ops (:mod:`modelarchive.ops`) once; and ``numpy.einsum`` without ``optimize``
    adds in another order than ``ops.einsum``, which uses matrix products.

    A constant array of more than 64 elements in a ``forward`` becomes a parameter of its block, named
    ``constant`` and not trainable; described again, it is the same one.

    Args:
        block: The network.
        inputs: An array, a tuple or list of arrays (only shape and dtype count; the first axis is the
            batch, of any size), or declarations ``{"name": "x", "shape": [None, 20], "dtype": "float32"}``;
            None for a network that was built from an architecture, which remembers its own.

    Returns:
        JSON, valid against the schemas.

    Raises:
        SpecError: Something in ``forward`` cannot be recorded; with class, file and line.
    """
    try:
        expected = block.collect_params()
    except ValueError as error:
        raise SpecError([("/model", "unregistered", str(error))]) from error
    declarations = declared_inputs(block, inputs)
    recorded = record(block, [(each["shape"], each["dtype"]) for each in declarations])
    architecture = {
        "vocabulary": vocabulary.VERSION,
        "inputs": declarations,
        "model": Emitter(block, recorded).model(),
    }
    lost = sorted(expected.keys() - checked(architecture).block.collect_params().keys())
    if lost:
        raise SpecError(
            [("/model", "unregistered", f"no kind of the vocabulary has a parameter {name!r} there") for name in lost],
            hint="only blocks with a forward of their own take more children and parameters than they are made with",
        )
    return architecture


def declared_inputs(block: Block, inputs: Any) -> list[dict[str, Any]]:
    """The declarations of `inputs`, which :func:`describe` takes in several forms.

    Raises:
        SpecError: They cannot be declared.
    """
    if inputs is None:
        known: list[dict[str, Any]] | None = getattr(block, DECLARED, None)
        if known is None:
            raise _refused("the inputs of the network are not known", "pass inputs=x, an example of what it takes")
        return [dict(each) for each in known]
    several = list(inputs) if isinstance(inputs, tuple | list) else [inputs]
    if isinstance(inputs, list) and not any(hasattr(each, "shape") or _is_declaration(each) for each in inputs):
        several = [inputs]  # nested lists of numbers are one array
    taken: set[str] = set()
    try:
        named = input_names(block, len(several))
    except ValueError as error:
        raise _refused(str(error), "pass as many inputs as forward takes") from error
    return [_declaration(each, name, taken) for each, name in zip(several, named, strict=True)]


def _is_declaration(value: Any) -> bool:
    return isinstance(value, Mapping)


def _declaration(value: Any, name: str, taken: set[str]) -> dict[str, Any]:
    if _is_declaration(value):
        if not isinstance(value.get("shape"), Sequence):
            raise _refused("a declaration of an input has no shape", 'write {"shape": [None, 20], "dtype": "float32"}')
        shape = [None if axis is None else int(axis) for axis in value["shape"]]
        dtype = str(value.get("dtype", "float32"))
        return {"name": free_name(str(value.get("name", name)), taken), "shape": shape, "dtype": dtype}
    array = value if hasattr(value, "shape") and hasattr(value, "dtype") else np.asarray(value)
    found = dtypes.dense_name(np.dtype(array.dtype))
    if found is None:
        raise _refused(f"an input has dtype {array.dtype}", "pass an array of numbers")
    return {"name": free_name(name, taken), "shape": [None, *array.shape[1:]] if array.shape else [], "dtype": found}


def _refused(found: str, advice: str) -> SpecError:
    return SpecError([("/inputs", "inputs", found)], hint=advice)
