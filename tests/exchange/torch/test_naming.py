"""Names that PyTorch takes and archives do not, and the number of elements."""

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.torch import read_module
from tests.exchange.torch.comparison import Function, X

torch = pytest.importorskip("torch")


def test_names_that_archives_do_not_have_are_changed_with_a_note(tmp_path):
    module = torch.nn.Sequential()
    for name in ("a/b", "a_b", "c d", "größe", "x" * 200, "x" * 100 + "y" * 100, "__metadata__", "a:b"):
        module.add_module(name, torch.nn.Linear(6, 6))
    module.get_submodule("c d").register_parameter("my scale", torch.nn.Parameter(torch.ones(1)))
    holder = Function(lambda x: x)
    holder.net, holder.function = module, lambda x: holder.net(x) * getattr(holder, "odd name")
    holder.register_parameter("odd name", torch.nn.Parameter(torch.randn(6)))
    holder.register_buffer("späte", torch.ones(3))
    holder.again = module
    notes = ma.save_model(tmp_path / "net.h5", holder, inputs=torch.from_numpy(X))
    net = ma.load_model(tmp_path / "net.h5")
    with torch.no_grad():
        np.testing.assert_allclose(net(X), holder(torch.from_numpy(X)).numpy(), atol=1e-5)
    children = dict(net.named_blocks())["net"].children
    assert list(children) == [
        "a_b_2", "a_b", "c_d", "gr__e", "x" * 100, "x" * 100 + "_2", "x__metadata__", "a_b_3",
    ]  # fmt: skip
    changed = {note.where: note.what for note in notes if "is called" in note.what}
    assert len([note for note in notes if "is called" in note.what]) == 10
    assert changed["net.a/b"].startswith("is called 'a_b_2' here")
    assert changed["odd name"].startswith("is called 'odd_name' here")
    assert all(len(note.where) < 100 for note in notes)
    stored = {name: array.tobytes() for name, array in ma.load(tmp_path / "net.h5").items()}
    assert stored["net.a_b_2.weight"] == module.get_parameter("a/b.weight").detach().numpy().tobytes()
    assert not any("constant" in note.what for note in notes)
    assert "again.a_b_2.weight" in stored


@pytest.mark.parametrize("count", [lambda x: x.nelement(), lambda x: x.numel(), torch.numel])
def test_the_number_of_elements(count, tmp_path):
    module = Function(lambda x: x * count(x))
    net = read_module(module, torch.from_numpy(X)).build()
    for x in (X, np.concatenate([X, X])):
        np.testing.assert_array_equal(net(x), module(torch.from_numpy(x)).numpy())
