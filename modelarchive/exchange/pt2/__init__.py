"""PyTorch's exported programs (``torch.export.save``): read as data, whole models where PyTorch is installed."""

from __future__ import annotations

import importlib
import os
from typing import Any

from modelarchive.errors import MissingDependencyError
from modelarchive.exchange.bundle import Bundle

__all__ = ["read"]


def read(path: str | os.PathLike[str], *, parameters_only: bool = False) -> Bundle:
    """Read an exported program; ``torch.export.load``, which runs what a file says, is never called.

    The zip file and its JSON are read as data, of every layout that PyTorch has written since 2.5. The program is
    made again of those operators alone that are known here, and exported anew by PyTorch itself.

    Args:
        path: A ``.pt2`` file.
        parameters_only: Read the parameters alone, under the names that the program has for them; PyTorch is not
            needed then.

    Returns:
        The model, or its parameters, as views of the mapped file; notes on what was changed or left out.

    Raises:
        OSError: The file cannot be read.
        FormatError: It is damaged, or no exported program.
        UnsafeFileError: It claims more than it has.
        ConversionError: The program does what the vocabulary cannot say; lists all that was found.
        MissingDependencyError: PyTorch is not installed, and the whole model was asked for.
    """
    from modelarchive.exchange.pt2.files import opened, parameters_of

    with opened(path) as package:
        if parameters_only:
            return parameters_of(package)
        bundle: Bundle = _programs().bundle_of(package)
        return bundle


def _programs() -> Any:
    """What needs PyTorch.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        importlib.import_module("torch")
    except ImportError as error:
        raise MissingDependencyError(f"PyTorch cannot be imported: {error}", extra="torch") from error
    return importlib.import_module(f"{__name__}.programs")
