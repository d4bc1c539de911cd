"""The code of the two documents that this project began with, and the answers to their exercises.

Only imports and array constructors differ: ``nd`` is NumPy for arrays and modelarchive for files.
"""

from pathlib import Path

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The documents write into the current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class MLP(nn.Block):
    def __init__(self, **kwargs):
        super(MLP, self).__init__(**kwargs)  # noqa: UP008 - as the documents have it
        self.hidden = nn.Dense(256, activation="relu")
        self.output = nn.Dense(10)

    def forward(self, x):
        return self.output(self.hidden(x))


def uniform(shape):
    """mxnet's ``nd.random.uniform``: float32 in [0, 1)."""
    return np.random.default_rng(0).random(shape, np.float32)


def test_file_io_arrays():
    x = np.arange(4)
    ma.save("x-file", x)
    x2 = ma.load("x-file")
    np.testing.assert_array_equal(x2, x, strict=True)

    y = np.zeros(4)
    ma.save("x-files", [x, y])
    x2, y2 = ma.load("x-files")
    np.testing.assert_array_equal(x2, x, strict=True)
    np.testing.assert_array_equal(y2, y, strict=True)

    mydict = {"x": x, "y": y}
    ma.save("mydict", mydict)
    mydict2 = ma.load("mydict")
    assert list(mydict2) == ["x", "y"]
    np.testing.assert_array_equal(mydict2["x"], x, strict=True)
    np.testing.assert_array_equal(mydict2["y"], y, strict=True)


def test_reading_and_storage_arrays():
    x = np.ones(3)
    ma.save("x", x)
    x2 = ma.load("x")
    np.testing.assert_array_equal(x2, x, strict=True)

    y = np.zeros(4)
    ma.save("xy", [x, y])
    x2, y2 = ma.load("xy")
    np.testing.assert_array_equal(x2, x, strict=True)
    np.testing.assert_array_equal(y2, y, strict=True)

    mydict = {"x": x, "y": y}
    ma.save("mydict", mydict)
    mydict2 = ma.load("mydict")
    assert mydict2.keys() == mydict.keys()


@pytest.mark.parametrize("filename", ["mlp.params", "mlp.h5", "mlp"])
def test_gluon_model_parameters(filename):
    net = MLP()
    net.initialize()
    x = uniform(shape=(2, 20))
    y = net(x)
    assert y.shape == (2, 10)
    assert y.any()

    net.save_parameters(filename)

    clone = MLP()
    clone.load_parameters(filename)

    yclone = clone(x)
    assert (yclone == y).all()


def test_the_parameters_are_a_dictionary_of_their_names():
    net = MLP()
    net.initialize()
    net(uniform(shape=(2, 20)))
    net.save_parameters("mlp.params")
    parameters = ma.load("mlp.params")
    shapes = {name: array.shape for name, array in parameters.items()}
    assert shapes == {
        "hidden.weight": (256, 20),
        "hidden.bias": (256,),
        "output.weight": (10, 256),
        "output.bias": (10,),
    }


def test_parameters_whose_shapes_are_not_known_yet_cannot_be_saved():
    net = MLP()
    net.initialize()
    with pytest.raises(ma.DeferredShapeError, match=r"hidden\.weight") as caught:
        net.save_parameters("mlp.params")
    assert {"hidden.weight", "output.weight"} <= set(caught.value.names)
    assert not Path("mlp.params").exists()


def test_exercise_the_first_two_layers_of_a_previous_network_in_a_new_one():
    """ "How would you go about using, say the first two layers from a previous network in a new network.\""""
    previous = nn.Sequential(nn.Dense(64, activation="relu"), nn.Dense(32, activation="relu"), nn.Dense(10))
    previous.initialize(seed=0)
    x = uniform(shape=(2, 20))
    previous(x)

    # In memory: a slice is made of the same layers.
    new = nn.Sequential(*previous[:2], nn.Dense(2))
    new[2].initialize(seed=1)
    assert new(x).shape == (2, 2)
    np.testing.assert_array_equal(new[:2](x), previous[:2](x))

    # From a file of the whole network, without building the rest of it.
    ma.save_model("previous.h5", previous, inputs=x)
    with ma.open("previous.h5") as archive:
        later = nn.Sequential(*archive.build("", slice(0, 2)), nn.Dense(2))
    later[2].initialize(seed=1)
    np.testing.assert_array_equal(later(x), new(x))

    # From a file of parameters alone: names that start alike.
    previous.save_parameters("previous.params")
    third = nn.Sequential(nn.Dense(64, activation="relu"), nn.Dense(32, activation="relu"), nn.Dense(2))
    report = ma.transplant("previous.params", third, select=["0.*", "1.*"])
    assert sorted(report.copied) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    third.initialize(seed=2)
    np.testing.assert_array_equal(third[:2](x), previous[:2](x))


def test_exercise_saving_network_architecture_and_parameters():
    """ "How would you go about saving network architecture and parameters?\""""
    net = MLP()
    net.initialize(seed=0)
    x = uniform(shape=(2, 20))
    y = net(x)

    ma.save_model("mlp.h5", net, inputs=x)
    again = ma.load_model("mlp.h5")  # nothing here mentions MLP

    assert type(again) is not MLP
    np.testing.assert_array_equal(again(x), y, strict=True)
    assert list(again.collect_params()) == list(net.collect_params())

    clone = MLP()
    clone.load_parameters("mlp.h5")
    np.testing.assert_array_equal(clone(x), y, strict=True)


def test_exercise_what_restrictions_on_the_architecture():
    """ "What restrictions would you impose on the architecture?" A forward that values do not decide."""

    class Branching(MLP):
        def forward(self, x):
            hidden = self.hidden(x)
            return self.output(hidden) if hidden.sum() > 0 else hidden

    net = Branching()
    net.initialize(seed=0)
    x = uniform(shape=(2, 20))
    net(x)
    with pytest.raises(ma.SpecError, match="Branching"):
        ma.save_model("branching.h5", net, inputs=x)
    assert not Path("branching.h5").exists()
