"""Why a module cannot be followed, in words of ours."""

import pytest

import modelarchive as ma
from modelarchive.errors import ConversionError

torch = pytest.importorskip("torch")


class Energy(torch.nn.Module):
    def __init__(self, slope):
        super().__init__()
        self.layer, self.slope = torch.nn.Linear(4, 4), slope

    def energy(self, x):
        return self.layer(x).tanh().sum()

    def forward(self, x):
        with torch.enable_grad():
            return self.slope(self, x.clone().requires_grad_())


def by_backward(module, x):
    module.energy(x).backward()
    return x.grad


SLOPES = {
    "autograd.grad": lambda module, x: torch.autograd.grad(module.energy(x), x)[0],
    "backward": by_backward,
    "func.grad": lambda module, x: torch.func.vmap(torch.func.grad(module.energy))(x),
    "jacrev": lambda module, x: torch.func.vmap(torch.func.jacrev(lambda row: module.layer(row).tanh()))(x),
}


@pytest.mark.parametrize("name", SLOPES)
def test_a_forward_that_differentiates_is_told_so(name, tmp_path):
    with pytest.raises(ConversionError, match="its forward computes gradients"):
        ma.save_model(tmp_path / "net.h5", Energy(SLOPES[name]), inputs=torch.randn(3, 4))


def test_an_example_that_records_gradients_is_one_without(tmp_path):
    class Asks(torch.nn.Module):
        def forward(self, x):
            return x * 2 if x.requires_grad else x

    x = torch.ones(3, 4, requires_grad=True)
    ma.save_model(tmp_path / "net.h5", Asks(), inputs=x)
    assert (ma.load_model(tmp_path / "net.h5")(x.detach().numpy()) == 1).all()
    assert x.requires_grad


class Detector(torch.nn.Module):
    """Gives as many boxes as there are in an image."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head, self.pool = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 5, 1), torch.nn.MaxPool2d(2)

    def forward(self, image):
        boxes = self.head(self.pool(self.backbone(image))).flatten(2).mT.flatten(0, 1)
        boxes = boxes[boxes[:, 4] > 0]
        return boxes * 2 if len(boxes) > 3 else boxes


def test_parts_that_may_be_saved_are_named(tmp_path):
    image = torch.randn(2, 3, 8, 8)
    with pytest.raises(
        ConversionError, match=r"module\.backbone, inputs=\.\.\.\), of module.backbone, module.head; save"
    ):
        ma.save_model(tmp_path / "net.h5", Detector(), inputs=image)
    ma.save_model(tmp_path / "part.h5", Detector().backbone, inputs=image)


def test_a_loop_by_values_is_told_so(tmp_path):
    class Halving(torch.nn.Module):
        def forward(self, x):
            return torch.while_loop(lambda x: x.sum() > 1, lambda x: (x / 2,), (x,))[0]

    with pytest.raises(ConversionError, match=r"runs as often as values say \(torch.while_loop\)"):
        ma.save_model(tmp_path / "net.h5", Halving(), inputs=torch.ones(3, 4))
