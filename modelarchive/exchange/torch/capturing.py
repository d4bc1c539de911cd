"""A module as a program of torch.export: run by PyTorch itself on tensors without values, call by call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import torch
import torch.export
import torch.fx
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree

from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.aliases import Aliases
from modelarchive.exchange.torch.arguments import IN_A_ROW, Arguments, Place, apart
from modelarchive.exchange.torch.assuming import Assumed
from modelarchive.exchange.torch.branching import CheckError, Checks, ManyWays, is_of_truth, is_of_values, share
from modelarchive.exchange.torch.choosing import choose_later, has_chosen
from modelarchive.exchange.torch.decomposing import functional
from modelarchive.exchange.torch.guards import Guards, guards_of
from modelarchive.exchange.torch.looping import Loops
from modelarchive.exchange.torch.ordinary import Numbers, ordinary_python
from modelarchive.exchange.torch.quiet import quiet
from modelarchive.exchange.torch.reasons import reason_of, reason_of_values, refuse_loops
from modelarchive.exchange.torch.rolling import roll
from modelarchive.exchange.torch.whole import Whole

#: Where the network stands in the module that is exported.
_NETWORK: Final = "network"

#: What gives as many elements as values say, beside choices by masks.
_CHOOSING: Final = frozenset(
    {"bincount", "masked_select", "nonzero", "nonzero_numpy", "_unique2", "unique_consecutive", "unique_dim"}
)

#: Looks at the inputs of a program.
Look: TypeAlias = Callable[[Sequence[torch.fx.Node]], None]


@dataclass(frozen=True)
class Call:
    """One call of a module, as ``nn_module_stack`` names it.

    Attributes:
        key: What tells calls of one module from each other.
        path: Where the module stands.
        kind: Its class, with the module of Python.
    """

    key: str
    path: str
    kind: str


@dataclass
class Program:
    """A graph of ATen calls, and what its inputs are.

    Attributes:
        graph: The calls in their order.
        inputs: What the user gives, in order.
        targets: Input of the graph -> dotted name of the parameter or persistent buffer that it is.
        constants: Input of the graph -> the tensor that it is, which is in no state_dict.
        outputs: The arrays that are returned.
        structure: What is returned, with numbers in the place of the arrays.
        changed: Names of buffers that a call changes.
        checks: Lines of code that raise errors for some values.
        decided: Names of buffers whose values decided what was called.
        ranges: Symbol of a size -> the least and the greatest one that is allowed.
        guards: What held of the sizes of its inputs.
        aliased: Names of parameters of which constants are other views.
        names: What its inputs are called; none: as the forward calls them.
    """

    graph: torch.fx.Graph
    inputs: list[torch.fx.Node]
    targets: dict[torch.fx.Node, str]
    constants: dict[torch.fx.Node, torch.Tensor]
    outputs: list[Any]
    structure: Any
    root: str = ""
    changed: list[str] = field(default_factory=list)
    checks: tuple[str, ...] = ()
    decided: tuple[str, ...] = ()
    ranges: dict[Any, tuple[int, int]] = field(default_factory=dict)
    guards: Guards = field(default_factory=Guards)
    aliased: tuple[str, ...] = ()
    names: Sequence[str] = ()

    @property
    def beside(self) -> list[str]:
        """What is returned and is no array, in words."""
        found = [each for each in _leaves(self.structure) if not isinstance(each, Place)]
        return [repr(each) if isinstance(each, int | float | None) else f"a {type(each).__name__}" for each in found]


def captured(
    network: torch.nn.Module,
    example: Sequence[torch.Tensor],
    free: Sequence[Sequence[int]],
    arguments: Arguments = IN_A_ROW,
    look: Look | None = None,
) -> Program:
    """Export a module.

    Args:
        network: The module, in evaluation.
        example: What it is run on; only shapes, dtypes and devices count.
        free: The axes of each input that may have any size.
        arguments: How it is called with them.
        look: Called with the inputs of the program before it is brought into the form that is read, which takes most
            of the time, to refuse it.

    Raises:
        OfValues: It does other things for other values.
        Refusal: PyTorch cannot export it, with its reason.
    """
    example = apart(example, [*network.parameters(), *network.buffers()])
    checks: Checks = {}
    numbers, loops = Numbers(), Loops()
    first: Exception | None = None  # what asked for values
    assumed: Assumed | None = None
    last: Exception | None = None  # what stood in the way before anything was assumed
    of_numbers: Program | None = None  # one that has sizes of values, which may be flags
    while True:
        by_values = first is not None
        whole = Whole(
            network, arguments, checks if by_values else None, assumed, loops, takes_flags=of_numbers is not None
        )
        try:
            capture = functools.partial(_captured, whole, example, free, numbers, loops, look)
            found = _with_loops(functools.partial(_with_sizes, capture, numbers), loops, is_declared=look is not None)
        except CheckError:
            continue
        except Exception as error:  # anything may be raised by somebody's forward, and by PyTorch
            if of_numbers is not None:
                return of_numbers
            if first is None and is_of_truth(error):
                first = error
                continue
            if first is not None and assumed is None and (isinstance(error, ManyWays) or is_of_truth(error)):
                assumed, last = Assumed(), error
                checks.clear()
                continue
            error = last or error
            if isinstance(error, Refusal) and first is None:
                raise
            if first is not None or is_of_values(error):
                # By values or without them, another size of the example changes nothing.
                raise reason_of_values(error, first) from error
            raise Refusal(reason_of(error)) from error
        if by_values or of_numbers is not None or not whole.returned.flags or not _has_sizes_of_values(found.graph):
            return found
        of_numbers = found


def _has_sizes_of_values(graph: torch.fx.Graph) -> bool:
    """Whether the sizes of some array are numbers that arrays hold, or how many elements truths choose."""
    return any(
        _chooses(each) or any(map(_is_of_values, pytree.tree_leaves(each.meta.get("val")))) for each in graph.nodes
    )


def _is_of_values(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and any(map(free_unbacked_symbols, value.shape))


def _chooses(node: torch.fx.Node) -> bool:
    """Whether values choose elements, as many as may be known by what is computed of them."""
    if node.target is not torch.ops.aten.index.Tensor:
        return getattr(getattr(node.target, "overloadpacket", None), "__name__", "") in _CHOOSING
    return any(each is not None and each.meta["val"].dtype in (torch.bool, torch.uint8) for each in node.args[1])


def _with_sizes(capture: Callable[[], Program], numbers: Numbers) -> Program:
    """What is captured, with sizes for numbers of them where code asked for these and does not find out."""
    found: Program | Refusal
    try:
        found = capture()
    except Refusal as error:
        found = error
    if numbers.asked and not numbers.are_sizes:
        numbers.are_sizes = True
        try:
            return capture()
        except Exception:  # whatever code raises that compares types
            numbers.are_sizes = False
    if isinstance(found, Refusal):
        raise found
    return found


def _with_loops(capture: Callable[[], Program], loops: Loops, *, is_declared: bool) -> Program:
    """What is captured, with one call for each loop over a size; as PyTorch has it where that cannot be.

    Args:
        capture: Captures it.
        loops: Those that were met.
        is_declared: Whether sizes are declared free, which a loop in its own steps would fix.
    """
    loops.is_on = True
    try:
        return capture()
    except Exception as error:  # whatever a forward raises that runs a few of its steps
        if not loops.found or isinstance(error, CheckError | ManyWays) or is_of_truth(error):
            raise
        if is_declared and isinstance(error, Refusal):
            raise
    finally:
        loops.is_on = False
    return capture()


def _captured(
    whole: Whole,
    example: Sequence[torch.Tensor],
    free: Sequence[Sequence[int]],
    numbers: Numbers,
    loops: Loops,
    look: Look | None,
) -> Program:
    by_values = whole.returned.checks is not None
    loops.begin()
    with quiet(), ordinary_python(whole.network, numbers, loops):
        axes = tuple(dict.fromkeys(each, torch.export.Dim.AUTO) for each in free)
        exported = torch.export.export(whole, tuple(example), dynamic_shapes=(axes,), strict=False)
        if look is not None:
            look(_inputs(exported))
        refuse_loops(exported.graph)
        chooses = has_chosen(exported.graph)
        exported = functional(exported, by_values=by_values or chooses or bool(loops.found))
        if loops.found:
            roll(exported.graph, loops.found, loops.passed)
        if by_values or chooses:
            share(exported.graph)
        if chooses:
            choose_later(exported.graph)
        found = _program(exported, whole.returned.structure, _NETWORK)
        checks = tuple(dict.fromkeys((whole.returned.checks or {}).values()))
        decided = tuple(whole.returned.decided)
        assumed = whole.returned.assumed
        guards = replace(found.guards, assumed=0 if assumed is None else assumed.number,
                         loops=tuple(dict.fromkeys(loops.lines.values())))  # fmt: skip
        return replace(found, checks=checks, decided=decided, names=whole.arguments.names, guards=guards)


def exported_module(
    module: torch.nn.Module, example: Sequence[torch.Tensor], free: Sequence[Sequence[int]]
) -> torch.export.ExportedProgram:
    """Export a module that takes and returns tensors in a row, as :func:`captured` does.

    Raises:
        Refusal: PyTorch cannot export it, with its reason.
    """
    axes = tuple(dict.fromkeys(each, torch.export.Dim.AUTO) for each in free)
    try:
        with quiet():
            return torch.export.export(module, tuple(apart(example)), dynamic_shapes=axes, strict=False)
    except Exception as error:  # whatever PyTorch raises
        raise Refusal(reason_of(error)) from error


def program_of(
    exported: torch.export.ExportedProgram,
    fill: Callable[[Sequence[Any]], Any] | None = None,
    names: Mapping[str, str] | None = None,
) -> Program:
    """A program that somebody exported.

    Args:
        exported: The program.
        fill: Puts what it returns into containers; None: those that it says.
        names: Name of a parameter or buffer -> another, by which it is known.

    Raises:
        Refusal: It cannot be brought into the form that is read.
    """
    try:
        with quiet():
            exported = functional(exported)
    except Refusal:
        raise
    except Exception as error:  # whatever PyTorch raises
        raise Refusal(reason_of(error)) from error
    spec = exported.call_spec.out_spec
    program = _copied(_program(exported, None, ""))
    program.targets = {node: (names or {}).get(target, target) for node, target in program.targets.items()}
    program.changed = [(names or {}).get(target, target) for target in program.changed]
    arrays = [each for each in program.outputs if _is_array(each)]
    numbers = iter(range(len(arrays)))
    leaves = [Place(next(numbers)) if _is_array(each) else _literal(each) for each in program.outputs]
    program.structure = pytree.tree_unflatten(leaves, spec) if fill is None else fill(leaves)
    program.outputs = arrays
    return program


def _copied(program: Program) -> Program:
    """The same on a graph of its own, which may be changed."""
    graph = torch.fx.Graph()
    new: dict[torch.fx.Node, torch.fx.Node] = {}
    graph.output(graph.graph_copy(program.graph, new))
    return replace(
        program,
        graph=graph,
        inputs=[new[each] for each in program.inputs],
        targets={new[node]: target for node, target in program.targets.items()},
        constants={new[node]: tensor for node, tensor in program.constants.items()},
        outputs=[new[each] if isinstance(each, torch.fx.Node) else each for each in program.outputs],
    )


def _is_array(output: Any) -> bool:
    return isinstance(output, torch.fx.Node) and isinstance(output.meta.get("val"), torch.Tensor)


def _literal(output: Any) -> Any:
    """What a program returns that is no array: a number, None."""
    return getattr(output, "value", output.meta.get("val") if isinstance(output, torch.fx.Node) else output)


def calls(node: torch.fx.Node, *, root: bool = False) -> list[Call]:
    """The calls of modules that a node stands in, the outermost first.

    Args:
        node: The node.
        root: Whether the exported module itself is one of them.
    """
    stack = node.meta.get("nn_module_stack") or {}
    found = []
    for key, (path, kind) in stack.items():
        if path == key or not (path or root):
            continue
        name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        found.append(Call(key, path, name))
    return found


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, tuple | list) else [value]


def _inputs(exported: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    nodes = {node.name: node for node in exported.graph.nodes}
    given = [each for each in exported.graph_signature.input_specs if each.kind is InputKind.USER_INPUT]
    return [nodes[each.arg.name] for each in given]


def _program(exported: torch.export.ExportedProgram, structure: Any, root: str) -> Program:
    prefix = f"{root}." if root else ""
    nodes = {node.name: node for node in exported.graph.nodes}
    inputs, targets, constants = [], {}, {}
    aliases = Aliases(exported.state_dict)
    for spec in exported.graph_signature.input_specs:
        node = nodes[spec.arg.name]
        target = (spec.target or "").removeprefix(prefix)
        if spec.kind is InputKind.USER_INPUT:
            if isinstance(node.meta.get("val"), torch.Tensor):
                inputs.append(node)
            elif node.users:
                raise Refusal(f"its input {node.name!r} is a number; export it with tensors only")
        elif spec.kind is InputKind.PARAMETER or (spec.kind is InputKind.BUFFER and spec.persistent):
            targets[node] = target
        elif spec.kind in (InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            constant = exported.constants[spec.target]
            name = aliases.name_of(constant)
            if name is None:
                constants[node] = constant
            else:
                targets[node] = name.removeprefix(prefix)
    outputs, changed = [], []
    # In their order: what a region gave has other names since.
    results = exported.graph.output_node().args[0]
    for spec, result in zip(exported.graph_signature.output_specs, results, strict=True):
        if spec.kind is OutputKind.USER_OUTPUT:
            outputs.append(result if isinstance(result, torch.fx.Node) else spec.arg)
        elif spec.kind is OutputKind.BUFFER_MUTATION and spec.target is not None:
            changed.append(spec.target.removeprefix(prefix))
    ranges = {
        symbol: (_bound(each.lower, 0), _bound(each.upper, 2**62))
        for symbol, each in exported.range_constraints.items()
    }
    return Program(
        exported.graph, inputs, targets, constants, outputs, structure, root, changed,
        ranges=ranges, guards=guards_of(exported, inputs),
        aliased=tuple(name.removeprefix(prefix) for name in aliases.partial),
    )  # fmt: skip


def _bound(value: Any, otherwise: int) -> int:
    """A bound of a size as a number; `otherwise` where there is none."""
    return int(value) if isinstance(value, int) or getattr(value, "is_Integer", False) else otherwise
