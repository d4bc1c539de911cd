"""What objects of a run say of themselves: state that is saved, and state that they take again."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from modelarchive import tensors
from modelarchive.checkpoints.networks import framework_of
from modelarchive.errors import ModelArchiveError, ParameterError, first_line

#: Variable or tensor, by ``id`` -> the name of the parameter.
Names = Mapping[int, str]


def parameter_names(model: Any, parts: Mapping[str, Any]) -> dict[int, str]:
    """The names of the parameters of all networks of a run: the model's as they are, others' with their own before."""
    found: dict[int, str] = {}
    for part, value in {"": model, **parts}.items():
        room = framework_of(value)
        if room is not None and room.is_module(value):
            for key, name in room.names_of(value).items():
                found.setdefault(key, f"{part}:{name}" if part else name)
    return found


def taken(value: Any, names: Names) -> Any:
    """The state of an object, or of every one in a structure of such; plain values stay what they are."""
    room = framework_of(value)
    if room is not None and room.is_optimizer(value):
        return room.optimizer_state(value, names)
    if is_stateful(value):
        return value.state_dict()
    if isinstance(value, Mapping):
        return {key: taken(each, names) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(taken(each, names) for each in value)
    return value


def misfits(part: str, value: Any, names: Names, state: Any, *, inside: Any = None) -> Iterator[ParameterError]:
    """Why objects cannot take a state, as far as that can be told before anything is changed.

    Args:
        part: What the object is called.
        value: The object, or a structure of such and of plain values.
        names: What parameters are called.
        state: What was saved.
        inside: The structure that it stands in, if any.
    """
    room = framework_of(value)
    if room is not None and room.is_optimizer(value):
        with _taking(part, value):
            problem = room.misfit(value, names, state) if isinstance(state, Mapping) else _other(part, value, state)
        if problem is not None:
            problem.message = f"{part}: {problem.message}"
            yield problem
    elif room is not None and room.is_module(value) and hasattr(room, "misfit_of_module"):
        if (problem := room.misfit_of_module(value, state)) is not None:
            problem.message = f"{part}: {problem.message}"
            yield problem
    elif is_stateful(value):
        return
    elif isinstance(value, Mapping) and _holds_state(value):
        if not isinstance(state, Mapping):
            yield _other(part, value, state)
        elif value.keys() != state.keys():
            missing, unexpected = [*map(str, value.keys() - state.keys())], [*map(str, state.keys() - value.keys())]
            title = f"{part} has other entries than what was saved of it"
            yield ParameterError(title=title, missing=sorted(missing), unexpected=sorted(unexpected))
        else:
            for key, each in value.items():
                yield from misfits(f"{part}[{key!r}]", each, names, state[key], inside=value)
    elif isinstance(value, list | tuple) and _holds_state(value):
        if not isinstance(state, list | tuple) or len(value) != len(state):
            yield _other(part, value, state)
        else:
            for at, each in enumerate(value):
                yield from misfits(f"{part}[{at}]", each, names, state[at], inside=value)
    elif not _is_alike(value, state):
        yield _other(part, value, state)
    elif not isinstance(inside, dict | list) and not _is_fillable(value) and not _is_equal(value, state):
        name = part.partition("[")[0]
        yield ParameterError(
            f"{part} is {type(value).__name__}, which cannot be filled",
            hint=f"put it into a dict or a list, or leave {name} out of restore() and take run.restored[{name!r}]",
        )


def _is_fillable(value: Any) -> bool:
    return isinstance(value, dict | list | np.ndarray) or tensors.is_torch(value)


def _is_equal(value: Any, state: Any) -> bool:
    return type(value) is type(state) and isinstance(value, str | int | float | None) and value == state


def _is_alike(value: Any, state: Any) -> bool:
    """Whether a plain value may be filled with a state."""
    if isinstance(value, dict):
        return isinstance(state, Mapping)
    if isinstance(value, list):
        return isinstance(state, list | tuple)
    is_array = isinstance(value, np.ndarray) or tensors.is_torch(value)
    value = tensors.own_part(value)
    return not is_array or tuple(getattr(state, "shape", (-1,))) == tuple(value.shape)


def _other(part: str, value: Any, state: Any) -> ParameterError:
    def said(each: Any) -> str:
        return f"a {type(each).__name__}" + (f" of {len(each)}" if isinstance(each, Mapping | list | tuple) else "")

    return ParameterError(f"{part} is {said(value)}, the checkpoint has {said(state)}")


def _holds_state(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_state, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_holds_state, value))
    return is_stateful(value) or framework_of(value) is not None


class Memory:
    """What must not be filled: what others have their values in, and what has been filled already.

    Args:
        values: Arrays and tensors of others, in structures or not.
    """

    def __init__(self, *values: Any) -> None:
        several = map(tensors.own_part, leaves(values))
        self._known = {block[0] for each in several if (block := tensors.block_of(each)) is not None}

    def is_free(self, value: Any) -> bool:
        """Whether a dict, list, array or tensor may be filled; it is not free any more then."""
        if isinstance(value, dict | list):
            key: Any = id(value)
        else:
            value = tensors.own_part(value)
            block = tensors.block_of(value)
            if block is None or block[1] != value.nbytes or not tensors.is_fillable(value):
                return False
            key = block[0]
        is_new = key not in self._known
        self._known.add(key)
        return is_new


def leaves(value: Any) -> Iterator[Any]:
    """Everything in a structure that is no dict, list or tuple."""
    if isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(each)
    else:
        yield value


def put(part: str, value: Any, names: Names, state: Any, memory: Memory) -> None:
    """Have an object, or every one in a structure, take its state again; structures of plain values are filled.

    Args:
        part: What the object is called.
        value: The object.
        names: What parameters are called.
        state: What was saved.
        memory: What must not be filled: in its place stands what was saved then.

    Raises:
        ParameterError: The object does not take it.
    """
    if isinstance(value, np.ndarray):
        if value.ctypes.data != np.asarray(state).ctypes.data:
            value[...] = state
    elif tensors.is_torch(value):
        _fill(value, state)
    else:
        _filled(part, value, names, state, memory)


def _filled(part: str, value: Any, names: Names, state: Any, memory: Memory) -> Any:
    """What stands in a structure then: a value that was filled, or what was saved."""
    room = framework_of(value)
    if room is not None and room.is_optimizer(value):
        with _taking(part, value):
            room.put_optimizer_state(value, names, state)
    elif is_stateful(value):
        with _taking(part, value):
            value.load_state_dict(alike(value.state_dict(), state))
    elif isinstance(value, Mapping) and isinstance(state, Mapping):
        is_free = isinstance(value, dict) and memory.is_free(value)
        if not is_free and not _holds_state(value):
            return state
        found = {
            key: _filled(f"{part}[{key!r}]", value[key], names, each, memory) if key in value else each
            for key, each in state.items()
        }
        if isinstance(value, dict):
            value.clear()
            value.update(found)
    elif isinstance(value, list | tuple) and isinstance(state, list | tuple):
        is_free = not isinstance(value, list) or memory.is_free(value)
        if not is_free and not _holds_state(value):
            return state
        several = [
            _filled(f"{part}[{at}]", value[at], names, each, memory) if at < len(value) else each
            for at, each in enumerate(state)
        ]
        if isinstance(value, list):
            value[:] = several
        elif any(one is not other for one, other in zip(several, value, strict=False)) or len(several) != len(value):
            return _made(getattr(type(value), "_make", type(value)), tuple(several))
    elif _is_same_kind(value, state) and memory.is_free(value):
        _fill(value, state)
    else:
        return state
    return value


def _fill(value: Any, state: Any) -> None:
    tensors.fill(tensors.own_part(value), tensors.asarray(tensors.own_part(state)))


def _is_same_kind(value: Any, state: Any) -> bool:
    """Whether both are arrays of NumPy's, or tensors of PyTorch's, of one shape and dtype."""
    both = isinstance(value, np.ndarray) and isinstance(state, np.ndarray)
    both = both or (tensors.is_torch(value) and tensors.is_torch(state))
    return both and value.dtype == state.dtype and tuple(value.shape) == tuple(state.shape)


@contextlib.contextmanager
def _taking(part: str, value: Any) -> Iterator[None]:
    """Whatever an object raises over a state that it does not take, as one error that names it."""
    try:
        yield
    except ModelArchiveError:
        raise
    except Exception as error:  # each class raises its own
        what = f"{part}: {type(value).__name__} does not take what was saved of it"
        raise ParameterError(f"{what}: {first_line(error)}") from error


def is_stateful(value: Any) -> bool:
    """Whether an object says its state and takes it again."""
    is_own = not isinstance(value, type)
    return is_own and all(callable(getattr(value, name, None)) for name in ("state_dict", "load_state_dict"))


def alike(present: Any, loaded: Any) -> Any:
    """What was loaded, in the classes of what is there: a Counter for a Counter, a number for a number of NumPy's."""
    if isinstance(present, Mapping) and isinstance(loaded, dict):
        found = {key: alike(present[key], value) if key in present else value for key, value in loaded.items()}
        if isinstance(present, defaultdict):
            return defaultdict(present.default_factory, found)
        return found if type(present) is dict else _made(type(present), found)
    if isinstance(present, tuple) and isinstance(loaded, tuple) and len(present) == len(loaded):
        several = tuple(map(alike, present, loaded))
        return several if type(present) is tuple else _made(getattr(type(present), "_make", type(present)), several)
    if isinstance(present, list) and isinstance(loaded, list) and len(present) == len(loaded):
        return [*map(alike, present, loaded)]
    if isinstance(present, np.generic) and isinstance(loaded, np.ndarray) and not loaded.shape:
        return loaded[()]
    return loaded


def _made(kind: Callable[[Any], Any], value: Any) -> Any:
    try:
        return kind(value)
    except Exception:  # a class whose constructor takes something else
        return value
