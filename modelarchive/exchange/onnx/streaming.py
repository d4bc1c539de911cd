"""A model's messages as bytes, its initialisers one after another: no more than one array is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final, TypeAlias

import numpy as np

from modelarchive.exchange.onnx import encoding
from modelarchive.store.deferred import Deferred

#: Smaller arrays stay in the model also where data are beside it.
SMALL: Final = 1024
#: A ``TensorProto``, and the array whose bytes end it; None where its data are elsewhere.
Tensor: TypeAlias = tuple[bytes, Deferred | None]


def inside(name: str, array: Deferred) -> Tensor:
    """An initialiser whose data are in the model."""
    return encoding.tensor_head(name, array.dtype, array.shape) + encoding.head(9, array.nbytes), array


def outside(name: str, array: Deferred, location: str, offset: int) -> Tensor:
    """An initialiser whose data are in another file."""
    where = {"location": location, "offset": str(offset), "length": str(array.nbytes)}
    return encoding.external_tensor(name, array.dtype, array.shape, where), None


def stream(file: BinaryIO, model: bytes, graph: bytes, tensors: Sequence[Tensor]) -> None:
    """Write a model.

    Args:
        file: Takes its bytes.
        model: A ``ModelProto`` but for its graph.
        graph: A ``GraphProto`` but for its initialisers.
        tensors: These.
    """
    sizes = [len(head) + (0 if array is None else array.nbytes) for head, array in tensors]
    heads = [encoding.head(5, size) + head for (head, _), size in zip(tensors, sizes, strict=True)]
    whole = len(graph) + sum(map(len, heads)) + sum(0 if array is None else array.nbytes for _, array in tensors)
    file.write(model + encoding.head(7, whole) + graph)
    for head, (_, array) in zip(heads, tensors, strict=True):
        file.write(head)
        if array is not None:
            for piece in bytes_of(array):
                file.write(piece)


def bytes_of(array: Deferred) -> Iterator[memoryview]:
    """An array's bytes as a file has them, in pieces where it gives such."""
    if array.pieces is not None:
        yield from array.pieces()
        return
    values = encoding.little(array.read() if array.view is None else array.view())
    if values.size:
        yield values.reshape(-1).view(np.uint8).data
