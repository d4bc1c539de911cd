"""From a network to its architecture: forward is recorded, and blocks become JSON."""

from __future__ import annotations

from typing import Any

from modelarchive.architecture import vocabulary
from modelarchive.architecture.checking import Checked, check
from modelarchive.architecture.declaring import declared_inputs, is_shape, shape_given
from modelarchive.architecture.emitting import Emitter
from modelarchive.errors import SpecError
from modelarchive.nn.block import Block
from modelarchive.nn.trace import record


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
            None for a network that was built from an architecture, which remembers its own, and for one that was
            called: the arrays of its last call are the example.

    Returns:
        JSON, valid against the schemas.

    Raises:
        SpecError: Something in ``forward`` cannot be recorded; with class, file and line.
    """
    return described(block, inputs).architecture


def described(block: Block, inputs: Any = None) -> Checked:
    """What :func:`describe` returns, checked."""
    try:
        expected = block.collect_stored()
    except ValueError as error:
        raise SpecError([("/model", "unregistered", str(error))]) from error
    declarations = declared_inputs(block, inputs)
    try:
        recorded = record(block, [(each["shape"], each["dtype"]) for each in declarations])
    except SpecError as error:
        if is_shape(inputs):  # which may be numbers that the network takes
            raise shape_given(inputs) from error
        raise
    architecture = {
        "vocabulary": vocabulary.VERSION,
        "inputs": declarations,
        "model": Emitter(block, recorded).model(),
    }
    found = check(architecture)
    lost = sorted(expected.keys() - found.shapes.keys())
    if lost:
        raise SpecError(
            [("/model", "unregistered", f"no kind of the vocabulary has a parameter {name!r} there") for name in lost],
            hint="only blocks with a forward of their own take more children and parameters than they are made with",
        )
    return found
