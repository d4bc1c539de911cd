"""What stands for ``tensor.numpy()`` while a module is exported: it goes back into PyTorch, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

import torch

from modelarchive.exchange.torch.lines_of_code import line_here
from modelarchive.exchange.torch.reasons import OfValues

_IN_NUMPY: Final = (
    "its forward computes with NumPy, of whose arrays nobody knows the values{line}: compute with PyTorch there, or "
    "leave it to what calls the network"
)


class ArrayOfNumPy:
    """An array of NumPy without values.

    Args:
        tensor: What it was made of.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    def __getattr__(self, name: str) -> Any:
        """Refuse whatever an array has, but for protocols of Python that it has not."""
        if name.startswith("__"):
            raise AttributeError(name)
        return _refuse()

    def tensor(self) -> torch.Tensor:
        """What it was made of."""
        return self._tensor


def _refuse(*given: Any, **more: Any) -> NoReturn:
    raise OfValues(_IN_NUMPY.format(line=line_here()))


_TWO: Final = ("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
for _name in (
    *(f"__{side}{each}__" for each in _TWO for side in ("", "r", "i")),
    *(f"__{each}__" for each in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs", "invert")),
    *(f"__{each}__" for each in ("len", "iter", "getitem", "setitem", "contains", "bool", "int", "float", "index")),
    *(f"__array{each}__" for each in ("", "_ufunc", "_function")),
):
    setattr(ArrayOfNumPy, _name, _refuse)


def _numpy(tensor: torch.Tensor, **ignored: Any) -> Any:
    return ArrayOfNumPy(tensor)


def _array(tensor: torch.Tensor, *ignored: Any, **more: Any) -> NoReturn:
    _refuse()


def _tensor(data: Any, *, dtype: torch.dtype | None = None, device: Any = None, **ignored: Any) -> Any:
    return data.tensor().to(dtype=dtype, device=device) if isinstance(data, ArrayOfNumPy) else NotImplemented


#: Function of PyTorch -> what it does with arrays of NumPy; NotImplemented: of no such.
ARRAYS: Final[dict[Any, Callable[..., Any]]] = {
    torch.Tensor.numpy: _numpy,
    torch.Tensor.__array__: _array,
    torch.as_tensor: _tensor,
    torch.tensor: _tensor,
}
