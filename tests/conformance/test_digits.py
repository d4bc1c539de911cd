"""A network that PyTorch trained gives the same logits here."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import modelarchive.cli
from modelarchive import nn, ops

DIGITS = Path(modelarchive.cli.__path__[0]) / "digits"


class LeNet(nn.Block):
    """The LeNet of tests/data/digits/train.py, in Gluon's manners."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2D(16, 3, padding=1),
            nn.BatchNorm(),
            nn.Activation("relu"),
            nn.MaxPool2D(2),
            nn.Conv2D(32, 3, padding=1),
            nn.BatchNorm(),
            nn.Activation("relu"),
            nn.MaxPool2D(2),
        )
        self.hidden = nn.Dense(64)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Dense(10)

    def forward(self, x):
        x = ops.flatten(self.features(x))
        return self.output(self.dropout(ops.relu(self.hidden(x))))


@pytest.fixture(scope="module")
def digits():
    with np.load(DIGITS / "digits-test.npz") as file:
        return dict(file)


@pytest.fixture
def net():
    net = LeNet()
    arrays = load_file(DIGITS / "lenet-digits.safetensors")
    arrays = {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    parameters = net.collect_params()
    assert parameters.keys() == arrays.keys()
    for name, parameter in parameters.items():
        parameter.set_data(arrays[name])
    return net


def test_logits_are_pytorch_s(net, digits):
    logits = net(digits["images"])
    assert logits.dtype == np.float32
    assert np.abs(logits - digits["logits"]).max() <= 1e-5
    assert (logits.argmax(1) == digits["labels"]).mean() == (digits["logits"].argmax(1) == digits["labels"]).mean()


def test_every_batch_size_gives_the_same_up_to_rounding_and_every_call_the_same_bits(net, digits):
    images = digits["images"]
    logits = net(images)
    np.testing.assert_array_equal(net(images), logits)
    np.testing.assert_allclose(np.concatenate([net(image[None]) for image in images[:20]]), logits[:20], atol=1e-5)
    assert net(images[:0]).shape == (0, 10)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_cast_networks_still_read_digits(net, digits, dtype):
    net.cast(dtype)
    logits = net(ops.cast(digits["images"], dtype))
    assert logits.dtype == np.dtype(net.output.weight.dtype)
    agreement = (logits.astype(np.float32).argmax(1) == digits["logits"].argmax(1)).mean()
    assert agreement >= 0.99


def test_integer_images_count_as_the_parameters_dtype(net, digits):
    whole = np.rint(digits["images"] * 16).astype(np.uint8)
    assert net(whole).dtype == np.float32
    np.testing.assert_array_equal(net(whole), net(whole.astype(np.float32)))
