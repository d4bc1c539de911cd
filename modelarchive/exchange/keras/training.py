"""What Keras' training goes on from: optimizer state under the names of parameters, and seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from modelarchive import tensors
from modelarchive.errors import ParameterError
from modelarchive.exchange.keras.assigning import parameters_of
from modelarchive.nn.target import ForeignParameter

#: Variable, by ``id`` -> what a parameter is called.
Names = Mapping[int, str]


def is_module(value: object) -> bool:
    """Whether it is a network."""
    return isinstance(value, keras.Model)


def is_optimizer(value: object) -> bool:
    """Whether it is an optimizer, whose state belongs to parameters."""
    return isinstance(value, keras.optimizers.Optimizer)


def network_of(model: Any) -> dict[str, ForeignParameter]:
    """A model's parameters, names and axes as an archive of it has them, but the factors of a LoRA apart."""
    return parameters_of(model, apart=True)


def computed(model: Any) -> list[str]:
    """The parameters of an archive of the model that are computed of several variables, as with a LoRA."""
    return [name for name, parameter in parameters_of(model).items() if parameter.problem]


def names_of(model: Any) -> dict[int, str]:
    """``id`` of each variable -> the name of its parameter, of the first where it is several."""
    found: dict[int, str] = {}
    for name, parameter in network_of(model).items():
        held = getattr(getattr(parameter, "_variable", None), "_variable", None)
        if held is not None:
            found.setdefault(id(held), name)
    return found


def beside(model: Any) -> dict[str, Any]:
    """The variables that are no parameters, as the seeds of dropout are, in the model's order."""
    found = [tensors.asarray(each).copy() for each in _others(model)]
    return {"variables": found} if found else {}


def put_beside(model: Any, state: Mapping[str, Any]) -> None:
    """Give a model back what :func:`beside` took.

    Raises:
        ParameterError: It has other variables.
    """
    saved, ours = list(state.get("variables", ())), _others(model)
    if [np.shape(each) for each in saved] != [tuple(each.shape) for each in ours]:
        raise ParameterError(f"the model has {len(ours)} variables beside its weights, the checkpoint {len(saved)}")
    for variable, value in zip(ours, saved, strict=True):
        tensors.fill(variable, np.asarray(value))


def _others(model: Any) -> list[Any]:
    parameters = names_of(model)
    return [each for each in model.variables if id(each) not in parameters]


def optimizer_state(optimizer: Any, names: Names) -> dict[str, Any]:
    """An optimizer's variables: those of a parameter under its name, the others under their own."""
    state: dict[str, dict[str, Any]] = {}
    others: dict[str, Any] = {}
    for (owner, own), variable in _placed(optimizer, names).items():
        value = tensors.asarray(variable)
        if owner:
            state.setdefault(owner, {})[own] = value
        else:
            others[own] = value
    return {"class": _class(optimizer), "state": state, "others": others}


def misfit(optimizer: Any, names: Names, state: Mapping[str, Any]) -> ParameterError | None:
    """Why an optimizer cannot take a state, or None."""
    found, expected = state.get("class"), _class(optimizer)
    if found != expected:
        return ParameterError(f"the optimizer is {expected}, the checkpoint has the state of {found}")
    if not optimizer.built:
        hint = "optimizer.build(model.trainable_variables)"
        return ParameterError("the optimizer has no variables yet, it was not built", hint=hint)
    ours = {_said(place): tuple(variable.shape) for place, variable in _placed(optimizer, names).items()}
    theirs = {_said(place): tuple(value.shape) for place, value in _saved(state).items()}
    if ours == theirs:
        return None
    return ParameterError(
        title="the optimizer does not have the variables of the checkpoint",
        missing=[name for name in ours if name not in theirs],
        unexpected=[name for name in theirs if name not in ours],
        mismatched={
            name: (f"shape {ours[name]}", f"shape {theirs[name]}")
            for name in ours
            if name in theirs and ours[name] != theirs[name]
        },
    )


def put_optimizer_state(optimizer: Any, names: Names, state: Mapping[str, Any]) -> None:
    """Give an optimizer back the state that :func:`optimizer_state` took; :func:`misfit` has found none."""
    saved = _saved(state)
    for place, variable in _placed(optimizer, names).items():
        tensors.fill(variable, np.asarray(saved[place]))


def _class(optimizer: Any) -> str:
    return type(optimizer).__name__


def _said(place: tuple[str, str]) -> str:
    return "/".join(part for part in place if part)


def _saved(state: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    of_parameters = {(owner, own): value for owner, of in state["state"].items() for own, value in of.items()}
    return of_parameters | {("", own): value for own, value in state["others"].items()}


def _placed(optimizer: Any, names: Names) -> dict[tuple[str, str], Any]:
    """(name of the parameter or "", its own name) of each of an optimizer's variables.

    Keras calls such a variable by its parameter's path, slashes as underscores, and its own name behind it.
    """
    called: dict[str, str] = {}
    for at, variable in enumerate(getattr(optimizer, "_trainable_variables", ())):
        called.setdefault(variable.path.replace("/", "_"), names.get(id(variable), f"variable{at}"))
    found: dict[tuple[str, str], Any] = {}
    for variable in optimizer.variables:
        own = variable.path.rpartition("/")[2]
        prefix = max((each for each in called if own.startswith(f"{each}_")), key=len, default="")
        # Keras counts the variables of a process that have no name: which one it is says nothing.
        first = (called[prefix], own[len(prefix) + 1 :]) if prefix else ("", re.sub(r"_\d+$", "", own))
        place, number = first, 1
        while place in found:
            number += 1
            place = (first[0], f"{first[1]}.{number}")
        found[place] = variable
    return found


def random_states() -> dict[str, Any]:
    """The global seed of Keras' random functions, where one is in use."""
    from keras.src.backend.common import global_state
    from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR

    generator = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    return {} if generator is None else {"global": tensors.asarray(generator.state).copy()}


def put_random_states(states: Mapping[str, Any]) -> None:
    """Set it again."""
    from keras.src.random.seed_generator import global_seed_generator

    if "global" in states:
        tensors.fill(global_seed_generator().state, np.asarray(states["global"]))
