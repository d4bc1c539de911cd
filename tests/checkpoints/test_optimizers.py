"""Every optimizer of PyTorch goes on from a checkpoint as if nothing had happened, to the bit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelarchive as ma
from modelarchive.errors import ParameterError

torch = pytest.importorskip("torch")

#: What cannot be made with a learning rate alone, or asks for parameters of its own kind.
OPTIONS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    "LBFGS": {"lr": 0.1, "history_size": 3, "max_iter": 2},
    "Adafactor": {"lr": 0.01},
}
OPTIMIZERS = sorted(
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
)


class Net(torch.nn.Module):
    def __init__(self, *, sparse: bool = False) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(6, 4, sparse=sparse)
        self.head = torch.nn.Linear(4, 3, bias=False)

    def forward(self, x: Any) -> Any:
        return self.head(self.words(x).sum(1))


def made(name: str, dtype: Any = None, **options: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    net = Net(sparse=name == "SparseAdam").to(dtype or torch.float32)
    parameters = [net.words.weight] if name == "SparseAdam" else list(net.parameters())
    return net, getattr(torch.optim, name)(parameters, **(options or OPTIONS.get(name, {"lr": 0.01})))


def trained(net: Any, optimizer: Any, steps: int) -> None:
    for _ in range(steps):
        x = torch.randint(0, 6, (5, 2))

        def closure(x: Any = x) -> Any:
            optimizer.zero_grad()
            loss = net(x).float().pow(2).mean()
            loss.backward()
            return loss

        optimizer.step(closure)


def same(left: Any, right: Any, where: str = "") -> None:
    """Equal to the bit, dtypes and kinds too."""
    assert type(left) is type(right), where
    if isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype, where
        assert left.device == right.device, where
        assert torch.equal(left, right), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            same(left[key], right[key], f"{where}[{key!r}]")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for at, (one, other) in enumerate(zip(left, right, strict=True)):
            same(one, other, f"{where}[{at}]")
    else:
        assert left == right or left != left, where


def goes_on(folder: Path, make: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
    """What is saved after three steps and restored into new objects ends ten steps later as what was left alone."""
    net, optimizer = make()
    trained(net, optimizer, 3)
    with ma.Checkpoints(folder) as run:
        run.save(3, model=net, optimizer=optimizer)
    trained(net, optimizer, 10)
    other, fresh = make()
    assert ma.Checkpoints(folder).restore(model=other, optimizer=fresh) == 3
    trained(other, fresh, 10)
    same(net.state_dict(), other.state_dict())
    same(optimizer.state_dict(), fresh.state_dict())
    return other, fresh


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_goes_on(tmp_path: Path, name: str) -> None:
    goes_on(tmp_path, lambda: made(name))


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in ("LBFGS", "SparseAdam", "Muon")])
def test_goes_on_in_bfloat16(tmp_path: Path, name: str) -> None:
    """Moments are in the parameters' dtype, steps are not."""
    goes_on(tmp_path, lambda: made(name, torch.bfloat16))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": 0.1}),  # which has no state at all
        ("Adam", {"lr": 0.1, "amsgrad": True}),
        ("Adam", {"lr": torch.tensor(0.1)}),  # a learning rate that is a tensor
        ("AdamW", {"lr": 0.1, "fused": True}),
        ("RMSprop", {"lr": 0.1, "centered": True, "momentum": 0.9}),
        ("Adam", {"lr": 0.1, "foreach": True, "weight_decay": 0.1}),
    ],
    ids=str,
)
def test_goes_on_with_options(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    goes_on(tmp_path, lambda: made(name, **options))


class Lookahead(torch.optim.Optimizer):
    """Slow weights beside another optimizer's steps, as several libraries have it: their state is here alone."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer.param_groups, {})
        self.optimizer, self.param_groups, self.count = optimizer, optimizer.param_groups, 0

    def step(self, closure: Any) -> None:
        self.optimizer.step(closure)
        self.count += 1
        for parameter in self.optimizer.param_groups[0]["params"]:
            slow = self.state[parameter].setdefault("slow", parameter.detach().clone())
            if self.count % 2 == 0:
                slow.lerp_(parameter.detach(), 0.5)
                parameter.data.copy_(slow)

    def state_dict(self) -> Any:
        slow = [each["slow"] for each in self.state.values()]
        return {"fast": self.optimizer.state_dict(), "slow": slow, "count": self.count}

    def load_state_dict(self, state: Any) -> None:
        self.optimizer.load_state_dict(state["fast"])
        self.param_groups, self.count = self.optimizer.param_groups, state["count"]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for parameter, slow in zip(parameters, state["slow"], strict=True):
            self.state[parameter] = {"slow": slow.clone()}


class Passing(torch.optim.Optimizer):
    """What passes everything on to an optimizer that it keeps under a name of its own, and has no state."""

    def __init__(self, optimizer: Any) -> None:
        self.base, self.defaults, self.param_groups = optimizer, optimizer.defaults, optimizer.param_groups
        self._optimizer_step_pre_hooks = self._optimizer_step_post_hooks = {}
        self.step = optimizer.step

    def state_dict(self) -> Any:
        return self.base.state_dict()

    def load_state_dict(self, state: Any) -> None:
        self.base.load_state_dict(state)
        self.param_groups = self.base.param_groups


@pytest.mark.parametrize("around", [Lookahead, Passing, lambda optimizer: Lookahead(Passing(optimizer))])
def test_optimizers_around_others_go_on(tmp_path: Path, around: Any) -> None:
    """The state is what the outer one gives: the inner one's alone is not the whole."""

    def make() -> tuple[Any, Any]:
        net, optimizer = made("Adam", amsgrad=True)
        return net, around(optimizer)

    _, fresh = goes_on(tmp_path, make)
    inner = getattr(fresh, "optimizer", fresh)
    assert fresh.param_groups is inner.param_groups


class Wide(torch.optim.Optimizer):
    """Moments in float32 for parameters in bfloat16, nested: PyTorch casts what it loads, and loses bits."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure: Any) -> None:
        with torch.enable_grad():
            closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                inner = state.setdefault("inner", {"m": torch.zeros(parameter.shape), "n": 0})
                inner["m"].mul_(0.9).add_(parameter.grad.float())
                inner["n"] += 1
                parameter.sub_(group["lr"] * inner["m"].to(parameter.dtype))


def test_moments_wider_than_parameters(tmp_path: Path) -> None:
    def make() -> tuple[Any, Any]:
        net, _ = made("SGD", torch.bfloat16)
        return net, Wide(net.parameters())

    _, fresh = goes_on(tmp_path, make)
    assert next(iter(fresh.state.values()))["inner"]["m"].dtype == torch.float32


def test_state_lies_under_the_names_of_parameters(tmp_path: Path) -> None:
    net, optimizer = made("Adam")
    trained(net, optimizer, 1)
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=torch.compile(net, backend="eager"), optimizer=optimizer)
        with run.load(1) as archive:
            assert list(archive) == ["words.weight", "head.weight"]
            moments = archive.training["optimizer"]["state"]["head.weight"]["exp_avg"]
    assert torch.equal(torch.from_numpy(moments), optimizer.state[net.head.weight]["exp_avg"])


def test_parameters_may_be_numbered_otherwise(tmp_path: Path) -> None:
    """By groups of decay, as Hugging Face's Trainer does, and in another order within them."""

    def grouped(net: Any, *, turned: bool) -> Any:
        first, second = [net.head.weight, net.more.weight], [net.words.weight]
        groups = [{"params": first[::-1] if turned else first}, {"params": second, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=0.01)

    def make(*, turned: bool) -> tuple[Any, Any]:
        torch.manual_seed(0)
        net = Net()
        net.more = torch.nn.Linear(4, 3, bias=False)
        net.forward = lambda x: net.head(net.words(x).sum(1)) + net.more(net.words(x).sum(1))
        return net, grouped(net, turned=turned)

    net, optimizer = make(turned=False)
    trained(net, optimizer, 3)
    with ma.Checkpoints(tmp_path) as run:
        run.save(3, model=net, optimizer=optimizer)
    trained(net, optimizer, 5)
    other, fresh = make(turned=True)
    assert ma.Checkpoints(tmp_path).restore(model=other, optimizer=fresh) == 3
    trained(other, fresh, 5)
    same(net.state_dict(), other.state_dict())
    for name, parameter in net.named_parameters():
        same(optimizer.state[parameter], fresh.state[other.get_parameter(name)], name)


def test_a_new_optimizer_is_left_as_it_is(tmp_path: Path) -> None:
    """What PyTorch's own get_optimizer_state_dict does to one: a step, with moments and counts that stay."""
    net, optimizer = made("Adam")
    before = [each.clone() for each in net.parameters()]
    with ma.Checkpoints(tmp_path) as run:
        run.save(0, model=net, optimizer=optimizer)
    assert not optimizer.state
    assert all(map(torch.equal, before, net.parameters()))
    other, fresh = made("Adam")
    trained(other, fresh, 2)
    assert ma.Checkpoints(tmp_path).restore(model=other, optimizer=fresh) == 0
    assert not fresh.state


def test_another_optimizer_is_refused_before_anything_is_changed(tmp_path: Path) -> None:
    net, optimizer = made("Adam")
    trained(net, optimizer, 2)
    with ma.Checkpoints(tmp_path) as run:
        run.save(2, model=net, optimizer=optimizer)
    other, _ = made("Adam")
    before = [each.clone() for each in other.parameters()]
    for wrong, message in [
        (torch.optim.SGD(other.parameters()), "the optimizer is SGD, the checkpoint has the state of Adam"),
        (torch.optim.Adam([other.head.weight]), "unexpected  words.weight"),
        (torch.optim.Adam([{"params": [each]} for each in other.parameters()]), "in other groups"),
    ]:
        with pytest.raises(ParameterError, match=message) as error:
            ma.Checkpoints(tmp_path).restore(model=other, optimizer=wrong)
        assert "what is left out of restore(), as optimizer, begins anew" in str(error.value)
    assert all(map(torch.equal, before, other.parameters()))


def test_a_network_that_grew_is_told_of_the_network_first_and_how_to_go_on(tmp_path: Path) -> None:
    net, optimizer = made("Adam")
    trained(net, optimizer, 2)
    with ma.Checkpoints(tmp_path) as run:
        run.save(2, model=net, optimizer=optimizer)
    grown, _ = made("Adam")
    grown.more = torch.nn.Linear(2, 2)
    path = str(run.path(2))
    with pytest.raises(ParameterError, match="the model is not the one") as error:
        ma.Checkpoints(tmp_path).restore(model=grown, optimizer=torch.optim.Adam(grown.parameters()))
    assert error.value.missing == ["more.weight", "more.bias"]
    assert error.value.file == path
    assert f"ma.transplant({path!r}, model)" in str(error.value.hint)
    ma.transplant(path, grown)
    assert torch.equal(grown.head.weight, net.head.weight)


def test_parameters_of_several_networks(tmp_path: Path) -> None:
    net, _ = made("Adam")
    critic = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD([*net.parameters(), *critic.parameters()], lr=0.1, momentum=0.9)
    for parameter in (*net.parameters(), *critic.parameters()):
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    with ma.Checkpoints(tmp_path) as run:
        run.save(1, model=net, critic=critic, optimizers=[optimizer])
        with run.load(1) as archive:
            assert [*archive.training["optimizers"][0]["state"]] == [
                "words.weight",
                "head.weight",
                "critic:weight",
                "critic:bias",
            ]
    other, _ = made("Adam")
    fresh_critic = torch.nn.Linear(2, 1)
    fresh = torch.optim.SGD([*other.parameters(), *fresh_critic.parameters()], lr=0.5, momentum=0.9)
    ma.Checkpoints(tmp_path).restore(model=other, critic=fresh_critic, optimizers=[fresh])
    same(optimizer.state_dict(), fresh.state_dict())
    same(critic.state_dict(), fresh_critic.state_dict())


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "LambdaLR": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "MultiStepLR": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 2, 5]),
    "OneCycleLR": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
    "CosineAnnealingWarmRestarts": lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "CyclicLR": lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=3),
    "SequentialLR": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [torch.optim.lr_scheduler.ConstantLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)],
        milestones=[4],
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_go_on(tmp_path: Path, name: str) -> None:
    def make() -> tuple[Any, Any, Any]:
        torch.manual_seed(0)
        net = torch.nn.Linear(2, 2)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        return net, optimizer, SCHEDULERS[name](optimizer)

    def stepped(optimizer: Any, scheduler: Any, count: int) -> list[float]:
        found = []
        for _ in range(count):
            optimizer.step()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # SequentialLR's own, of its own doing
                scheduler.step()
            found.append(optimizer.param_groups[0]["lr"])
        return found

    net, optimizer, scheduler = make()
    stepped(optimizer, scheduler, 3)
    with ma.Checkpoints(tmp_path) as run:
        run.save(3, model=net, optimizer=optimizer, scheduler=scheduler)
    expected = stepped(optimizer, scheduler, 6)
    other, fresh, again = make()
    ma.Checkpoints(tmp_path).restore(model=other, optimizer=fresh, scheduler=again)
    assert stepped(fresh, again, 6) == expected
    assert {key: type(value) for key, value in again.state_dict().items()} == {
        key: type(value) for key, value in scheduler.state_dict().items()
    }
