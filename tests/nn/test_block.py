"""Blocks: registration, names, initialisation, sharing, freezing, the printed table."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from modelarchive import nn
from modelarchive.errors import ParameterError


class MLP(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Dense(8, activation="relu")
        self.output = nn.Dense(3)

    def forward(self, x: Any) -> Any:
        return self.output(self.hidden(x))


class Tower(nn.Block):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(MLP(), nn.Dense(4))
        self.scale = nn.Parameter((4,), init="ones")
        self.head = nn.Dense(2)

    def forward(self, x: Any) -> Any:
        return self.head(self.features(x) * self.scale.data())


X = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)


def test_structural_names_follow_the_attributes() -> None:
    assert list(Tower().collect_params()) == [
        "scale",
        "features.0.hidden.weight",
        "features.0.hidden.bias",
        "features.0.output.weight",
        "features.0.output.bias",
        "features.1.weight",
        "features.1.bias",
        "head.weight",
        "head.bias",
    ]


def test_collect_params_selects_by_pattern() -> None:
    net = Tower()
    assert list(net.collect_params("features.*.bias")) == [
        "features.0.hidden.bias",
        "features.0.output.bias",
        "features.1.bias",
    ]
    assert list(net.collect_params(["head.*", "scale"])) == ["scale", "head.weight", "head.bias"]
    assert net.collect_params("nothing") == {}


def test_reassigning_and_deleting_changes_the_registration() -> None:
    net = MLP()
    net.output = nn.Dense(7)
    assert net.output.units == 7
    assert list(net.children) == ["hidden", "output"]
    net.hidden = None
    assert list(net.children) == ["output"]
    del net.output
    assert net.collect_params() == {}
    net.hidden = nn.Parameter((2,))
    assert list(net.collect_params()) == ["hidden"]
    net.hidden = nn.Dense(1)
    assert list(net.collect_params()) == ["hidden.weight", "hidden.bias"]


def test_a_forgotten_super_init_does_no_harm() -> None:
    class Careless(nn.Block):
        def __init__(self) -> None:
            self.inner = nn.Dense(2)

    assert list(Careless().collect_params()) == ["inner.weight", "inner.bias"]


@pytest.mark.parametrize("name", ["forward", "children", "collect_params", "_children", "ünïcode", "a.b"])
def test_names_that_would_break_a_block_are_refused(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(MLP(), name, nn.Dense(1))


def test_a_block_that_contains_itself_is_refused() -> None:
    net = MLP()
    with pytest.raises(ValueError, match="own child"):
        net.me = net
    net.hidden.back = net
    with pytest.raises(ValueError, match="nest deeper"):
        net.collect_params()


def test_blocks_in_a_list_are_not_lost_silently() -> None:
    class Listed(nn.Block):
        def __init__(self) -> None:
            self.layers = [nn.Dense(1), nn.Dense(2)]

    with pytest.raises(ValueError, match=r"the list 'layers' holds blocks that are no children.*Sequential"):
        Listed().collect_params()


def test_a_list_of_registered_blocks_is_fine() -> None:
    net = MLP()
    net.order = [net.output, net.hidden]
    assert len(net.collect_params()) == 4


def test_shapes_are_learned_at_the_first_call() -> None:
    net = Tower()
    net.initialize(seed=0)
    assert net.features[0].hidden.weight.shape == (8, None)
    y = net(X)
    assert y.shape == (5, 2)
    assert net.features[0].hidden.weight.shape == (8, 6)


def test_a_seed_gives_the_same_values_whatever_the_order() -> None:
    one, two, other = Tower(), Tower(), Tower()
    one.initialize(seed=3)
    one(X)
    two.features[0].hidden.infer(X.shape)
    two.initialize(seed=3)
    two(X)
    other.initialize(seed=4)
    other(X)
    for name, parameter in one.collect_params().items():
        np.testing.assert_array_equal(parameter.data(), two.collect_params()[name].data())
    assert not np.array_equal(one.head.weight.data(), other.head.weight.data())


def test_initialize_keeps_values_unless_forced() -> None:
    net = MLP()
    net.initialize(seed=0)
    net(X)
    before = net.hidden.weight.data().copy()
    net.initialize("zeros", seed=1)
    np.testing.assert_array_equal(net.hidden.weight.data(), before)
    net.initialize("zeros", force_reinit=True)
    assert not net.hidden.weight.data().any()


def test_shared_parameters_are_one() -> None:
    net = MLP()
    net.tied = nn.Dense(8, in_units=6)
    net.tied.weight = net.hidden.weight
    assert net.hidden.weight.shape == (8, 6)
    assert net.collect_params()["tied.weight"] is net.collect_params()["hidden.weight"]
    net.initialize(seed=0)
    net(X)
    assert net.tied.weight.data() is net.hidden.weight.data()


def test_sharing_another_shape_is_refused() -> None:
    net = MLP()
    with pytest.raises(ValueError, match="cannot be shared"):
        net.output.weight = nn.Parameter((4, 4))


def test_share_parameters_by_name() -> None:
    one, two = Tower(), Tower()
    two.share_parameters(one.collect_params("features.*"))
    assert two.features[0].hidden.weight is one.features[0].hidden.weight
    assert two.head.weight is not one.head.weight


def test_cast_leaves_integers_alone() -> None:
    net = MLP()
    net.table = nn.Parameter((2,), "int64")
    net.cast("float16")
    net.initialize(seed=0)
    net(X)
    assert net.hidden.weight.data().dtype == np.float16
    assert net.table.dtype == np.int64
    assert net.hidden.dtype == "float16"
    assert net.hidden.config()["dtype"] == "float16"


def test_freeze_and_unfreeze() -> None:
    net = nn.Sequential(nn.Dense(4), nn.BatchNorm())
    assert net.freeze("0.*") == ["0.weight", "0.bias"]
    assert [parameter.trainable for parameter in net[0].parameters.values()] == [False, False]
    assert net.unfreeze() == list(net.collect_params())
    assert net[0].weight.trainable
    assert not net[1].running_mean.trainable


def test_freezing_nothing_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(ParameterError, match=r"did you mean 'hidden\.weight'"):
        MLP().freeze("hiden.weight")


def test_forward_has_to_be_written() -> None:
    with pytest.raises(NotImplementedError, match="Block has no forward"):
        nn.Block()(X)


def test_apply_goes_from_the_leaves_up() -> None:
    seen: list[str] = []
    MLP().apply(lambda block: seen.append(type(block).__name__))
    assert seen == ["Dense", "Dense", "MLP"]


def test_blocks_copy_and_pickle() -> None:
    net = nn.Sequential(nn.Dense(3), nn.Dense(2))
    net.initialize(seed=0)
    y = net(X)
    for clone in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(clone(X), y)
        assert clone[0].weight is not net[0].weight


def test_a_layer_checks_what_it_is_given() -> None:
    net = nn.Dense(3, in_units=4)
    net.initialize()
    with pytest.raises(ValueError, match="Dense: expected 4 input features, found 6"):
        net(X)


def test_the_tree_is_printed() -> None:
    assert repr(MLP()).splitlines()[:2] == [
        "MLP(",
        "  (hidden): Dense(units=8, activation='relu', use_bias=True, flatten=True, in_units=0, dtype='float32')",
    ]


def test_summary_is_a_table() -> None:
    net = Tower()
    net.initialize(seed=0)
    net.freeze("head.*")
    text = net.summary(X)
    assert repr(text) == str(text), "a prompt shows it as it is printed"
    assert all(line == line.rstrip() for line in text.splitlines())
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line and not line.startswith("-")}
    assert rows["hidden"] == ["hidden", "Dense", "(5,", "8)", "56"]
    assert rows["head"] == ["head", "Dense", "(5,", "2)", "10"]
    assert rows["(model)"][-1] == "4"
    assert "Parameters: 113, of which trainable 103, not trainable 10" in text


def test_summary_without_inputs_counts_what_is_known() -> None:
    assert "Not counted: 2 whose shape is not known yet" in MLP().summary()


@pytest.mark.parametrize(("name", "words"), [("state_dict", "backend='torch'"), ("predict", "backend='keras'")])
def test_what_another_framework_has_is_named_with_the_way_there(name: str, words: str) -> None:
    with pytest.raises(AttributeError, match=f"'MLP' object has no attribute '{name}': .*{words}"):
        getattr(MLP(), name)
    with pytest.raises(AttributeError, match=r"'MLP' object has no attribute 'hiden'$"):
        MLP().hiden  # noqa: B018
