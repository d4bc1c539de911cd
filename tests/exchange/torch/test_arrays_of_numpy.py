"""Arrays of NumPy in a forward: they may be given to PyTorch again, or returned; what computes with them is refused."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import modelarchive as ma  # noqa: E402
from modelarchive.exchange.torch import build_module, read_module  # noqa: E402
from tests.exchange.torch.test_free_axes import Of  # noqa: E402


@pytest.mark.parametrize(
    "back", [torch.as_tensor, torch.tensor, lambda array: torch.as_tensor(array, dtype=torch.int32)]
)
def test_what_goes_back_to_pytorch_is_what_it_was(back):
    module = Of(lambda x, lengths: x * back(lengths.cpu().numpy())[:, None])
    given = torch.randn(2, 3), torch.tensor([2, 5])
    net = read_module(module, given).build()
    x, lengths = torch.randn(4, 3), torch.tensor([1, 7, 0, 3])
    np.testing.assert_array_equal(net(x.numpy(), lengths.numpy()), (x * lengths[:, None]).numpy())


def test_what_is_returned_is_an_array():
    layer = torch.nn.Linear(4, 3)

    def forward(layer, x):
        weights = layer(x).softmax(1)
        return weights.sum(1), weights.data.numpy(), [weights.detach().cpu().numpy(), np.arange(3)]

    module = Of(forward, layer)
    bundle = read_module(module, torch.randn(2, 5, 4))
    x = torch.randn(3, 5, 4)
    (total, weights, (again, numbers)), wanted = bundle.build()(x.numpy()), module(x)
    np.testing.assert_allclose(total, wanted[0].detach(), atol=1e-6)
    np.testing.assert_allclose(weights, wanted[1], atol=1e-6)
    np.testing.assert_array_equal(weights, again)
    np.testing.assert_array_equal(numbers, [0, 1, 2])
    build_module(bundle).load_state_dict(module.state_dict(), strict=True)


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x * float(x.detach().numpy().sum()),
        lambda x: x + torch.as_tensor(np.sin(x.detach().numpy())),
        lambda x: x + torch.tensor(np.asarray(x.detach())),
        lambda x: x[:, : 4 // x[0].argmax().numpy()],
        lambda x: x * (1 + x.detach().numpy()),
        lambda x: torch.stack([x * float(each) for each in x[0].detach().numpy()]),
    ],
)
def test_what_computes_in_numpy_is_refused_by_its_line(compute):
    with pytest.raises(ma.ConversionError, match=r"computes with NumPy.*\(<lambda> in test_arrays_of_numpy.py, line"):
        read_module(Of(compute), torch.randn(2, 4))


def test_what_pytorch_does_not_take_names_its_line():
    with pytest.raises(ma.ConversionError, match=r"cannot follow it \(<lambda> in test_arrays_of_numpy.py, line"):
        read_module(Of(lambda x: x + torch.from_numpy(x.detach().numpy())), torch.randn(2, 4))
