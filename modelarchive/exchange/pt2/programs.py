"""From a program's JSON to a graph of operators that are known here, which PyTorch exports anew; needs PyTorch."""

from __future__ import annotations

import keyword
import math
import operator
import re
from collections.abc import Mapping
from typing import Any, Final

import torch
import torch.fx

from modelarchive.errors import ConversionError, FormatError
from modelarchive.exchange.budget import spend
from modelarchive.exchange.bundle import Bundle
from modelarchive.exchange.pt2 import structures
from modelarchive.exchange.pt2.files import Package, Stored
from modelarchive.exchange.pt2.inputs import Inputs
from modelarchive.exchange.pt2.literals import LITERALS, number
from modelarchive.exchange.pt2.records import Record
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.exported import Flat, bundle_of_flat, mark_constants
from modelarchive.exchange.torch.operators import operator_named
from modelarchive.exchange.torch.stored.tensors import Tensor
from modelarchive.exchange.torch.tensors import tensor_of

#: Graphs inside of one another.
_DEEPEST: Final = 4
#: Modules inside of one another, and characters of where one stands.
_MOST_PARTS: Final = 100
_LONGEST_PATH: Final = 2_000
_HINT: Final = "the parameters come in without the program: load(), or convert with --parameters-only"


def bundle_of(package: Package) -> Bundle:
    """A program as a bundle.

    Raises:
        FormatError: It is damaged.
        ConversionError: It does what the vocabulary cannot say; lists all that was found.
    """
    flat = _Builder(package).built()
    try:
        with torch.no_grad():
            bundle = bundle_of_flat(flat)
    except Refusal as error:
        raise ConversionError([("(model)", str(error))], hint=_HINT) from error
    except ConversionError as error:
        error.hint = error.hint or _HINT
        raise
    bundle.notes[:0] = package.notes
    return bundle


class _Builder:
    """Makes a graph of a program.

    Args:
        package: What the file holds.
    """

    def __init__(self, package: Package) -> None:
        self._package = package
        self._root = torch.nn.Module()
        self._names: dict[str, str] = {}
        self._tensors: dict[Any, torch.Tensor] = {}
        self._problems: dict[tuple[str, str], None] = {}
        self._taken: set[str] = set()
        self._inputs: list[str] = []
        self._regions = 0

    def built(self) -> Flat:
        """The program as a module that takes and returns its arrays in one row."""
        graph = torch.fx.Graph()
        nodes: dict[str, Any] = {}
        for spec in self._package.signature.records("input_specs"):
            self._input(graph, nodes, spec)
        self._calls(graph, nodes, self._package.graph, depth=0)
        if self._problems:
            raise ConversionError(list(self._problems), hint=_HINT)
        kinds = [each.only() for each in self._package.signature.records("output_specs")]
        outputs = [
            self._value(graph, nodes, Record(value, "an output").record("arg"), depth=0)
            for kind, value in kinds
            if kind in ("user_output", "loss_output")
        ]
        graph.output(tuple(outputs))
        changed = [Record(value, kind).text("buffer_name") for kind, value in kinds if kind == "buffer_mutation"]
        module = torch.fx.GraphModule(self._root, graph)
        mark_constants(module, self._root._non_persistent_buffers_set)
        fill = structures.filler(self._package.program, len(outputs))
        inputs = Inputs(self._package, self._inputs)
        return Flat(module, fill, inputs.example(), inputs.free(), self._names, changed, is_foreign=True)

    # ------------------------------------------------------------------ inputs

    def _input(self, graph: torch.fx.Graph, nodes: dict[str, Any], spec: Record) -> None:
        kind, value = spec.only()
        about = Record(value, f"{spec.where}.{kind}")
        if kind == "user_input":
            self._user_input(graph, nodes, about.record("arg"))
        elif kind == "constant_input":
            pass  # its value stands where it is used
        elif kind in ("parameter", "buffer", "tensor_constant"):
            key = "tensor_constant_name" if kind == "tensor_constant" else f"{kind}_name"
            is_kept = kind == "parameter" or (kind == "buffer" and about.truth("persistent"))
            nodes[about.record("arg").text("name")] = self._tensor(graph, about.text(key), kind, is_kept=is_kept)
        else:
            self._tell("", f"an input of it is a {kind.replace('_', ' ')}, which only code makes")

    def _user_input(self, graph: torch.fx.Graph, nodes: dict[str, Any], arg: Record) -> None:
        word, value = arg.only()
        if word == "as_tensor":
            theirs = Record(value, arg.where).text("name")
            name = re.sub(r"\W", "_", theirs, flags=re.ASCII)[:100]
            if not name.isidentifier() or keyword.iskeyword(name) or name in self._taken:
                name = f"x_{len(self._taken)}"
            self._taken.add(name)
            self._inputs.append(theirs)
            nodes[theirs] = graph.placeholder(name)
        elif word not in ("as_none", "as_int", "as_float", "as_bool", "as_string"):
            self._tell("", "an input of it is no tensor; export it with tensors only")

    def _tensor(self, graph: torch.fx.Graph, name: str, kind: str, *, is_kept: bool) -> torch.fx.Node:
        """A parameter, buffer or constant, under a name of ours: theirs are never made into code."""
        stored = self._package.state.get(name) if is_kept else self._package.constants.get(name)
        # Before PyTorch 2.6 buffers that are not kept stood among those that are.
        stored = stored or self._package.state.get(name) or self._package.constants.get(name)
        if stored is None:
            raise FormatError(f"is damaged: its {kind} {name[:80]!r} is not in it")
        if stored.tensor.problem is not None:
            raise ConversionError([(name[:80], stored.tensor.problem)])
        own = f"t{len(self._names)}"
        self._names[own] = name
        self._register(own, self._of(stored, is_parameter=kind == "parameter"), is_kept=is_kept)
        return graph.get_attr(own)

    def _of(self, stored: Stored, *, is_parameter: bool) -> torch.Tensor:
        found = stored.tensor
        assert isinstance(found, Tensor)
        key = (is_parameter, found.place) if found.nbytes else (is_parameter, id(found))
        if key not in self._tensors:
            deferred = found.in_file(self._package.file)
            spend("a tensor", nbytes=0 if deferred.view is not None else deferred.nbytes)
            tensor = tensor_of(deferred.read() if deferred.view is None else deferred.view())
            if is_parameter:
                trains = stored.trains is not False and (tensor.is_floating_point() or tensor.is_complex())
                tensor = torch.nn.Parameter(tensor, requires_grad=trains)
            self._tensors[key] = tensor
        return self._tensors[key]

    def _register(self, name: str, tensor: torch.Tensor, *, is_kept: bool) -> None:
        if isinstance(tensor, torch.nn.Parameter):
            self._root.register_parameter(name, tensor)
        else:
            self._root.register_buffer(name, tensor, persistent=is_kept)

    # ------------------------------------------------------------------ calls

    def _calls(self, graph: torch.fx.Graph, nodes: dict[str, Any], about: Record, *, depth: int) -> None:
        for call in about.records("nodes"):
            spend("its calls", steps=1)
            stack, path = _stack(call)
            word = call.text("target")
            target = _target(word)
            if target is None:
                self._tell(path, f"the operator {word.removeprefix('torch.ops.')[:80]!r} is not supported")
                self._bind_unknown(nodes, call)
                continue
            if target is _NOTHING:
                continue
            given = [
                (each.text("name"), self._value(graph, nodes, each.record("arg"), depth=depth))
                for each in call.records("inputs")
            ]
            args, kwargs = _arranged(target, given)
            node = graph.call_function(target, args, kwargs)
            node.meta["nn_module_stack"] = stack
            self._bind(graph, nodes, call, node)

    def _bind(self, graph: torch.fx.Graph, nodes: dict[str, Any], call: Record, node: torch.fx.Node) -> None:
        """Let the names of a call's results mean them."""
        outputs = call.records("outputs")
        is_one = len(outputs) == 1 and outputs[0].only()[0] not in ("as_tensors", "as_sym_ints")
        if is_one and call.inside("is_hop_single_tensor_return") is not False:
            self._name(nodes, outputs[0], node)
            return
        lists = [each.only()[0] in ("as_tensors", "as_sym_ints") for each in outputs]
        # One list is what the operator returns; several stand in a tuple.
        if lists == [True] and not isinstance(node.target, torch._ops.HigherOrderOperator):
            outputs, lists = _inside(outputs[0]), []
        for at, output in enumerate(outputs):
            item = self._item(graph, node, at)
            if lists and lists[at] and len(lists) > 1:
                for number, each in enumerate(_inside(output)):
                    self._name(nodes, each, self._item(graph, item, number))
            elif lists and lists[at]:
                for number, each in enumerate(_inside(output)):
                    self._name(nodes, each, item if not number else self._item(graph, node, number))
            else:
                self._name(nodes, output, item)

    @staticmethod
    def _item(graph: torch.fx.Graph, node: torch.fx.Node, at: int) -> torch.fx.Node:
        item = graph.call_function(operator.getitem, (node, at))
        item.meta["nn_module_stack"] = node.meta["nn_module_stack"]
        return item

    @staticmethod
    def _name(nodes: dict[str, Any], output: Record, node: Any) -> None:
        word, value = output.only()
        about = Record(value, output.where) if isinstance(value, dict) else None
        if word == "as_tensor" and about is not None:
            nodes[about.text("name")] = node
        elif word in ("as_sym_int", "as_sym_bool", "as_sym_float") and about is not None and "as_name" in about:
            nodes[about.text("as_name")] = node

    def _bind_unknown(self, nodes: dict[str, Any], call: Record) -> None:
        """What an operator that is not known gives is not known either, and told once."""
        for output in call.records("outputs"):
            for each in _inside(output) if output.only()[0] == "as_tensors" else [output]:
                self._name(nodes, each, None)

    # ------------------------------------------------------------------ arguments

    def _value(self, graph: torch.fx.Graph, nodes: Mapping[str, Any], arg: Record, *, depth: int) -> Any:
        word, value = arg.only()
        if word == "as_graph":
            return self._region(graph, Record(value, arg.where), depth=depth)
        if word in ("as_optional_tensor", "as_sym_int", "as_sym_bool", "as_sym_float"):
            return _symbolic(nodes, Record(value, arg.where))
        if word == "as_tensor":
            return _node(nodes, Record(value, arg.where).text("name"), arg.where)
        if word in ("as_tensors", "as_optional_tensors", "as_sym_ints", "as_sym_bools", "as_sym_floats"):
            found = arg.records(word)
            if word == "as_tensors":
                return [_node(nodes, each.text("name"), each.where) for each in found]
            return [_symbolic(nodes, each) for each in found]
        if word in LITERALS:
            return LITERALS[word](value, arg.where)
        raise FormatError(f"is damaged, or newer than what is known: {arg.where} is said {word[:80]!r}")

    def _region(self, graph: torch.fx.Graph, about: Record, *, depth: int) -> torch.fx.Node:
        """A graph that a call runs: of what is computed without gradients, or in other dtypes."""
        if depth >= _DEEPEST:
            raise FormatError("is damaged: regions of its program stand in one another without end")
        inside = about.record("graph")
        own = torch.fx.Graph()
        nodes: dict[str, Any] = {}
        for at, each in enumerate(inside.records("inputs")):
            word, value = each.only()
            given = Record(value, each.where)
            key = "name" if word == "as_tensor" else "as_name"
            nodes[given.text(key)] = own.placeholder(f"given_{at}")
        self._calls(own, nodes, inside, depth=depth + 1)
        outputs = [self._value(own, nodes, each, depth=depth + 1) for each in inside.records("outputs")]
        own.output(outputs[0] if inside.inside("is_single_tensor_return") and len(outputs) == 1 else tuple(outputs))
        name = f"region{self._regions}"
        self._regions += 1
        setattr(self._root, name, torch.fx.GraphModule(torch.nn.Module(), own))
        return graph.get_attr(name)

    def _tell(self, path: str, what: str) -> None:
        self._problems.setdefault((path or "(model)", what))


def _inside(output: Record) -> list[Record]:
    """The results in a list, as if each were one of several."""
    word, _ = output.only()
    key = {"as_tensors": "as_tensor", "as_sym_ints": "as_sym_int"}[word]
    return [Record({key: each}, f"{output.where}[{at}]") for at, each in enumerate(output.several(word))]


def _node(nodes: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in nodes:
        raise FormatError(f"is damaged: {where} names {name[:80]!r}, which is not computed before")
    return nodes[name]


def _symbolic(nodes: Mapping[str, Any], about: Record) -> Any:
    """A size, or a tensor that may be none."""
    word, value = about.only()
    if word == "as_name":
        return _node(nodes, about.text("as_name"), about.where)
    if word == "as_tensor":
        return _node(nodes, about.record("as_tensor").text("name"), about.where)
    return None if word == "as_none" else number(value, about.where)


def _stack(call: Record) -> tuple[dict[str, tuple[str, str]], str]:
    """The modules that a call stands in, as PyTorch keeps them, and where the innermost one is."""
    metadata = call.inside("metadata")
    text = metadata.get("nn_module_stack") if isinstance(metadata, dict) else None
    found: dict[str, tuple[str, str]] = {}
    for item in text.split(";") if isinstance(text, str) else ():
        parts = item.split(",", 2)
        if len(parts) != 3 or len(parts[1]) > _LONGEST_PATH or parts[1].count(".") > _MOST_PARTS:
            raise FormatError(f"is damaged: {call.where} stands in a module {item[:80]!r}, which is none")
        # Twice called modules are told from each other by "@" in their keys; in old files by paths in brackets.
        found[parts[0]] = (parts[1], parts[2])
    return found, next(reversed([path for path, _ in found.values()]), "") if found else ""


def _arranged(target: Any, given: list[tuple[str, Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments by place, and by name where the operator takes them so only."""
    if not isinstance(target, torch._ops.OpOverload):
        return tuple(value for _, value in given), {}
    named, args = dict(given), []
    for each in target._schema.arguments:
        if each.kwarg_only or each.name not in named:
            break
        args.append(named.pop(each.name))
    known = {each.name for each in target._schema.arguments}
    if named.keys() - known:
        raise FormatError(f"is damaged: {target.name()} has no argument {next(iter(named.keys() - known))[:80]!r}")
    return tuple(args), named


#: What is to be so, which a program that is exported anew finds out by itself.
_NOTHING: Final = object()
_CHECKS: Final = ("_assert", "sym_constrain")
_SYMBOLIC: Final[dict[str, Any]] = {
    **{f"_operator.{name}": getattr(operator, name) for name in (
        "eq", "ne", "le", "ge", "lt", "gt", "neg", "pos", "mul", "add", "sub", "floordiv", "mod", "pow", "truediv",
        "and_", "or_",
    )},
    **{f"torch.{name}": getattr(torch, name) for name in (
        "sym_not", "sym_int", "sym_float", "sym_ite", "sym_max", "sym_min", "sym_sum",
    ) if hasattr(torch, name)},
    "math.trunc": math.trunc,
    "math.floor": math.floor,
    "math.ceil": math.ceil,
}  # fmt: skip
_REGIONS: Final = {
    f"torch.ops.higher_order.{name}": getattr(torch.ops.higher_order, name)
    for name in ("wrap_with_set_grad_enabled", "wrap_with_autocast")
    if hasattr(torch.ops.higher_order, name)
}
_ATEN: Final = re.compile(r"torch\.ops\.aten\.(\w{1,100})\.(\w{1,100})", re.ASCII)


def _target(text: str) -> Any:
    """What a call calls; None: nothing that is known."""
    if text in _SYMBOLIC or text in _REGIONS:
        return _SYMBOLIC.get(text) or _REGIONS[text]
    found = _ATEN.fullmatch(text)
    if found is None:
        return None
    return _NOTHING if found[1].startswith(_CHECKS) else operator_named(found[1], found[2])
