"""The architecture of a run's network: described so that each checkpoint is a whole model."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from modelarchive import tensors
from modelarchive.archive.documents import architecture_texts
from modelarchive.archive.saving import kinds_of
from modelarchive.checkpoints import randomness
from modelarchive.checkpoints.networks import framework_of
from modelarchive.errors import ModelArchiveError
from modelarchive.nn import Block
from modelarchive.store.deferred import Deferred


class Description(NamedTuple):
    """What a checkpoint says of its network.

    Attributes:
        texts: HDF5 path -> encoded text.
        kinds: Path of a block -> its kind.
        names: The names of all of the architecture's parameters.
        constants: Those of them that are none of the network's: tables that its forward makes.
        assumed: Gives all else that it holds for, to be compared with what it gives later.
    """

    texts: dict[str, Any]
    kinds: dict[str, str]
    names: frozenset[str]
    constants: dict[str, np.ndarray | Deferred]
    assumed: Callable[[], Any]


class Architecture:
    """Describes a network at the first save, and again where what it is described by has changed since.

    Args:
        inputs: An example of its inputs, as :func:`modelarchive.save_model` takes it; None: only a network that needs
            none is described.
    """

    def __init__(self, inputs: Any = None) -> None:
        self._inputs = inputs
        self._is_known = False
        self._found: Description | None = None
        self._assumed: Any = None

    def of(self, model: Any, values: Mapping[str, Any], inputs: Any = None) -> Description | None:
        """Its description; None if there is none to give: one warning says why, where inputs were given.

        Args:
            model: The network.
            values: Name of each parameter -> array or tensor, as checkpoints have them.
            inputs: An example, in place of the one that is known.
        """
        inputs = self._inputs if inputs is None else inputs
        if self._found is not None and self._found.assumed() != self._assumed:
            self._is_known, self._found = False, None
        if self._is_known or not (inputs is not None or _needs_no_inputs(model)):
            return self._found
        self._is_known = True
        states = randomness.random_states()
        try:
            found = _described(model, values, inputs)
        except (ModelArchiveError, TypeError, ValueError) as error:
            found = str(error)
        finally:
            randomness.put_random_states(states)  # training goes on as if nobody had looked
        if isinstance(found, Description):
            self._found, self._assumed = found, found.assumed()
        elif inputs is not None:
            warnings.warn(f"checkpoints hold parameters without an architecture: {found}", stacklevel=7)
        return self._found


def _nothing() -> None:
    """What a description of parameters and layers alone holds for beside them."""


def _needs_no_inputs(model: Any) -> bool:
    return isinstance(model, Block) or hasattr(framework_of(model), "network_of")


def _described(model: Any, values: Mapping[str, Any], inputs: Any) -> Description | str:
    """A network's description, or why checkpoints cannot have it."""
    reads = None
    if isinstance(model, Block):
        from modelarchive.architecture import describing

        checked = describing.described(model, inputs)
        stored: Mapping[str, Any] = {name: each.value() for name, each in model.collect_stored().items()}
    else:
        from modelarchive.models.saving import bundle_of_model

        if any(hasattr(each, "full_tensor") for each in values.values()):
            return "its parameters are distributed; save_model() describes the network before it is divided"
        room = framework_of(model)
        reads = room.reads_of(model) if hasattr(room, "reads_of") else None
        with reads.watched() if reads is not None else contextlib.nullcontext():
            bundle = bundle_of_model(model, inputs)
        if bundle.architecture is None:
            return bundle.reason
        checked, stored = bundle.checked(), bundle.parameters
        if hasattr(room, "computed") and (computed := room.computed(model)):
            return f"{computed[0]} is computed of several variables, which training changes"
    constants = {name: stored[name] for name in checked.shapes if name not in values}
    if others := [name for name in checked.shapes if name in values and not _same(values[name], stored[name])]:
        return f"an archive of the model has {others[0]} in another way than the network in memory"
    return Description(
        architecture_texts(checked.architecture),
        kinds_of(checked.architecture),
        frozenset(checked.shapes),
        constants,
        _nothing if reads is None else partial(reads.values, bundle.notes),
    )


def _same(value: Any, stored: np.ndarray) -> bool:
    found = tensors.asarray(value)
    if found.dtype != stored.dtype or found.shape != stored.shape:
        return False
    one, other = (np.ascontiguousarray(each).reshape(-1).view(np.uint8) for each in (found, stored))
    return np.array_equal(one, other)
