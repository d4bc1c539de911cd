"""Forwards that take names, dicts, lists and records: inputs in the containers of the call."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import ConversionError

torch = pytest.importorskip("torch")

X, W = torch.randn(3, 4), torch.rand(3, 1)


class Pair(NamedTuple):
    x: Any
    w: Any


@dataclasses.dataclass
class Batch:
    x: Any
    w: Any
    name: str = "train"


class Weighted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def weighted(self, x, w):
        return self.layer(x) * w


class ByKeys(Weighted):
    def forward(self, batch):
        return {"y": self.weighted(batch["x"], batch["w"])}


class Nested(Weighted):
    def forward(self, batch, scale=None):
        return self.weighted(batch["of"]["x"][1], batch["of"]["w"]) * (1 if scale is None else scale)


class KeywordOnly(Weighted):
    def forward(self, *, w=None, x):
        return self.weighted(x, w)


class AnyNames(Weighted):
    def forward(self, *args, **more):
        assert not args
        return self.weighted(**more)


class Rest(Weighted):
    def forward(self, x, **more):
        return self.weighted(x, more["w"])


class Decided(Weighted):
    def forward(self, x, w, *, twice=False, mode="sum", mask=None):
        y = self.weighted(x, w)
        return (y * 2 if twice else y), (y.sum(-1) if mode == "sum" else y.mean(-1))


class Features(Weighted):
    def forward(self, features):
        return [self.layer(each) for each in features]


class Attributes(Weighted):
    def forward(self, batch):
        return self.weighted(batch.x, batch.w)


CALLS = {
    "a dict that is all": (ByKeys, {"x": X, "w": W}, ["x", "w"]),
    "a dict in a tuple": (ByKeys, ({"w": W, "x": X},), ["w", "x"]),
    "declared": (ByKeys, {"x": {"shape": ["rows", 4]}, "w": {"shape": ["rows", 1]}}, ["x", "w"]),
    "nested": (Nested, ({"of": {"x": [X, X + 1], "w": W}},), ["of_x_0", "of_x_1", "of_w"]),
    "beside another": (
        Nested,
        ({"of": {"x": [X, X + 1], "w": W}}, W),
        ["batch_of_x_0", "batch_of_x_1", "batch_of_w", "scale"],
    ),
    "keyword-only": (KeywordOnly, {"x": X, "w": W}, ["w", "x"]),
    "any names": (AnyNames, {"x": X, "w": W}, ["x", "w"]),
    "a name and the rest": (Rest, {"w": W, "x": X}, ["x", "w"]),
    "a list": (Features, ([X, X[:2]],), ["features_0", "features_1"]),
    "a list that is all": (Features, [X, X + 1], ["features_0", "features_1"]),
    "a named tuple": (Attributes, Pair(X, W), ["x", "w"]),
    "a dataclass": (Attributes, Batch(X, W), ["x", "w"]),
}


class Plain(torch.nn.Module):
    """Takes an array."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize("name", CALLS)
def test_inputs_in_the_containers_of_the_call(name, tmp_path):
    make, inputs, names = CALLS[name]
    module = make().eval()
    ma.save_model(tmp_path / "net.h5", module, inputs=inputs)
    with ma.open(tmp_path / "net.h5") as opened:
        declared = opened.architecture["inputs"]
    assert [each["name"] for each in declared] == names
    rows = {each: torch.randn(5, 4) if each.split("_")[-1] in ("x", "0", "1") else torch.rand(5, 1) for each in names}
    wanted = [module.layer(each) for each in rows.values()] if make is Features else _wanted(module, rows)
    net = ma.load_model(tmp_path / "net.h5")
    built = ma.load_model(tmp_path / "net.h5", backend="torch")
    arrays = {key: each.numpy() for key, each in rows.items()}
    for found in (net(**arrays), net(*arrays.values()), built(**rows), built(*rows.values())):
        found = found["y"] if isinstance(found, dict) else found
        for one, other in zip(found if make is Features else [found], wanted, strict=True):
            np.testing.assert_allclose(
                one.detach() if isinstance(one, torch.Tensor) else one, other.detach().numpy(), atol=1e-5
            )
    assert built.load_state_dict(module.state_dict()) == torch.nn.modules.module._IncompatibleKeys([], [])


def _wanted(module, rows):
    last = {key.split("_")[-1]: each for key, each in rows.items()}
    found = module.layer(last.get("1", last.get("x"))) * last["w"]
    return [found * last.get("scale", 1)]


def test_what_is_no_array_is_given_as_it_is_and_noted(tmp_path):
    module = Decided()
    notes = ma.save_model(
        tmp_path / "net.h5", module, inputs={"x": X, "w": W, "twice": True, "mode": "mean", "mask": None}
    )
    said = [each.what for each in notes if each.where == "inputs"]
    assert [each.split(" ")[0] for each in said] == ["twice=True", "mode='mean'", "mask=None"]
    for one, other in zip(
        ma.load_model(tmp_path / "net.h5")(X.numpy(), W.numpy()), module(X, W, twice=True, mode="mean"), strict=True
    ):
        np.testing.assert_allclose(one, other.detach().numpy(), atol=1e-5)


def test_an_argument_in_a_row_that_is_none(tmp_path):
    class Optional(Weighted):
        def forward(self, x, mask=None, w=None):
            return self.weighted(x, w) if mask is None else x

    module = Optional()
    ma.save_model(tmp_path / "net.h5", module, inputs=(X, None, W))
    found = ma.load_model(tmp_path / "net.h5")(x=X.numpy(), w=W.numpy())
    np.testing.assert_allclose(found, module(X, None, W).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "what"),
    [({"x": X}, "missing a required"), ({"x": X, "w": W, "y": W}, "unexpected keyword argument 'y'")],
)
def test_names_that_forward_does_not_take(inputs, what, tmp_path):
    with pytest.raises(ConversionError, match=what) as caught:
        ma.save_model(tmp_path / "net.h5", Decided(), inputs=inputs)
    assert caught.value.hint == 'give what forward takes, by name: inputs={"x": x, "w": w}'
    assert not list(tmp_path.iterdir())


class Typed(Weighted):
    def forward(self, images: torch.Tensor):
        return self.layer(images)


@pytest.mark.parametrize("given", [X, {"shape": ["batch", 4], "dtype": "float32"}], ids=["example", "declared"])
@pytest.mark.parametrize(
    ("module", "name"), [(torch.nn.Sequential(torch.nn.Linear(4, 3)), "input"), (Typed(), "images")]
)
def test_a_dict_is_no_input_of_what_takes_arrays(module, name, given, tmp_path):
    with pytest.raises(ConversionError, match="is a dict of x, and forward takes") as caught:
        ma.save_model(tmp_path / "net.h5", module, inputs={"x": given})
    assert caught.value.hint == f'give what forward takes, by name: inputs={{"{name}": {name}}}'
    ma.save_model(tmp_path / "net.h5", module, inputs={name: given})


def test_the_module_is_compared_as_it_is_called(tmp_path):
    class ByValues(Weighted):
        def forward(self, batch):
            return self.layer(batch["x"]) if batch["x"].shape[0] != 7 else batch["x"]

    (note,) = ma.save_model(tmp_path / "net.h5", ByValues(), inputs={"x": torch.randn(7, 4)})[:1]
    assert note
    np.testing.assert_array_equal(ma.load_model(tmp_path / "net.h5")(np.ones((7, 4), np.float32)), 1)


def test_names_that_are_no_arguments_are_told_where_the_dict_that_they_make_does_not_run():
    with pytest.raises(ma.ConversionError) as error:
        ma.save_model("net.h5", Plain(), inputs={"of_x": {"shape": ["batch", 4]}})
    assert "none of its names is an argument of forward(x)" in error.value.hint
