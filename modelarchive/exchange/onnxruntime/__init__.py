"""ONNX Runtime: networks of archives at the speed of a runtime, through the exporter of ONNX, in memory."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelarchive.errors import MissingDependencyError
from modelarchive.exchange.bundle import Source, bundle_of
from modelarchive.exchange.onnx.assembling import assembled
from modelarchive.nn import Block

if TYPE_CHECKING:
    from modelarchive.exchange.onnxruntime.network import RuntimeNetwork

__all__ = ["build_network"]


def build_network(
    source: Source,
    *,
    inputs: Any = None,
    threads: int | None = None,
    providers: Sequence[Any] | None = None,
    session_options: Mapping[str, Any] | None = None,
) -> RuntimeNetwork:
    """A model that ONNX Runtime computes: called as the network in NumPy is, with the same inputs and outputs.

    Nothing is written. Arrays that lie in a file as they are, as an archive's do, are mapped from there by ONNX
    Runtime itself; others are handed over in memory, whatever their size.

    Args:
        source: A bundle with an architecture, an open archive, the path of an archive, or a network in NumPy.
        inputs: What the model takes, where the architecture does not say: an example, a declaration
            ``{"shape": [None, 3, 32, 32]}``, or a tuple of several.
        threads: Threads within an operator; None: as many as ONNX Runtime chooses, one for each core.
        providers: Names of execution providers, or pairs of a name and its options, as ``InferenceSession`` takes
            them: ``["CUDAExecutionProvider", "CPUExecutionProvider"]``. None: the CPU.
        session_options: Further settings of the session by name: attributes of ``onnxruntime.SessionOptions``, and,
            where the name has a dot, its configuration entries: ``{"session.disable_prepacking": "1"}``.

    Returns:
        The network. What was changed or lost is in its `notes`.

    Raises:
        MissingDependencyError: ONNX Runtime is not installed.
        SpecError: There is no architecture, or an invalid one.
        ParameterError: Parameters are missing or of other shapes.
        ConversionError: Its inputs are not declared, or ONNX or ONNX Runtime does not support something; lists all
            of it.
        ValueError: A setting or a provider is none that ONNX Runtime has.
    """
    try:
        importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependencyError(f"ONNX Runtime cannot be imported: {error}", extra="onnxruntime") from error
    from modelarchive.exchange.onnxruntime.network import RuntimeNetwork
    from modelarchive.exchange.onnxruntime.sessions import Settings

    settings = Settings(threads, providers, session_options)
    bundle = bundle_of(source, inputs=inputs if isinstance(source, Block) else None)
    hint = "the network runs in NumPy and, with backend='torch', in PyTorch"
    model = assembled(bundle, None if isinstance(source, Block) else inputs, hint=hint)
    return RuntimeNetwork(model, settings, bundle.parameters)
