"""Wrappers that PyTorch puts around a network: told from it, looked through, and taken off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch

from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note
from modelarchive.names import joined

#: Class -> where it keeps the network, and what is told of it. By name: who has such an object has imported its class.
_WRAPPERS: Final[dict[str, tuple[str, str]]] = {
    "torch._dynamo.eval_frame.OptimizedModule": (
        "_orig_mod",
        "was compiled by torch.compile; the network inside is taken",
    ),
    "torch.nn.parallel.data_parallel.DataParallel": ("module", "the network inside of DataParallel is taken"),
    "torch.nn.parallel.distributed.DistributedDataParallel": (
        "module",
        "the network inside of DistributedDataParallel is taken",
    ),
    "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel": (
        "_fsdp_wrapped_module",
        "the network inside of FullyShardedDataParallel is taken",
    ),
    "torch.optim.swa_utils.AveragedModel": (
        "module",
        "the averaged network inside of AveragedModel is taken, without the count of what was averaged",
    ),
    "torch.distributed.algorithms._checkpoint.checkpoint_wrapper.CheckpointWrapper": (
        "_checkpoint_wrapped_module",
        "the network inside of CheckpointWrapper is taken",
    ),
}
_COMPILED: Final = "was compiled in place; the network itself is taken"


def unwrapped(module: torch.nn.Module) -> tuple[torch.nn.Module, list[Note]]:
    """The network inside of the wrappers around it; the module is not changed.

    Args:
        module: The network, wrapped any number of times: by ``torch.compile``, ``DataParallel``,
            ``DistributedDataParallel``, ``FullyShardedDataParallel``, ``AveragedModel``, ``CheckpointWrapper``.

    Returns:
        The module inside, whose own names have no prefix; and a note of each wrapper, those of its parts too, which
        stay where they are (see :func:`named_tensors`).
    """
    return _inside(module), [note for note in _notes(module, "") if note is not None]


def named_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and persistent buffers by their names in the network without its wrappers.

    Returns:
        Name -> the module's own tensor, in the order of ``state_dict``; a shared one under each of its names.

    Raises:
        ConversionError: Parameters are shards of FullyShardedDataParallel; names all of them.
    """
    refuse_shards(module)
    return {name: tensor for name, _, _, tensor in placed_tensors(module)}


def placed_tensors(
    module: torch.nn.Module, path: str = "", above: frozenset[int] = frozenset()
) -> Iterator[tuple[str, torch.nn.Module, str, torch.Tensor]]:
    """(name without wrappers, module that has it, its name there, tensor) of parameters and persistent buffers.

    Args:
        module: The network; in a program of TorchScript the module that has all of it is that itself.
        path: Where it stands.
        above: ``id`` of the modules that it stands in: a module inside of itself is not entered again.
    """
    module = _inside(module)
    if id(module) in above:
        return
    if isinstance(module, torch.jit.ScriptModule):
        for name, tensor in module.state_dict(keep_vars=True).items():
            yield joined(path, name), module, name, tensor
        return
    for own, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None and own not in module._non_persistent_buffers_set:
            yield joined(path, own), module, own, tensor
    for name, child in module._modules.items():
        if child is not None:
            yield from placed_tensors(child, joined(path, name), above | {id(module)})


def walk(module: torch.nn.Module, path: str = "") -> Iterator[tuple[str, torch.nn.Module]]:
    """(path, module) of each module inside of the wrappers, once, in the order of ``named_modules``."""
    for name, each, _ in _walk(module, path, set()):
        yield name, each


def take_off(module: torch.nn.Module) -> None:
    """Put parts in the place of the wrappers around them, and have nothing compiled: this changes the module.

    A forward that reaches into a wrapper (``self.part.module(x)``) finds the part there.
    """
    for _, each in list(walk(module)):
        if each.__dict__.get("_compiled_call_impl") is not None:
            each._compiled_call_impl = None
        for name, child in each._modules.items():
            if child is None or _wrapper(child) is None:
                continue
            inner = each._modules[name] = _inside(child)
            for outer in _around(child):
                if not hasattr(inner, outer):
                    object.__setattr__(inner, outer, inner)


def refuse_shards(module: torch.nn.Module) -> None:
    """Refuse parameters that FullyShardedDataParallel keeps in another shape than the network's.

    Raises:
        ConversionError: There are such; names all of them.
    """
    problems = []
    for path, _, outer in _walk(module, "", set()):
        for each in outer:
            flat = getattr(getattr(each, "_handle", None), "flat_param", None)
            for info, shape in () if flat is None else zip(flat._param_infos, flat._shapes, strict=True):
                tensor = info.module._parameters.get(info.param_name)
                if tensor is None or tensor.shape != shape:
                    name = joined(joined(path, _without_wrappers(info.module_name)), info.param_name)
                    problems.append((name, "is a shard of FullyShardedDataParallel, not a whole parameter"))
    if problems:
        gather = "with FullyShardedDataParallel.summon_full_params(model): save_model(path, model, ...)"
        raise ConversionError(problems, hint=f"gather them: {gather}")


def _wrapper(module: Any) -> tuple[str, str] | None:
    """Where a wrapper keeps its network, and what is told of it; None: it is no wrapper."""
    for each in type(module).__mro__:
        if found := _WRAPPERS.get(f"{each.__module__}.{each.__qualname__}"):
            return found
    return None


def _around(module: torch.nn.Module) -> Iterator[str]:
    """The attributes that lead from a wrapper to what is inside of it."""
    while (found := _wrapper(module)) is not None:
        yield found[0]
        module = getattr(module, found[0])


def _inside(module: torch.nn.Module) -> torch.nn.Module:
    for name in _around(module):
        module = getattr(module, name)
    return module


def _walk(
    module: torch.nn.Module, path: str, seen: set[int]
) -> Iterator[tuple[str, torch.nn.Module, list[torch.nn.Module]]]:
    """(path, module, wrappers around it) of each module inside of the wrappers, once."""
    outer = []
    while (found := _wrapper(module)) is not None:
        outer.append(module)
        module = getattr(module, found[0])
    if id(module) in seen:
        return
    seen.add(id(module))
    yield path, module, outer
    if isinstance(module, torch.jit.ScriptModule):
        return  # a program: its parts are no modules of Python's
    for name, child in module._modules.items():
        if child is not None:
            yield from _walk(child, joined(path, name), seen)


def _notes(module: torch.nn.Module, path: str) -> Iterator[Note]:
    for name, each, outer in _walk(module, path, set()):
        where = name or "(model)"
        yield from (Note(where, found[1]) for wrapper in outer if (found := _wrapper(wrapper)) is not None)
        if each.__dict__.get("_compiled_call_impl") is not None:
            yield Note(where, _COMPILED)


def _without_wrappers(path: str) -> str:
    # A network may well have a part of its own that is called `module`.
    places = {where for where, _ in _WRAPPERS.values()} - {"module"}
    return ".".join(part for part in path.split(".") if part not in places)
