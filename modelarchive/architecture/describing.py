"""From a network to its architecture: forward is recorded, and blocks become JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelarchive.architecture import vocabulary
from modelarchive.architecture.checking import Checked, check
from modelarchive.architecture.declarations import is_shape
from modelarchive.architecture.declaring import declared_inputs, example_shapes, shape_given
from modelarchive.architecture.emitting import Emitter
from modelarchive.architecture.examples import Shapes, agreeing, with_states
from modelarchive.errors import SpecError
from modelarchive.nn.axes import groups_of
from modelarchive.nn.block import Block
from modelarchive.nn.evaluate import Value
from modelarchive.nn.scope import Recorded
from modelarchive.nn.state import taking_back
from modelarchive.nn.trace import record
from modelarchive.nn.trials import Groups, NoFit, Trial, advice, finest, fitting, last_resort


def describe(block: Block, inputs: Any = None) -> dict[str, Any]:
    """The architecture of a network, recorded from its ``forward``.

    Unknown parameter shapes are learned from the inputs, as at a first call. What is built from the
    description runs the same functions in the same order, so its outputs have the same bits; but where a
    ``forward`` reduces or multiplies float16 or bfloat16 with NumPy's own functions, those round at each
    step, and the vocabulary's ops (:mod:`modelarchive.ops`) once; and ``numpy.einsum`` without ``optimize``
    adds in another order than ``ops.einsum``, which uses matrix products.

    A constant array of more than 64 elements in a ``forward`` becomes a parameter of its block, named
    ``constant`` and not trainable; described again, it is the same one.

    Args:
        block: The network.
        inputs: An array, a tuple or list of arrays (only shape and dtype count; the first axis is the
            batch, of any size), or declarations ``{"name": "x", "shape": [None, 20], "dtype": "float32"}``;
            None for a network that was built from an architecture, which remembers its own, and for one that was
            called: the arrays of its last call are the example.

    Returns:
        JSON, valid against the schemas.

    Raises:
        SpecError: Something in ``forward`` cannot be recorded; with class, file and line.
        TypeError: It is no network of this package.
    """
    if not isinstance(block, Block):
        found = f"{type(block).__module__}.{type(block).__qualname__}"
        raise TypeError(f"describe() takes a Block, found {found}: save_model() takes networks of other systems")
    return described(block, inputs).architecture


def described(block: Block, inputs: Any = None, values: Sequence[Value] | None = None) -> Checked:
    """What :func:`describe` returns, checked.

    Args:
        block: The network.
        inputs: As :func:`describe` takes them.
        values: What is known of each input, with the sizes of free axes that it is to be recorded at; None: such that
            fit are found, and free axes that must be of one size get one name.
    """
    try:
        expected = block.collect_stored()
    except ValueError as error:
        raise SpecError([("/model", "unregistered", str(error))]) from error
    declarations = declared_inputs(block, inputs)
    try:
        if values is None:
            declarations, recorded = _recorded(block, declarations, example_shapes(block, inputs))
        else:
            recorded = record(block, values)
    except SpecError as error:
        if is_shape(inputs):  # which may be numbers that the network takes
            raise shape_given(inputs) from error
        raise
    architecture = {
        "vocabulary": vocabulary.VERSION,
        "inputs": declarations,
        "model": Emitter(block, recorded).model(),
    }
    found = check(architecture)
    lost = sorted(expected.keys() - found.shapes.keys())
    if lost:
        raise SpecError(
            [("/model", "unregistered", f"no kind of the vocabulary has a parameter {name!r} there") for name in lost],
            hint="only blocks with a forward of their own take more children and parameters than they are made with",
        )
    return found


def _recorded(
    block: Block, declarations: list[dict[str, Any]], shapes: Shapes | None
) -> tuple[list[dict[str, Any]], dict[int, Recorded]]:
    """The recording at sizes of free axes that fit, and the declarations.

    Args:
        block: The network.
        declarations: Its inputs.
        shapes: Those of the example, whose first axes are free, and have a name where they must be of one size; None:
            it was declared which are free, and what they are called.
    """
    search = _Search(block)
    if shapes is None:
        if search.fitting(declarations) is None:
            raise search.error(declarations)
        return declarations, search.recordings[-1]
    found = search.finest(declarations, agreeing(declarations, shapes))
    if found is None:
        others = (search.finest(each) for each in with_states(declarations, shapes))
        found = next((each for each in others if each is not None), None)
    if found is not None:
        return found.named(), search.recordings[-1]
    if search.fitting(declarations) is None:
        raise search.error(declarations)
    # Axes that are of several sizes in the example have no name in common.
    return declarations, search.recordings[-1]


class _Search:
    """Records a network at sizes that fit.

    Args:
        block: The network.

    Attributes:
        recordings: What was recorded, the last one only.
    """

    def __init__(self, block: Block) -> None:
        self.recordings: list[dict[int, Recorded]] = []
        self._block = block
        self._take_back = taking_back(block)
        self._errors: list[SpecError] = []
        self._by_size = False

    def attempt(self, trial: Trial) -> list[str]:
        """What does not fit."""
        self._take_back()
        try:
            self.recordings[:] = [record(self._block, trial.values)]
        except SpecError as error:
            if any(rule != "shape" for _, rule, _ in error.problems):
                raise
            self._errors.append(error)
            return [message for _, _, message in error.problems]
        return []

    def fitting(self, declarations: list[dict[str, Any]], several: Sequence[Groups] | None = None) -> Trial | None:
        """Sizes that fit; None: there are none."""
        try:
            return fitting(declarations, self.attempt, several)
        except NoFit as none:
            self._by_size = none.by_size
            return None

    def finest(self, declarations: list[dict[str, Any]], several: Sequence[Groups] | None = None) -> Trial | None:
        """The same, with axes that need not be of one size told apart."""
        found = self.fitting(declarations, several)
        if found is not None and len(found.groups) < len(groups_of(declarations)):
            found = finest(found, lambda trial: not self.attempt(trial))
            self.attempt(found)
        return found

    def error(self, declarations: list[dict[str, Any]]) -> SpecError:
        """What did not fit at the usual sizes."""
        self.attempt(last_resort(declarations))
        error = self._errors[-1]
        if self._by_size:
            error.hint = "; ".join(filter(None, [error.hint, advice(declarations)]))
        return error
