"""From a network to a model of Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.formulas import FORMULAS
from modelarchive.exchange.keras.emitting import Emitter, Tensor
from modelarchive.exchange.keras.lowering import LOWERINGS
from modelarchive.exchange.keras.lowering_context import Context, Value, by_formula
from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.rows import Lowering
from modelarchive.exchange.walking import Walker, output_structure
from modelarchive.nn import Block, Layer, Parameter, nesting
from modelarchive.nn.evaluate import Abstract, constant_value
from modelarchive.nn.trials import Trial

#: What Keras raises when a layer or operation does not take what it is given.
_REFUSALS: Final = (ValueError, TypeError, NotImplementedError, RuntimeError, AttributeError, KeyError)


def model_of(block: Block, trial: Trial, keras: Any) -> tuple[Any, list[Note]]:
    """The functional model of a network.

    Args:
        block: The network; its parameters have values.
        trial: Its inputs, as its architecture declares them, with sizes for free axes.
        keras: The module.

    Returns:
        The ``keras.Model``, and what was changed or lost.

    Raises:
        ConversionError: Something is not supported; lists all of it.
    """
    exporter = Exporter(keras)
    model = exporter.run(block, trial)
    if exporter.report.problems:
        raise ConversionError(exporter.report.problems, hint="nothing was built")
    return model, exporter.report.notes


class Exporter(Walker[Value, Lowering]):
    """Lowers a network to the layers of one functional model.

    Args:
        keras: The module.
    """

    system = "Keras"

    def __init__(self, keras: Any) -> None:
        super().__init__({**{kind: by_formula(each) for kind, each in FORMULAS.items()}, **LOWERINGS})
        self.emitter = Emitter(keras, self.report)

    def run(self, block: Block, trial: Trial) -> Any:
        """The model; None where something is not supported, which is reported."""
        self.emitter.find_shared(block)
        given = [self._input(each, value) for each, value in zip(trial.inputs, trial.values, strict=True)]
        if not given:
            self.report.refuse("(inputs)", "a Keras model has at least one input, the network has none")
            return None
        self.emitter.origin = given[0].tensor
        results = self.walk(block, given)
        if self.report.problems:
            return None
        tensors = [self._output(at, each, given) for at, each in enumerate(results)]
        outputs = nesting.nested(output_structure(block, len(tensors)), tensors)
        heads = [each.tensor for each in given]
        model = self.emitter.keras.Model(inputs=heads if len(heads) > 1 else heads[0], outputs=outputs)
        self.emitter.note_unused(block)
        return model

    def _input(self, declaration: Mapping[str, Any], known: Any) -> Value:
        name = self.emitter.unique(declaration["name"].replace(".", "-"))
        shape = tuple([size if isinstance(size, int) else None for size in declaration["shape"]])
        return Value(self.emitter.keras.Input(batch_shape=shape, dtype=declaration["dtype"], name=name), known)

    def _output(self, at: int, value: Value, given: Sequence[Value]) -> Tensor:
        context = self._context(f"output_{at}", [value.known])
        tensor = context.plain(value)
        if any(tensor is each.tensor for each in given):
            tensor = context.layer("Identity", tensor, dtype=tensor.dtype)
        return tensor

    def _context(self, path: str, known: Sequence[Any]) -> Context:
        return Context(self, path, known, self.emitter)

    def parameter(self, parameter: Parameter, path: str) -> Value:
        """A parameter's values as a tensor."""
        shape = parameter.known_shape
        context = self._context(path, [Abstract((shape, shape), parameter.dtype)])
        return self._made(context, lambda: context.result(context.parameter(parameter)))[0]

    def constant(self, value: Any, path: str) -> Value:
        """A number or array as it is: Keras has no tensor without an input."""
        return Value(None, constant_value(value), value)

    def lower(
        self, row: Lowering, path: str, subject: Any, inputs: list[Value], known: Sequence[Any]
    ) -> Sequence[Value]:
        """What the row makes, in the dtypes of the results; a layer that is used again keeps its first name."""
        if isinstance(subject, Layer):
            path = self.emitter.paths.setdefault(id(subject), path)
        context = self._context(path, known)
        return self._made(context, lambda: row.lower(context, subject, inputs))

    def _made(self, context: Context, make: Callable[[], Any]) -> Sequence[Value]:
        try:
            results = make()
            several = results if isinstance(results, tuple) else (results,)
            return [_as_known(context, each) for each in several]
        except _REFUSALS as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise Refusal(f"Keras does not take it: {lines[0]}") from error


def _as_known(context: Context, value: Value) -> Value:
    """In the dtype that NumPy's rules give, where Keras' rules differ."""
    if value.tensor is None:
        return value
    if value.tensor.dtype == value.dtype and (value.dtype != "float64" or context.walker.in_formula):
        return value
    if value.dtype == "float64":
        context.walker.report.note("(float64)", "Keras' backends compute it in 32 bits in part")
        # Some of its layers say 64 bits of a result that has 32.
        return Value(context.op("cast", value.tensor, "float64"), value.known, last=value.last)
    return Value(context.cast(value.tensor, value.dtype), value.known, last=value.last)
