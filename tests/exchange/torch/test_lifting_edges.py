"""Rows of single elements on numbers at the ends of their dtypes, infinities and NaN, as PyTorch has them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from modelarchive.errors import ConversionError  # noqa: E402 - it imports PyTorch
from modelarchive.exchange.torch import read_module  # noqa: E402

NAN, INF = float("nan"), float("inf")
NUMBERS = {
    "float32": [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, NAN, INF, -INF, 1e30, -1e-30, 3.7, -3.7],
    "int64": [0, 1, -1, 5, -5, 7, -7, 2**40, 3, -3, 10, -10, 2**62, -(2**62), 2**63 - 1, -(2**63)],
    "int32": [0, 1, -1, 5, -5, 7, -7, 2**30, 3, -3, 10, -10, 2**31 - 1, -(2**31), 2, -2],
    "uint8": [0, 1, 2, 3, 127, 128, 254, 255, 5, 5, 0, 255, 9, 8, 7, 6],
}
FLOATS = {
    "sign": torch.sign, "floor": torch.floor, "ceil": torch.ceil, "round": torch.round, "trunc": torch.trunc,
    "frac": torch.frac, "atan": torch.atan, "asin": torch.asin, "acos": torch.acos, "asinh": torch.asinh,
    "acosh": torch.acosh, "atanh": torch.atanh, "sinh": torch.sinh, "expm1": torch.expm1, "log1p": torch.log1p,
    "erfinv": torch.erfinv, "signbit": torch.signbit, "remainder": lambda x: x % 0.7,
    "fmod": lambda x: torch.fmod(x, -0.7),
    "floor_divide": lambda x: x // 0.7, "atan2": lambda x: torch.atan2(x, x.flip(-1)),
    "atan2 of neighbours": lambda x: torch.atan2(x, x.roll(1, -1)), "hypot": lambda x: torch.hypot(x, x.flip(-1)),
    "copysign": lambda x: torch.copysign(x, x.flip(-1)), "fmax": lambda x: torch.fmax(x, x.flip(-1)),
    "fmin": lambda x: torch.fmin(x, x.flip(-1)), "heaviside": lambda x: torch.heaviside(x, torch.tensor(0.3)),
    "threshold": lambda x: torch.nn.functional.threshold(x, 0.1, 7.0), "cummax": lambda x: x.cummax(-1)[1],
    "sort": lambda x: x.sort(dim=-1, stable=True)[1],
    "sort down": lambda x: x.sort(dim=-1, descending=True, stable=True)[1],
    "median": lambda x: x.median(-1)[0], "max": lambda x: x.max(-1)[1], "argmin": lambda x: x.argmin(-1),
    "nan_to_num": torch.nan_to_num, "clamp": lambda x: x.clamp(-1, 2), "lgamma": torch.lgamma, "digamma": torch.digamma,
    "hsplit": lambda x: torch.hsplit(x, 2)[1], "vsplit": lambda x: torch.vsplit(x, 2)[1],
    "atleast_3d": torch.atleast_3d,
    "lgamma of large ones": lambda x: torch.lgamma(x * 9.3), "digamma of large ones": lambda x: torch.digamma(x * 9.3),
}  # fmt: skip
INTEGERS = {
    "floor_divide": lambda x: x // 3, "remainder": lambda x: x % 3, "true_divide": lambda x: x / 3,
    "trunc": lambda x: torch.div(x, 3, rounding_mode="trunc"), "fmod": lambda x: torch.fmod(x, 3),
    "negative": lambda x: -x, "times": lambda x: x * 3, "and": lambda x: x & 6, "or": lambda x: x | 6,
    "xor": lambda x: x ^ 6, "not": lambda x: ~x, "left": lambda x: x << 1, "right": lambda x: x >> 1,
    "min": lambda x: x.min(-1)[1], "argmin": lambda x: x.argmin(-1), "sort": lambda x: x.sort(dim=-1, stable=True)[1],
    "sort down": lambda x: x.sort(dim=-1, descending=True, stable=True)[1], "more than -1": lambda x: x > -1,
    "equal to -1": lambda x: x == -1, "from 1": lambda x: 1 - x, "cubed": lambda x: x**3, "sum": lambda x: x.sum(-1),
    "sign": torch.sign, "nan_to_num": torch.nan_to_num, "sign of truths": lambda x: torch.sign(x > 1),
    "as int32": lambda x: x.to(torch.int32), "clamp by floats": lambda x: x.clamp(0.5, 4.5),
}  # fmt: skip
CASES = [(name, "float32", each) for name, each in FLOATS.items()]
CASES += [(name, dtype, each) for dtype in ("int64", "int32", "uint8") for name, each in INTEGERS.items()]


class Function(torch.nn.Module):
    """A function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "dtype", "function"), CASES, ids=[f"{name} {dtype}" for name, dtype, _ in CASES])
def test_what_pytorch_gives(name, dtype, function):
    x = torch.tensor(NUMBERS[dtype], dtype=getattr(torch, dtype)).reshape(2, 8)
    wanted = function(x.clone()).numpy()
    net = read_module(Function(function), {"shape": [2, 8], "dtype": dtype}).build()
    with np.errstate(all="ignore"):
        found = np.asarray(net(x.numpy()))
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_bits_as_other_numbers_are_refused_by_name():
    class Bits(torch.nn.Module):
        def forward(self, x):
            return x.view(torch.int32) & 1

    with pytest.raises(ConversionError, match="the bits of numbers"):
        read_module(Bits().eval(), torch.zeros(2, 3))
