"""vLLM's way into folders of shards: a loader that compares every digest, and knows which arrays are HDF5's.

vLLM's own loader compares nothing, and refuses arrays that its network does not know. An entry point of this package
brings :func:`register` to every process of vLLM; ``vllm serve FOLDER --load-format modelarchive`` takes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modelarchive import archive
from modelarchive.errors import ParameterError
from modelarchive.exchange import safetensors
from modelarchive.exchange.torch import tensors_of

if TYPE_CHECKING:
    import torch

#: What ``--load-format`` is given.
LOAD_FORMAT: Final = "modelarchive"
_WHOLE: Final = "model.safetensors"


def register() -> None:
    """Tell vLLM of the loader; it calls this in each of its processes."""
    from vllm.model_executor.model_loader import register_model_loader
    from vllm.model_executor.model_loader.base_loader import BaseModelLoader

    class ArchiveLoader(BaseModelLoader):  # type: ignore[misc]  # of a package without types here
        """Loads a folder that is an archive in shards and transformers' at the same time."""

        def download_model(self, model_config: Any) -> None:
            """Nothing: the folder is there."""

        def load_weights(self, model: Any, model_config: Any) -> None:
            """Fill a network; nothing of a damaged folder reaches it."""
            load_weights(model, model_config.model, is_quantised=model_config.quantization is not None)

    register_model_loader(LOAD_FORMAT)(ArchiveLoader)


def load_weights(model: Any, folder: str | os.PathLike[str], *, is_quantised: bool = False) -> None:
    """Verify a folder, then fill a network of vLLM with what is in it.

    Args:
        model: The network: its ``load_weights`` takes pairs of name and tensor, and may return the names of the
            parameters that were filled.
        folder: An archive in shards, as :func:`modelarchive.save_model` and :func:`modelarchive.convert` write it.
        is_quantised: Whether the network has parameters that no file has.

    Raises:
        IntegrityError: The folder is damaged; the network is as it was.
        FormatError: It is no archive.
        ParameterError: It lacks parameters that the network has.
        OSError: It cannot be read, or is no folder.
    """
    archive.verify(folder)
    filled = model.load_weights(_weights(Path(folder)))
    if filled is None or is_quantised:
        return
    if missing := sorted({name for name, _ in model.named_parameters()} - set(filled)):
        raise ParameterError(missing=missing, file=folder)


def _weights(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Transformers' names and tensors on the mapped files, without what makes them HDF5."""
    whole = folder / _WHOLE
    found = safetensors.read(whole if whole.exists() else f"{whole}{safetensors.INDEX_SUFFIX}")
    for name, array in found.parameters.items():
        yield name, tensors_of(array)
