"""Programs that PyTorch makes of modules: TorchScript, exported and quantised ones, told by name with the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import torch

from modelarchive.errors import ConversionError
from modelarchive.exchange.torch.capturing import Program, calls
from modelarchive.exchange.torch.wrapping import walk

_ORIGINAL: Final = "pass the module that it was made of: save_model(path, module, inputs=x)"
_QUANTISED: Final = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
#: Modules among them that compute with floats, for a network that is still to be quantised.
_OF_FLOATS: Final = (".FloatFunctional", ".FXFloatFunctional")


def refuse_program(model: torch.nn.Module) -> None:
    """Refuse modules that are programs or hold one.

    Raises:
        ConversionError: There are such; lists all of them.
    """
    problems: list[tuple[str, str]] = []
    for path, module in walk(model):
        if any(path.startswith(f"{where}.") or where == "(model)" for where, _ in problems):
            continue  # a part of one that is told
        problems += [(path or "(model)", what) for what in _programs(module)]
    if problems:
        hints = [_FLOAT if what.endswith(_PACKED) else _ORIGINAL for _, what in problems]
        raise ConversionError(problems, hint=hints[0])


def _programs(module: torch.nn.Module) -> Iterator[str]:
    if isinstance(module, torch.jit.ScriptModule):
        made = "traced" if isinstance(module, torch.jit.TopLevelTracedModule) else "scripted"
        yield f"is a TorchScript program ({made} by torch.jit), not a module"
        return
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    if name.startswith(_QUANTISED) and not name.endswith(_OF_FLOATS):
        yield f"is {name}, {_PACKED}"


_PACKED: Final = "whose quantised weights are packed for one processor"
_FLOAT: Final = "save the network as it was before torch.ao.quantization.convert"


class Part(torch.nn.Module):
    """A module of an exported program, of which no more is left than its name, its class in words, its tensors."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind


def _part(kind: str) -> torch.nn.Module:
    return torch.nn.Sequential() if kind == "torch.nn.modules.container.Sequential" else Part(kind)


def skeleton(state: Mapping[str, torch.Tensor], program: Program) -> torch.nn.Module:
    """The modules that an exported program was made of: their names, and their parameters and buffers.

    Args:
        state: The parameters and buffers by name.
        program: The program.
    """
    kinds = {call.path: call.kind for node in program.graph.nodes for call in calls(node, root=True)}
    root = _part(kinds.get("", ""))

    def part(path: str) -> torch.nn.Module:
        if not path:
            return root
        where, _, name = path.rpartition(".")
        owner = part(where)
        if name not in owner._modules:
            kind = kinds.get(path, "")
            owner._modules[name] = _part(kind)
        return owner._modules[name]

    for path in kinds:
        part(path)
    for target, tensor in state.items():
        where, _, name = target.rpartition(".")
        if isinstance(tensor, torch.nn.Parameter):
            part(where)._parameters[name] = tensor
        else:
            part(where)._buffers[name] = tensor
    return root
