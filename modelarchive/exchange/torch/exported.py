"""Programs of torch.export as modules: layers are made again of their calls, the rest runs as it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import torch
import torch.export
import torch.fx
from torch.utils import _pytree as pytree

from modelarchive.errors import ConversionError
from modelarchive.exchange.torch.exported_layers import LAYERS, Layer, Parts
from modelarchive.exchange.torch.inputs import remember
from modelarchive.exchange.torch.proxy import CannotError, Proxy, Unknown, proxies, unknowns
from modelarchive.exchange.torch.shaping import has_free
from modelarchive.exchange.torch.tensors import NAMES


def is_exported(model: object) -> bool:
    """Whether it is an ``ExportedProgram``, or the module that one gives."""
    return isinstance(model, torch.export.ExportedProgram) or (
        is_aten(model) and hasattr(model, "_in_spec") and hasattr(model, "_out_spec")
    )


def is_aten(model: object) -> bool:
    """Whether it is a module made of a graph of ATen calls."""
    graph = model.graph if isinstance(model, torch.fx.GraphModule) else None
    return graph is not None and any(isinstance(node.target, torch._ops.OpOverload) for node in graph.nodes)


class Program(torch.nn.Module):
    """An exported program whose layers are modules again, under their names; it knows its inputs.

    Args:
        exported: An ``ExportedProgram``, or what its ``module()`` gives.

    Raises:
        ConversionError: An input of it is no tensor.
    """

    def __init__(self, exported: Any) -> None:
        super().__init__()
        is_program = isinstance(exported, torch.export.ExportedProgram)
        graph_module: Any = exported.module() if is_program else exported
        # Not as a part: the parts are the layers made again.
        object.__setattr__(self, "_program", graph_module)
        self._steps: dict[torch.fx.Node, tuple[str, Layer]] = {}
        remember(self, list(_declarations(graph_module.graph)))
        #: What it can be run on: the example that it was exported on, or one of the same sizes.
        self.example = tuple(_examples(graph_module.graph))
        if is_program and exported.example_inputs is not None:
            self.example = tuple(pytree.tree_leaves(exported.example_inputs))
        self._place_tensors()
        for node in graph_module.graph.nodes:
            self._make_layer(node)

    def train(self, mode: bool = True) -> Program:
        """Set the mode of the layers; the program itself was exported in the one that it has."""
        self.training = mode
        for each in self.children():
            each.train(mode)
        return self

    def forward(self, *inputs: Any) -> Any:
        """Run the program on tensors; on stand-ins for such its calls, layer by layer."""
        expected = sum(node.op == "placeholder" for node in self._program.graph.nodes)
        if len(inputs) != expected:
            raise TypeError(f"the program takes {expected} inputs, found {len(inputs)}")
        if all(isinstance(each, torch.Tensor) for each in inputs):
            args, kwargs = pytree.tree_unflatten(list(inputs), self._program._in_spec)
            return self._program(*args, **kwargs)
        results = self._run(self._program, iter(inputs))
        return pytree.tree_unflatten(list(results), self._program._out_spec)

    # ------------------------------------------------------------------ the graph, on stand-ins

    def _run(self, graph_module: Any, inputs: Iterator[Any]) -> Any:
        values: dict[torch.fx.Node, Any] = {}
        for node in graph_module.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(inputs)
            elif node.op == "get_attr":
                values[node] = self._attribute(graph_module, node.target)
            elif node.op == "call_function":
                values[node] = self._call(node, values)
            elif node.op == "output":
                return _valued(node.args[0], values)
            # What is left is _guards_fn, which compares sizes.
        raise AssertionError("a graph has an output")

    def _attribute(self, graph_module: Any, path: str) -> Any:
        """A tensor, as the part that it is of a layer; or the graph of a region."""
        if isinstance(found := _attribute(graph_module, path), torch.fx.GraphModule):
            return found
        where, _, name = path.rpartition(".")
        return getattr(self.get_submodule(where), name)

    def _call(self, node: torch.fx.Node, values: Mapping[torch.fx.Node, Any]) -> Any:
        target = node.target
        if node in self._steps:
            path, layer = self._steps[node]
            given = arguments(node)
            if _is_zeros(given.get("hx")):  # what a recurrent layer begins with where nothing is given
                del given["hx"]
            return layer.call(self.get_submodule(path), _valued(given, values))
        if isinstance(target, torch._ops.HigherOrderOperator):
            if target.__name__ != "wrap_with_set_grad_enabled":
                raise CannotError(f"a region of the program that runs by {target.__name__!r}")
            _, region, *given = _valued(node.args, values)
            return self._run(region, iter(given))
        if not isinstance(target, torch._ops.OpOverload):
            return target(*_valued(node.args, values), **_valued(node.kwargs, values))
        return _called(target, _valued(arguments(node), values))

    # ------------------------------------------------------------------ the layers

    def _place_tensors(self) -> None:
        program = self._program
        tensors = {**dict(program.named_parameters(remove_duplicate=False)),
                   **dict(program.named_buffers(remove_duplicate=False))}  # fmt: skip
        tensors |= {
            node.target: found
            for node in program.graph.nodes
            if node.op == "get_attr" and torch.is_tensor(found := _attribute(program, node.target))
        }
        kept = set(program.state_dict())
        for path, tensor in tensors.items():
            where, _, name = path.rpartition(".")
            owner: torch.nn.Module = self
            for part in where.split(".") if where else ():
                owner = owner._modules.setdefault(part, torch.nn.Module())
            if isinstance(tensor, torch.nn.Parameter):
                owner.register_parameter(name, tensor)
            else:
                owner.register_buffer(name, tensor, persistent=path in kept)

    def _make_layer(self, node: torch.fx.Node) -> None:
        """Make the layer of a call whose tensors are all that stand at one path; others stay calls."""
        layer = LAYERS.get(str(getattr(node.target, "name", lambda: "")()).partition("::")[2].partition(".")[0])
        if node.op != "call_function" or layer is None:
            return
        given = arguments(node)
        parts = {role: value for role, value in layer.parts(given).items() if value is not None}
        if not parts or not all(isinstance(each, torch.fx.Node) and each.op == "get_attr" for each in parts.values()):
            return
        places = {role: str(each.target).rpartition(".") for role, each in parts.items()}
        paths = {where for where, _, _ in places.values()}
        if len(paths) != 1 or "" in paths or any(name != role for role, (_, _, name) in places.items()):
            return
        path = paths.pop()
        old = self.get_submodule(path)
        tensors: Parts = {role: getattr(old, role) for role in parts}
        with torch.device("meta"):
            made = layer.make(given, tensors)
        own = {*old._parameters, *old._buffers} - {"num_batches_tracked"}
        if made is None or own != set(tensors) or old._modules:
            return
        if type(old) is torch.nn.Module:
            self._replace(path, old, made)
        elif repr(old) != repr(made):
            return  # it is called in two ways
        self._steps[node] = path, layer

    def _replace(self, path: str, old: torch.nn.Module, made: torch.nn.Module) -> None:
        where, _, name = path.rpartition(".")
        for own in (*old._parameters, *old._buffers):
            tensor = getattr(old, own)
            made._parameters.pop(own, None)
            made._buffers.pop(own, None)
            if isinstance(tensor, torch.nn.Parameter):
                made._parameters[own] = tensor
            else:
                made._buffers[own] = tensor
        made._buffers = {
            own: None if each is not None and each.is_meta else each for own, each in made._buffers.items()
        }
        if isinstance(made, torch.nn.RNNBase):
            made._flat_weights = [getattr(made, own) for own in made._flat_weights_names]
        self.get_submodule(where)._modules[name] = made


def _called(operator: Any, given: dict[str, Any]) -> Any:
    """Call an ATen operator as the function of Python that the table of calls knows."""
    name = operator._schema.name.partition("::")[2]
    if name.startswith("_assert"):
        return None
    given = {key: value for key, value in given.items() if key not in _IGNORED}
    if name in _CALLS:
        return _CALLS[name](**given)
    # What is required by place, the rest by name: in these names ATen and Python's functions agree.
    required = [each.name for each in operator._schema.arguments if not each.has_default_value()]
    args = tuple(given.pop(key) for key in required if key in given)
    function = _Named(_WORDS.get(name, name))
    if proxies(args, given):
        return Proxy.__torch_function__(function, (), args, given)
    if unknowns(args, given):
        return Unknown.__torch_function__(function, (), args, given)
    if not has_free(args, given):
        return operator(*args, **given)
    try:
        return getattr(torch, name)(*args, **given)
    except (AttributeError, TypeError):
        raise CannotError(f"the function {name!r} of a size that is not fixed") from None


def arguments(node: torch.fx.Node) -> dict[str, Any]:
    """The arguments of a call by the names of the operator's schema, without those that are its defaults."""
    found = {}
    for at, each in enumerate(node.target._schema.arguments):
        value = node.args[at] if at < len(node.args) else node.kwargs.get(each.name, each.default_value)
        if not each.has_default_value() or value is not each.default_value:
            found[each.name] = value
    return found


def _is_zeros(value: Any) -> bool:
    nodes = value if isinstance(value, list | tuple) else [value]
    return all(getattr(each, "target", None) is torch.ops.aten.zeros.default for each in nodes)


def _valued(value: Any, values: Mapping[torch.fx.Node, Any]) -> Any:
    return torch.fx.node.map_arg(value, lambda each: values[each])


def _attribute(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


def _declarations(graph: torch.fx.Graph) -> Iterator[dict[str, Any]]:
    """The inputs of a program: what it was exported to take of any size is free, the rest is fixed.

    Raises:
        ConversionError: An input is no tensor.
    """
    for node in graph.nodes:
        if node.op != "placeholder":
            continue
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            what = f"is {type(value).__name__} and no tensor, which is a part of the program"
            raise ConversionError([(node.name, what)], hint="export it with tensors only, or pass the original module")
        shape = [size if isinstance(size, int) else None for size in value.shape]
        yield {"name": node.name, "shape": shape, "dtype": NAMES[value.dtype]}


def _examples(graph: torch.fx.Graph) -> Iterator[torch.Tensor]:
    """Tensors of the sizes that a program was exported on."""
    generator = torch.Generator().manual_seed(0)
    for node in graph.nodes:
        if node.op == "placeholder":
            value = node.meta["val"]
            shape = [size if isinstance(size, int) else size.node.hint for size in value.shape]
            if value.dtype.is_floating_point or value.dtype.is_complex:
                yield torch.randn(shape, dtype=value.dtype, generator=generator)
            else:
                yield torch.ones(shape, dtype=value.dtype)


class _Named:
    """A function that is known by its name."""

    def __init__(self, name: str) -> None:
        self.__name__ = name


def _slice(self: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    end = None if isinstance(end, int) and end >= _END else end
    if not start and end is None and step == 1:
        return self
    return self[(*[slice(None)] * dim, slice(start, end, step))]


def _index(self: Any, indices: Sequence[Any]) -> Any:
    return self[tuple(slice(None) if each is None else each for each in indices)]


def _embedding(weight: Any, indices: Any, **rest: Any) -> Any:
    return torch.nn.functional.embedding(indices, weight)


def _batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float
) -> Any:
    if training or running_mean is None:
        raise CannotError("normalisation by the batch's own statistics: export the module in evaluation, module.eval()")
    return torch.nn.functional.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)


def _upsample(mode: str) -> Callable[..., Any]:
    def call(input: Any, output_size: Any = None, scale_factors: Any = None, align_corners: bool = False) -> Any:
        more = {} if mode == "nearest" else {"align_corners": align_corners}
        return torch.nn.functional.interpolate(input, output_size, scale_factors, mode=mode, **more)

    return call


#: How ATen writes "to the end".
_END: Final = 2**63 - 1
#: Arguments that change no values here.
_IGNORED: Final = frozenset(
    {"memory_format", "pin_memory", "layout", "device", "implicit", "cudnn_enable", "cudnn_enabled"}
)
#: ATen's names of functions that Python has under another one.
_WORDS: Final = {"_unsafe_view": "view", "_to_copy": "to"}
_CALLS: Final[dict[str, Callable[..., Any]]] = {
    "slice": _slice,
    "index": _index,
    "embedding": _embedding,
    "batch_norm": _batch_norm,
    **{f"upsample_nearest{rank}d": _upsample("nearest") for rank in (1, 2, 3)},
    "upsample_linear1d": _upsample("linear"),
    "upsample_bilinear2d": _upsample("bilinear"),
    "upsample_trilinear3d": _upsample("trilinear"),
    "mT": lambda self: self.mT,
    "numpy_T": lambda self: self.T,
    "sym_size": lambda self, dim: self.shape[dim],
    **dict.fromkeys(("lift_fresh_copy", "alias", "detach", "detach_", "clone", "contiguous"), lambda self: self),
}
