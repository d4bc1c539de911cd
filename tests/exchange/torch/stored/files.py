"""A value through a file of ``torch.save``, as it is read here."""

from typing import Any

from modelarchive.exchange.torch import read


def saved(value: Any, *, is_zip: bool = True) -> Any:
    """What is read of a value that PyTorch saved, as a zip file or in the format before."""
    import torch

    torch.save(value, "x.pt", _use_new_zipfile_serialization=is_zip)
    return read("x.pt")
