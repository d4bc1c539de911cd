"""Operators that are not PyTorch's own: torchvision's moved windows, and those of which nothing is known."""

import numpy as np
import pytest

import modelarchive as ma
from tests.exchange.torch.refusals import refused

torch = pytest.importorskip("torch")

try:
    import torchvision  # noqa: F401  # it has the operator, which is declared here where it is not installed
except ImportError:
    _DECLARED = torch.library.Library("torchvision", "FRAGMENT")
    _DECLARED.define(
        "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, "
        "SymInt stride_w, SymInt pad_h, SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, "
        "SymInt offset_groups, bool use_mask) -> Tensor"
    )
    _DECLARED.impl("deform_conv2d", lambda *given: torch.from_numpy(deformed(*given)), "CPU")
    torch.library.register_fake("torchvision::deform_conv2d")(
        lambda x, weight, offset, *rest: x.new_empty(len(x), len(weight), *offset.shape[2:])
    )


def sample(image, y, x):
    """An image at places between its elements, 0 outside."""
    low, left = (np.floor(each).astype(int) for each in (y, x))
    (height, width), total = image.shape, np.zeros(y.shape)
    for row in (low, low + 1):
        for column in (left, left + 1):
            is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            element = np.where(is_inside, image[row.clip(0, height - 1), column.clip(0, width - 1)], 0)
            total += element * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def deformed(x, weight, offset, mask, bias, *numbers):
    """The operator as its paper says it, tap by tap (Zhu et al. 2018, Deformable ConvNets v2)."""
    (sh, sw), (ph, pw), (dh, dw), (groups, apart) = (numbers[at : at + 2] for at in (0, 2, 4, 6))
    x, weight, offset, mask, bias = (np.asarray(each.detach()) for each in (x, weight, offset, mask, bias))
    channels, (rows, columns) = x.shape[1], weight.shape[2:]
    found = np.zeros((len(x), len(weight), *offset.shape[2:])) + bias[:, None, None]
    down, across = np.ogrid[: offset.shape[2], : offset.shape[3]]
    for n, channel, r, s in np.ndindex(len(x), channels, rows, columns):
        at = (channel // (channels // apart) * rows + r) * columns + s
        y = down * sh - ph + r * dh + offset[n, 2 * at]
        place = across * sw - pw + s * dw + offset[n, 2 * at + 1]
        part = (mask[n, at] if numbers[8] else 1) * sample(x[n, channel], y, place)
        group, c = divmod(channel, channels // groups)
        for o in range(group * len(weight) // groups, (group + 1) * len(weight) // groups):
            found[n, o] += weight[o, c, r, s] * part
    return found.astype(np.float32)


class Deformed(torch.nn.Module):
    def __init__(self, rows, columns, numbers, *, bias=True):
        super().__init__()
        groups, apart = numbers[6:]
        self.weight = torch.nn.Parameter(torch.randn(4, 4 // groups, rows, columns))
        self.bias = torch.nn.Parameter(torch.randn(4)) if bias else None
        stride, padding, dilation = (tuple(numbers[at : at + 2]) for at in (0, 2, 4))
        window = {"stride": stride, "padding": padding, "dilation": dilation}
        self.offset = torch.nn.Conv2d(4, 2 * apart * rows * columns, (rows, columns), **window)
        self.mask = torch.nn.Conv2d(4, apart * rows * columns, (rows, columns), **window)
        self.numbers = numbers

    def forward(self, x):
        bias = torch.zeros(4) if self.bias is None else self.bias
        given = (x, self.weight, 3 * self.offset(x), self.mask(x), bias)
        return torch.ops.torchvision.deform_conv2d(*given, *self.numbers, self.bias is not None)


@pytest.mark.parametrize(
    ("rows", "columns", "numbers", "bias"),
    [
        (3, 3, (1, 1, 1, 1, 1, 1, 1, 1), True),
        (3, 2, (2, 1, 2, 1, 2, 1, 2, 2), True),
        (1, 1, (1, 2, 0, 0, 1, 1, 4, 4), False),
    ],
)
def test_windows_whose_elements_are_moved(rows, columns, numbers, bias, tmp_path):
    torch.manual_seed(0)
    module = Deformed(rows, columns, numbers, bias=bias).eval()
    ma.save_model(tmp_path / "net.h5", module, inputs={"shape": ["batch", 4, "height", "width"]})
    x = torch.randn(3, 4, 6, 5)
    inner = (x, module.weight, 3 * module.offset(x), module.mask(x), torch.zeros(4) if not bias else module.bias)
    wanted = deformed(*inner, *numbers, bias)
    assert np.allclose(ma.load_model(tmp_path / "net.h5")(x.numpy()), wanted, atol=1e-4)
    assert np.allclose(ma.load_model(tmp_path / "net.h5", backend="torch")(x).detach().numpy(), wanted, atol=1e-4)


def test_an_operator_of_another_library_is_not_pytorchs_of_the_same_name(tmp_path):
    library = torch.library.Library("somebody", "FRAGMENT")
    library.define("relu(Tensor x) -> Tensor")
    library.impl("relu", lambda x: x.clamp(min=0) * (x.abs() < 1e3), "CPU")  # differs where no random number is
    torch.library.register_fake("somebody::relu")(torch.empty_like)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 3)

        def forward(self, x):
            return torch.ops.somebody.relu(self.layer(x))

    error = refused(tmp_path, Net(), inputs=torch.randn(2, 3))
    assert "the operator 'somebody::relu' is not supported (forward in" in str(error)
