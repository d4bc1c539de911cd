"""From blocks to a Keras model: a network is walked, and every kind and op says itself in layers of Keras."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.keras.lowering import LOWERINGS
from modelarchive.exchange.keras.lowering_context import Context, Tensor, Value, several, unique
from modelarchive.exchange.refusal import Refusal
from modelarchive.nn import Block, Graph, Layer, Node, Parameter, Sequential, nesting
from modelarchive.nn.evaluate import Abstract, Evaluator, constant_value, declared
from modelarchive.nn.graph import apply_op, constant, is_constant
from modelarchive.nn.parameter import dtype_name

#: What Keras raises when a layer or operation does not take what it is given.
_REFUSALS: Final = (ValueError, TypeError, NotImplementedError, RuntimeError, AttributeError, KeyError)


def model_of(block: Block, inputs: Sequence[Mapping[str, Any]], keras: Any) -> tuple[Any, list[Note]]:
    """The functional model of a network.

    Args:
        block: The network; its parameters have values.
        inputs: Declarations of its inputs, as an architecture has them.
        keras: The module.

    Returns:
        The ``keras.Model``, and what was changed or lost.

    Raises:
        ConversionError: Something has no counterpart; lists all of it.
    """
    builder = Builder(keras)
    model = builder.run(block, inputs)
    if builder.problems:
        raise ConversionError(builder.problems, hint="nothing was built")
    return model, builder.notes


def written() -> dict[str, tuple[str, ...]]:
    """Each kind and op that is written -> the layers and operations of Keras that it becomes."""
    return {ours: row.names for ours, row in LOWERINGS.items()}


def losses() -> dict[str, str]:
    """Layers and operations of Keras -> what is lost or changed in writing them, where something is."""
    found: dict[str, list[tuple[str, str]]] = {}
    for ours, row in LOWERINGS.items():
        if row.losses:
            found.setdefault(row.names[0], []).append((ours, row.losses))
    return {
        theirs: told[0][1] if len(told) == 1 else "; ".join(f"{ours}: {what}" for ours, what in told)
        for theirs, told in found.items()
    }


class Builder:
    """Makes the layers of one model.

    Args:
        keras: The module.
    """

    def __init__(self, keras: Any) -> None:
        self.keras = keras
        self.notes: list[Note] = []
        self.problems: list[tuple[str, str]] = []
        #: ``id`` of parameters that several blocks or nodes use.
        self.shared: set[int] = set()
        #: (id of a tensor, order of axes) -> the tensor in that order, and the tensor.
        self.permuted: dict[tuple[int, tuple[int, ...]], tuple[Tensor, Tensor]] = {}
        #: Block -> whether its channels were last when it was first called.
        self.first_called: dict[int, bool] = {}
        #: ``id`` of what a pooling over everything gives -> that tensor, Keras' layer, its input and config.
        self.pooled: dict[int, tuple[Tensor, str, Tensor, dict[str, Any]]] = {}
        self._names: dict[int, str] = {}
        self._layers: dict[str, Any] = {}
        self._filled: dict[int, Any] = {}
        self._tensors: dict[int, Tensor] = {}
        #: ``id`` of an embedding's weight -> the layer of Keras that has it.
        self.tables: dict[int, Any] = {}
        self._taken: set[str] = set()
        self._origin: Tensor = None
        self._evaluator = Evaluator()

    def run(self, block: Block, inputs: Sequence[Mapping[str, Any]]) -> Any:
        """The model; None where there are problems."""
        self._find_shared(block)
        given = [self._input(each) for each in inputs]
        if not given:
            self.problems.append(("(inputs)", "a Keras model has at least one input, the network has none"))
            return None
        self._origin = given[0].tensor
        results = self._block(block, "", list(given))
        if self.problems:
            return None
        tensors = [self._output(at, each, given) for at, each in enumerate(results) if each is not None]
        structure = block.structure if isinstance(block, Graph) else nesting.usual(len(tensors))
        outputs = nesting.nested(structure, tensors)
        heads = [each.tensor for each in given]
        model = self.keras.Model(inputs=heads if len(heads) > 1 else heads[0], outputs=outputs)
        self._tell_unused(block)
        return model

    def note(self, where: str, what: str) -> None:
        """Tell once what is changed or lost."""
        note = Note(where or "(model)", what)
        if note not in self.notes:
            self.notes.append(note)

    # ------------------------------------------------------------------ layers

    def free_name(self, path: str, role: str) -> str:
        """A name that no layer of the model has: the path with ``-``, for PyTorch's backend refuses dots."""
        wish = path.replace(".", "-")
        wish = f"{wish}-{role}" if wish and role else wish or role
        return unique(wish if wish[0].isalnum() else f"x{wish}", self._taken)

    def fresh(self, path: str, theirs: str, config: Mapping[str, Any]) -> Any:
        """A new layer without variables."""
        return getattr(self.keras.layers, theirs)(name=self.free_name(path, _snake(theirs)), **config)

    def layer(self, path: str, role: str, theirs: str, config: Mapping[str, Any]) -> Any:
        """A layer of Keras, the same one for the same block, role and config."""
        key = json.dumps([path, role, theirs, config], default=repr)
        if key not in self._layers:
            name = self.free_name(path, role or ("" if path else _snake(theirs)))
            self._layers[key] = getattr(self.keras.layers, theirs)(name=name, **config)
        return self._layers[key]

    def fill(self, layer: Any, path: str, weights: Sequence[tuple[np.ndarray, Sequence[Parameter]]]) -> None:
        """Give a layer's variables their values, and their training flags."""
        if id(layer) in self._filled:
            return
        self._filled[id(layer)] = layer
        variables = layer.weights
        if len(variables) != len(weights):
            raise Refusal(f"Keras' {type(layer).__name__} has {len(variables)} variables, expected {len(weights)}")
        frozen = []
        for variable, (array, parameters) in zip(variables, weights, strict=True):
            if tuple(variable.shape) != array.shape:
                raise Refusal(f"{variable.path} is {tuple(variable.shape)} in Keras, expected {array.shape}")
            own = str(parameters[0].dtype if parameters else array.dtype)
            if own != variable.dtype:
                self.note(path, f"its parameters are {own}, and {variable.dtype} in Keras")
            # Wide first: Keras' backends do not take every narrow NumPy dtype, and all values fit.
            variable.assign(array if array.dtype.kind == "f" else np.asarray(array, _wide(array.dtype)))
            for parameter in parameters:
                self._use(parameter, path)
            if parameters and parameters[0].born_trainable:
                frozen.append(not any(each.trainable for each in parameters))
            elif parameters and variable.trainable:
                frozen.append(True)
        if frozen and all(frozen):
            layer.trainable = False
        elif any(frozen):
            self._freeze_some(layer, path, weights)

    def _freeze_some(self, layer: Any, path: str, weights: Sequence[tuple[np.ndarray, Sequence[Parameter]]]) -> None:
        for variable, (_, parameters) in zip(layer.weights, weights, strict=True):
            if parameters and not any(each.trainable for each in parameters):
                variable.trainable = False
        self.note(path, "some of its parameters are frozen: the model keeps that, and Keras' files do not")

    def _use(self, parameter: Parameter, path: str) -> None:
        first = self._names.setdefault(id(parameter), path)
        if first != path and id(parameter) in self.shared:
            self.note(path, f"a parameter that it shares with {first!r} is a copy: Keras shares layers only")

    # ------------------------------------------------------------------ parameters of graphs

    def held(self, context: Context, array: np.ndarray) -> Tensor:
        """A constant as a tensor: Keras has none without an input."""
        zero = self.zero(context)
        if not array.ndim:
            return context.op("add", context.cast(zero, _numeric(array.dtype)), array.item())
        zeros = context.op("broadcast_to", context.cast(zero, _numeric(array.dtype)), array.shape)
        return context.op("add", zeros, array.astype(_numeric(array.dtype)))

    def zero(self, context: Context) -> Tensor:
        """A 0 without axes (int32) that depends on the first input, in its shape only."""
        if 0 not in self._tensors:
            self._tensors[0] = context.zeros_along(self._origin, None)
        return self._tensors[0]

    def count(self, context: Context, size: int) -> Tensor:
        """0, 1, 2, ... (int32) in a fixed number."""
        ones = context.op("broadcast_to", context.op("add", self.zero(context), 1), (size,))
        return context.op("subtract", context.op("cumsum", ones, axis=0), 1)

    def parameter(self, context: Context, parameter: Parameter) -> Tensor:
        """A parameter's values as a tensor: all rows of an Embedding, the one layer that only holds an array."""
        key = id(parameter)
        if key in self._tensors:
            return self._tensors[key]
        array = parameter.value()
        dtype = dtype_name(array.dtype)
        shape = array.shape
        if not array.size:
            raise Refusal("a parameter without elements has no counterpart")
        if array.dtype.kind != "f" and dtype != "bfloat16":
            context.note("a parameter of integers is a constant in the model's config")
            self._names.setdefault(key, context.path)
            self._tensors[key] = context.cast(self.held(context, array), dtype)
            return self._tensors[key]
        rows = shape[0] if len(shape) > 1 else 1
        table = self.tables.get(key)
        if table is None:
            flat = array.reshape(rows, -1)
            config = {"input_dim": rows, "output_dim": flat.shape[1], "dtype": dtype}
            table = self.fresh(context.path, "Embedding", config)
            made = table(self.count(context, rows))
            self.fill(table, context.path, [(flat, [parameter])])
            if len(shape) == 2:
                self.tables[key] = table
            else:
                made = context.op("reshape", made, shape)
        else:
            made = table(self.count(context, rows))
        self._tensors[key] = made
        return made

    def _find_shared(self, block: Block) -> None:
        users: dict[int, set[Any]] = {}
        for _, each in block.named_blocks():
            for parameter in each.parameters.values():
                users.setdefault(id(parameter), set()).add(id(each))
            for node in each.nodes if isinstance(each, Graph) else ():
                if node.verb == "parameter" and isinstance(each, Graph):
                    users.setdefault(id(each.find_parameter(node.target)), set()).add("node")
        self.shared = {key for key, owners in users.items() if len(owners) > 1}

    def _tell_unused(self, block: Block) -> None:
        used = set(self._names)
        for name, parameter in block.collect_params().items():
            if id(parameter) not in used:
                self.note(name, "is not used by the model's outputs, and is left out")

    # ------------------------------------------------------------------ the network

    def _input(self, declaration: Mapping[str, Any]) -> Value:
        name = unique(declaration["name"].replace(".", "-"), self._taken)
        known = declared(declaration["shape"], declaration["dtype"])
        shape = tuple(declaration["shape"])
        tensor = self.keras.Input(batch_shape=shape, dtype=declaration["dtype"], name=name)
        return Value(known, tensor)

    def _output(self, at: int, value: Value, given: Sequence[Value]) -> Tensor:
        context = Context(self, f"output_{at}", value.known)
        tensor = context.plain(value)
        if any(tensor is each.tensor for each in given):
            tensor = context.layer("Identity", tensor, dtype=tensor.dtype)
        return tensor

    def _block(self, block: Block, path: str, given: list[Value | None]) -> list[Value | None]:
        if isinstance(block, Layer):
            return self._layer(block, path, given)
        if isinstance(block, Sequential):
            for name, child in block.children.items():
                given = self._block(child, _joined(path, name), given)
            return given
        if isinstance(block, Graph):
            return self._graph(block, path, given)
        self.problems.append((path, f"{type(block).__name__} is no kind of the vocabulary"))
        return [None]

    def _graph(self, graph: Graph, path: str, given: list[Value | None]) -> list[Value | None]:
        values: dict[str, list[Value | None]] = {name: [each] for name, each in zip(graph.inputs, given, strict=False)}
        for node in graph.nodes:
            if node.inputs is not None:
                inputs = [_picked(values, ref) for ref in node.inputs]
                values[node.name] = self._node(graph, node, path, inputs)
        return [_picked(values, ref) for ref in graph.outputs]

    def _node(self, graph: Graph, node: Node, path: str, given: list[Value | None]) -> list[Value | None]:
        if node.verb in ("block", "call"):
            return self._block(graph.find(node.target), _joined(path, node.target), given)
        name = _joined(path, node.name)
        if node.verb == "parameter":
            parameter = graph.find_parameter(node.target)
            shape = parameter.known_shape
            known = Abstract((shape, shape), parameter.dtype)
            where = _joined(path, node.target)
            return self._said(where, known, lambda context: context.result(self.parameter(context, parameter)))
        if is_constant(node):
            value = constant(node.arguments)
            return [Value(constant_value(value), constant=value)]
        whole = [each for each in given if each is not None]
        if len(whole) < len(given):
            return [None]
        arguments = dict(node.arguments)
        if node.target != "shape_of" and all(each.tensor is None for each in whole):
            found = apply_op(node.target, [each.constant for each in whole], arguments)
            arrays = [np.asarray(each) for each in several(found)]
            return [Value(constant_value(each), constant=each) for each in arrays]
        try:
            known = self._evaluator.op(node.target, [each.known for each in whole], arguments)
        except (ValueError, LookupError) as error:
            return self._misfit(name, error)
        return self._tried(node.target, f"the op {node.target!r}", name, arguments, whole, known)

    def _layer(self, layer: Layer, path: str, given: list[Value | None]) -> list[Value | None]:
        whole = [each for each in given if each is not None]
        if len(whole) < len(given):
            return [None]  # of what could not be said nothing can be made
        path = self._names.setdefault(id(layer), path)
        try:
            known = self._evaluator.layer(layer, [each.known for each in whole])
        except (ValueError, LookupError) as error:
            return self._misfit(path, error)
        return self._tried(layer.kind, f"the kind {layer.kind!r}", path, layer, whole, known)

    def _misfit(self, path: str, error: Exception) -> list[Value | None]:
        """Inputs that were declared for a model that knows none need not fit it."""
        self.problems.append((path or "(model)", f"the declared inputs do not fit: {error}"))
        return [None]

    def _tried(
        self,
        word: str,
        what: str,
        path: str,
        subject: Any,
        given: list[Value],
        known: Any,
    ) -> list[Value | None]:
        if word not in LOWERINGS:
            self.problems.append((path or "(model)", f"{what} has no counterpart in Keras"))
            return [None]
        return self._said(path, known, lambda context: LOWERINGS[word].lower(context, subject, given))

    def _said(self, path: str, known: Any, lower: Any) -> list[Value | None]:
        context = Context(self, path, known)
        try:
            results: tuple[Value, ...] = several(lower(context))
            return [self._as_known(context, each) for each in results]
        except Refusal as refusal:
            self.problems.append((path or "(model)", str(refusal)))
        except _REFUSALS as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self.problems.append((path or "(model)", f"Keras does not take it: {lines[0]}"))
        return [None] * len(several(known))

    def _as_known(self, context: Context, value: Value) -> Value:
        """In the dtype that NumPy's rules give, where Keras' rules differ."""
        if value.tensor is None or (value.tensor.dtype == value.dtype and value.dtype != "float64"):
            return value
        if value.dtype == "float64":
            self.note("(float64)", "Keras' backends compute it in 32 bits in part")
            # Some of its layers say 64 bits of a result that has 32.
            return Value(value.known, context.op("cast", value.tensor, "float64"), last=value.last)
        return Value(value.known, context.cast(value.tensor, value.dtype), last=value.last)


def _picked(values: Mapping[str, list[Value | None]], ref: tuple[str, int | None]) -> Value | None:
    found = values[ref[0]]
    index = ref[1] or 0
    return found[index] if index < len(found) else None


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float32) if dtype.kind == "V" or dtype.name.startswith(("bfloat", "float8")) else dtype


def _numeric(dtype: np.dtype[Any]) -> str:
    """A dtype in which numbers can be added."""
    return "int32" if dtype.kind == "b" else dtype_name(dtype)
