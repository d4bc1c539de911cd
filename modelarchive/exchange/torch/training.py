"""What PyTorch's training goes on from: optimizer state under the names of parameters, and random states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy

from modelarchive import tensors
from modelarchive.errors import ParameterError
from modelarchive.exchange.torch.reads import Reads
from modelarchive.exchange.torch.wrapping import placed_tensors, refuse_shards, walk

#: Tensor, by ``id`` -> what a parameter is called.
Names = Mapping[int, str]


def is_module(value: object) -> bool:
    """Whether it is a network."""
    return isinstance(value, torch.nn.Module)


def is_optimizer(value: object) -> bool:
    """Whether it is an optimizer that says its state by parameters; any other has a state as other objects have."""
    if not isinstance(value, torch.optim.Optimizer):
        return False
    inside = _inside(value)
    return type(inside).state_dict is torch.optim.Optimizer.state_dict or _is_by_parameters(inside.state_dict())


def _is_by_parameters(state: Any) -> bool:
    """Whether it is what PyTorch's own optimizers give: state by number, and groups that list the numbers."""
    if not isinstance(state, Mapping) or not isinstance(state.get("state"), Mapping):
        return False
    groups = state.get("param_groups")
    return isinstance(groups, list) and all(isinstance(each, Mapping) and "params" in each for each in groups)


def reads_of(module: torch.nn.Module) -> Reads:
    """Tells whether a description of the module still holds, if the module is watched while it is described."""
    return Reads(module)


def names_of(module: torch.nn.Module) -> dict[int, str]:
    """``id`` of each parameter -> its name in the network without its wrappers; a shared one has its first."""
    found: dict[int, str] = {}
    for name, _, _, tensor in placed_tensors(module):
        found.setdefault(id(tensor), name)
    return found


def tensors_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and persistent buffers by name, those of wrappers not among them; of distributed ones its part.

    Raises:
        ConversionError: Parameters are shards of FullyShardedDataParallel.
    """
    refuse_shards(module)
    return {name: tensors.own_part(tensor) for name, tensor in whole_tensors_of(module).items()}


def whole_tensors_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The same with distributed tensors as they are."""
    return {name: tensor for name, _, _, tensor in placed_tensors(module)}


def beside(module: torch.nn.Module) -> dict[str, Any]:
    """What a module keeps beside parameters: extra states, buffers of wrappers, and what else ``state_dict`` has."""
    own = {
        path: each.get_extra_state()
        for path, each in walk(module)
        if type(each).get_extra_state is not torch.nn.Module.get_extra_state
    }
    around = {name: tensor for name, tensor in _around(module).items() if tensor is not None}
    found = {"extra_state": own, "wrappers": around, "more": _more(module)}
    return {name: value for name, value in found.items() if value}


def put_beside(module: torch.nn.Module, state: Mapping[str, Any]) -> None:
    """Give a module back what :func:`beside` took.

    Raises:
        ParameterError: Its ``load_state_dict`` does not take what its ``state_dict`` gave beside parameters.
    """
    modules = dict(walk(module))
    for path, value in state.get("extra_state", {}).items():
        modules[path].set_extra_state(value)
    around = _around(module)
    for name, value in state.get("wrappers", {}).items():
        with torch.no_grad():
            around[name].copy_(value)
    _put_more(module, state.get("more", {}))


def _more(module: torch.nn.Module) -> dict[str, Any]:
    """What code of modules' own adds to ``state_dict``: quantised weights, tensors that are no buffers."""
    several = [each for _, each in walk(module) if not isinstance(each, torch.jit.ScriptModule)]
    if not any(map(_has_state_of_its_own, several)):
        return {}
    inner = several[0]
    known = {name for name, _ in inner.named_parameters(remove_duplicate=False)}
    known |= {name for name, _ in inner.named_buffers(remove_duplicate=False)}
    state = inner.state_dict()
    return {name: value for name, value in state.items() if name not in known and not name.endswith("_extra_state")}


def _has_state_of_its_own(module: torch.nn.Module) -> bool:
    usual, kind = torch.nn.Module, type(module)
    is_usual = kind.state_dict is usual.state_dict and kind._save_to_state_dict is usual._save_to_state_dict
    return not is_usual or bool(module._state_dict_hooks)


def _put_more(module: torch.nn.Module, saved: Mapping[str, Any]) -> None:
    """Have ``load_state_dict`` take it, where it is not what there is already."""
    if not saved or _are_same(_more(module), saved):
        return
    inner = next(each for _, each in walk(module))
    problem = ""
    try:
        inner.load_state_dict({**inner.state_dict(), **saved})
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        problem = f": {error}"
    if problem or not _are_same(_more(module), saved):
        few = ", ".join([*saved][:3])
        raise ParameterError(
            f"the module's load_state_dict does not take back what its state_dict gave: {few}{problem}"
        )


def _are_same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_are_same(each, other[key]) for key, each in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_are_same, one, other))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        left, right = tensors.asarray(one), tensors.asarray(other)
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    return type(one) is type(other) and repr(one) == repr(other)


def _around(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The wrappers' own buffers, as AveragedModel has one: depth and name -> tensor."""
    inside = {id(tensor) for _, _, _, tensor in placed_tensors(module)}
    inner = {id(each) for _, each in walk(module)}
    outer = [each for each in module.modules() if id(each) not in inner]
    found = {f"{depth}.{name}": tensor for depth, each in enumerate(outer) for name, tensor in each._buffers.items()}
    return {name: tensor for name, tensor in found.items() if tensor is not None and id(tensor) not in inside}


def misfit_of_module(module: torch.nn.Module, state: Any) -> ParameterError | None:
    """Why ``load_state_dict`` of a module will not take a state, or None; one that a class changes is not foretold."""
    hooked = any(each._load_state_dict_pre_hooks for each in module.modules())
    if hooked or type(module).load_state_dict is not torch.nn.Module.load_state_dict or not isinstance(state, Mapping):
        return None
    ours = {
        name: tensors.own_part(value) for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)
    }
    theirs = {name: tuple(value.shape) for name, value in state.items() if hasattr(value, "shape")}
    mismatched = {
        name: (f"shape {tuple(value.shape)}", f"shape {theirs[name]}")
        for name, value in ours.items()
        if name in theirs and theirs[name] != tuple(value.shape) and not is_lazy(value)
    }
    missing, unexpected = [each for each in ours if each not in state], [each for each in theirs if each not in ours]
    if not (mismatched or missing or unexpected):
        return None
    title = "the network is not the one that was saved"
    return ParameterError(title=title, missing=missing, unexpected=unexpected, mismatched=mismatched)


def optimizer_state(optimizer: torch.optim.Optimizer, names: Names) -> dict[str, Any]:
    """An optimizer's ``state_dict`` with the names of parameters in place of their numbers.

    It is asked for its state as it is: no step is taken, and nothing is made that is not there yet.

    Args:
        optimizer: The optimizer.
        names: What parameters are called.
    """
    return {"class": type(_inside(optimizer)).__name__, **named(_inside(optimizer).state_dict(), optimizer, names)}


def parameters_of(optimizer: torch.optim.Optimizer, names: Names) -> dict[str, torch.Tensor]:
    """Name of each parameter of an optimizer, as its state has it -> the parameter.

    Args:
        optimizer: The optimizer.
        names: What parameters are called.
    """
    optimizer = _inside(optimizer)
    called = _numbered(optimizer, names)
    return {called[number]: parameter for number, parameter in _parameters(optimizer)}


def named(state: Mapping[str, Any], optimizer: torch.optim.Optimizer, names: Names) -> dict[str, Any]:
    """What an optimizer's ``state_dict`` gave, with the names of parameters in place of their numbers.

    Args:
        state: It.
        optimizer: The optimizer, which tells whose numbers they are.
        names: What parameters are called.
    """
    called = _numbered(_inside(optimizer), names)
    groups = [
        {**group, "params": np.array([called[number] for number in group["params"]], np.dtypes.StringDType())}
        for group in state["param_groups"]
    ]
    of_parameters = {called[key]: value for key, value in state["state"].items() if key in called}
    others = {key: value for key, value in state["state"].items() if key not in called}
    more = {key: value for key, value in state.items() if key not in ("state", "param_groups")}
    found = {"param_groups": groups, "state": of_parameters}
    return found | ({"others": others} if others else {}) | ({"more": more} if more else {})


def numbered(state: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`named` was given: PyTorch numbers parameters by their places in the groups, shared ones once."""
    numbers: dict[str, int] = {}
    groups = []
    place = 0
    for group in state["param_groups"]:
        names = list(map(str, group["params"]))
        for at, name in enumerate(names, place):
            numbers.setdefault(name, at)
        place += len(names)
        groups.append({**group, "params": [numbers[name] for name in names]})
    of_parameters = {numbers[name]: value for name, value in state["state"].items()}
    return {**state.get("more", {}), "state": {**of_parameters, **state.get("others", {})}, "param_groups": groups}


def misfit(optimizer: torch.optim.Optimizer, names: Names, state: Mapping[str, Any]) -> ParameterError | None:
    """Why an optimizer cannot take a state, or None: another class, or other parameters in its groups."""
    optimizer = _inside(optimizer)
    found, expected = state.get("class"), type(optimizer).__name__
    if found is None and "param_groups" in state:
        hint = "give restore() a dict in the optimizer's place, and load_state_dict() that"
        return ParameterError("the checkpoint has what its state_dict() gave, and not the optimizer", hint=hint)
    if found != expected:
        return ParameterError(f"the optimizer is {expected}, the checkpoint has the state of {found}")
    ours = _groups(optimizer, names)
    theirs = [list(map(str, group["params"])) for group in state["param_groups"]]
    if sorted(map(sorted, ours)) == sorted(map(sorted, theirs)):
        return None
    here, there = ({name for group in several for name in group} for several in (ours, theirs))
    if here == there:
        sizes = f"{[len(group) for group in ours]} in its groups, {[len(group) for group in theirs]} in the checkpoint"
        return ParameterError(f"the optimizer has the same parameters in other groups: {sizes}")
    return ParameterError(
        title="the optimizer does not have the parameters of the checkpoint",
        missing=sorted(here - there),
        unexpected=sorted(there - here),
    )


def put_optimizer_state(optimizer: torch.optim.Optimizer, names: Names, state: Mapping[str, Any]) -> None:
    """Give an optimizer back the state that :func:`optimizer_state` took; :func:`misfit` has found none.

    Args:
        optimizer: The optimizer; its groups may list their parameters in another order.
        names: What its parameters are called.
        state: The state, with tensors.
    """
    given, optimizer = optimizer, _inside(optimizer)
    called = _numbered(optimizer, names)
    numbers = {name: number for number, name in called.items()}
    by_names = {frozenset(map(str, group["params"])): group for group in reversed(state["param_groups"])}
    groups = []
    for at, ours in enumerate(_groups(optimizer, names)):
        same_place = state["param_groups"][at]
        theirs = same_place if {*map(str, same_place["params"])} == {*ours} else by_names[frozenset(ours)]
        groups.append({**theirs, "params": [numbers[name] for name in ours]})
    of_parameters = {numbers[name]: value for name, value in state["state"].items()}
    given.load_state_dict(
        {**state.get("more", {}), "state": {**of_parameters, **state.get("others", {})}, "param_groups": groups}
    )
    held = getattr(optimizer, "state", {})  # one that passes its state on to another need not have any
    for number, parameter in _parameters(optimizer):
        if called[number] in state["state"] and parameter in held:
            held[parameter] = _exact(held[parameter], state["state"][called[number]])


def _exact(taken: Any, saved: Any) -> Any:
    """What an optimizer took, its tensors in the dtype they were saved in: it casts them to their parameter's."""
    if isinstance(saved, torch.Tensor) and isinstance(taken, torch.Tensor):
        return taken if taken.dtype == saved.dtype else saved.to(taken.device)
    if isinstance(saved, dict) and isinstance(taken, dict):
        for key, value in saved.items():
            if key in taken:
                taken[key] = _exact(taken[key], value)
    elif isinstance(saved, list) and isinstance(taken, list) and len(saved) == len(taken):
        taken[:] = [_exact(one, other) for one, other in zip(taken, saved, strict=True)]
    return taken


def _inside(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer inside of one that another library has wrapped around it, and that has no state of its own."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        if not _is_one(optimizer.state_dict(), inner.state_dict()):
            break
        optimizer = inner
    return optimizer


def _is_one(one: Any, other: Any) -> bool:
    """Whether two states hold the same objects."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_one(each, other[key]) for key, each in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_one, one, other))
    return one is other or (isinstance(one, str | int | float) and one == other)


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[tuple[int, torch.Tensor]]:
    """(number in its ``state_dict``, parameter), once each."""
    seen: set[int] = set()
    start = 0
    for group in optimizer.param_groups:
        for number, parameter in enumerate(group["params"], start):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield number, parameter
        start += len(group["params"])


def _numbered(optimizer: torch.optim.Optimizer, names: Names) -> dict[int, str]:
    """Number in its ``state_dict`` -> name: the network's, else the optimizer's own, else its place."""
    own: dict[int, str] = {}
    for at, group in enumerate(optimizer.param_groups):
        listed = group.get("param_names") or [f"group{at}.{place}" for place in range(len(group["params"]))]
        for parameter, name in zip(group["params"], listed, strict=True):
            own.setdefault(id(parameter), name)
    found: dict[int, str] = {}
    taken: set[str] = set()
    for number, parameter in _parameters(optimizer):
        name = names.get(id(parameter), own[id(parameter)])
        found[number] = name if name not in taken else f"{name} ({number})"
        taken.add(found[number])
    return found


def _groups(optimizer: torch.optim.Optimizer, names: Names) -> list[list[str]]:
    """The names of each group's parameters, in its order."""
    called = _numbered(optimizer, names)
    numbers = {id(parameter): number for number, parameter in _parameters(optimizer)}
    return [[called[numbers[id(each)]] for each in group["params"]] for group in optimizer.param_groups]


def random_states() -> dict[str, Any]:
    """The random state of the CPU, and of each device that is in use."""
    found: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        found["mps"] = torch.mps.get_rng_state()
    return found


def put_random_states(states: Mapping[str, Any]) -> None:
    """Set them again; those of devices that are not here are left out."""
    torch.set_rng_state(_bytes(states["cpu"]))
    for number, state in enumerate(states.get("cuda", ())):
        if torch.cuda.is_available() and number < torch.cuda.device_count():
            torch.cuda.set_rng_state(_bytes(state), number)
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(_bytes(states["mps"]))


def _bytes(state: Any) -> torch.Tensor:
    if isinstance(state, torch.Tensor):
        return state
    return torch.as_tensor(np.array(state), dtype=torch.uint8)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor on the memory of an array."""
    found: torch.Tensor = tensors.torch_tensor(array, torch)
    return found
