"""Forwards that branch on values, while a module is exported: each way is gone, and the truths choose among results."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
import torch.fx
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.overrides import TorchFunctionMode

from modelarchive.exchange.refusal import Refusal
from modelarchive.exchange.torch.assuming import Assumed, numbers_answered
from modelarchive.exchange.torch.fake_quantising import DECIDING as OBSERVING
from modelarchive.exchange.torch.flags import Flags
from modelarchive.exchange.torch.keeping import python_state
from modelarchive.exchange.torch.lines_of_code import PYTORCH

#: Ways through a forward that are gone at most: each is a whole network.
_MOST_WAYS: Final = 8
#: What PyTorch says that it would need of a truth, of whether a number of rows is none, or of what goes through them.
_OF_TRUTH: Final = re.compile(r"(Eq|Ne)\((\d+\*)?u\d+, [01]\)|(\d+\*)?u\d+ [<>]=? [01]|u\d+")
#: Truths that are asked for on one way: with more it is a loop that has no end where every answer is yes.
_MOST_TRUTHS: Final = 64


class CheckError(Exception):
    """A way ended in an error of somebody's own: PyTorch cannot go on from there, and begins again without that way."""


#: Answers after which a forward raises an error of its own -> the line that does so.
Checks: TypeAlias = dict[tuple[bool, ...], str]


class ManyWays(Refusal):
    """Values send a forward more ways than are gone."""


@dataclass
class Ways:
    """All ways through a forward, each of which begins with the module as it was.

    Attributes:
        network: The module.
        inputs: What it is given.
        run: The forward, which returns a row of arrays and what they stand in.
        checks: The ways that are known to end in an error; those that are found are added.
        constants: Buffers that are not in the module's state, with values.
        flags: Those that are and that it may decide by.
        decided: Names of flags that something was decided by; those that are found are added.
        assumed: What is taken for true; None: nothing is.
    """

    network: torch.nn.Module
    inputs: Sequence[torch.Tensor]
    run: Callable[[], tuple[tuple[torch.Tensor, ...], Any]]
    checks: Checks
    constants: Mapping[str, torch.Tensor]
    flags: Mapping[str, torch.Tensor]
    decided: dict[str, None]
    assumed: Assumed | None = None
    _gone: int = 0

    def results(self) -> tuple[tuple[torch.Tensor, ...], Any]:
        """What the forward gives by whichever way its values send it.

        Raises:
            CheckError: A way ended in an error, which is known from now on.
            Refusal: There are too many ways, they change tensors, or they do not give arrays of the same shapes.
        """
        found: tuple[tuple[torch.Tensor, ...], Any] = self._behind(())
        return found

    def _behind(self, choices: tuple[bool, ...]) -> Any:
        """The results behind some choices."""
        truths = _Truths(choices, self.checks, self._known(), self.assumed)
        found = self._gone_once(truths)
        for at in reversed(range(len(choices), len(truths.met))):
            other = (*truths.answers[:at], False)
            if truths.answers[at] and other not in self.checks:
                found = _chosen(truths.met[at], found, self._behind(other))
        return found

    def _known(self) -> Flags:
        is_lax = self.assumed is not None
        return Flags(self.network, self.constants, self.flags, self.decided, is_lax=is_lax)

    def _gone_once(self, truths: _Truths) -> Any:
        self._gone += 1
        if self._gone > _MOST_WAYS:
            raise ManyWays(f"what it does depends on the values of arrays, in more than {_MOST_WAYS} ways")
        tensors = [*self.inputs, *self.network.parameters(), *self.network.buffers()]
        versions = [each._version for each in tensors]
        restores = python_state(self.network)
        try:
            with truths, numbers_answered(self.assumed):
                return self.run()
        except Refusal:
            raise  # ours, and no check of the forward's own
        except Exception as error:  # somebody's forward may raise anything
            if not truths.met or not _is_check(error) or len(self.checks) == 2 * _MOST_WAYS:
                raise
            self._know(tuple(truths.answers), error)
            raise CheckError from error
        finally:
            for restore in restores:
                restore()
            if truths.met and versions != [each._version for each in tensors]:
                raise Refusal("what it does depends on the values of an array, and changes its inputs or buffers")

    def _know(self, answers: tuple[bool, ...], error: Exception) -> None:
        """A way ends in an error, and so does one of which both ways behind it do."""
        self.checks[answers] = _line(error)
        while {(*answers[:-1], True), (*answers[:-1], False)} <= self.checks.keys():
            answers = answers[:-1]
            if not answers:
                raise error
            self.checks[answers] = _line(error)


def _chosen(truth: torch.Tensor, one: Any, other: Any) -> Any:
    (arrays, structure), (others, other_structure) = one, other
    if structure != other_structure or any(map(_differ, arrays, others)):
        what = "gives arrays of other shapes, dtypes or numbers by another way"
        raise Refusal(f"what it does depends on the values of an array, and {what}")
    return tuple(torch.where(truth, *both) for both in zip(arrays, others, strict=True)), structure


def _differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(one.shape != other.shape or one.dtype != other.dtype)


class _Truths(TorchFunctionMode):
    """Answers whether arrays are true that have no values: as it is told, and then yes if that is no way into an error.

    Args:
        choices: The first answers.
        checks: The ways that end in an error.
        flags: What is known of the values of flags.
        assumed: What is taken for true; None: nothing is.

    Attributes:
        met: The arrays that were asked for.
        answers: What was answered.
    """

    def __init__(self, choices: Sequence[bool], checks: Checks, flags: Flags, assumed: Assumed | None = None) -> None:
        super().__init__()
        self._assumed = assumed
        self._flags = flags
        self.met: list[torch.Tensor] = []
        self.answers: list[bool] = []
        self._choices, self._checks = choices, checks

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run a function of PyTorch, or answer."""
        if func in OBSERVING:
            with self:
                return OBSERVING[func](*args, **(kwargs or {}))
        is_known, value = self._flags.answer(func, args, kwargs or {})
        if is_known:
            return value
        if self._assumed is not None and func is torch.Tensor.tolist:
            numbers = self._assumed.listed(args[0])
            if numbers is not None:
                return numbers
        truth = _ASKED.get(func)
        tensors = [each for each in args if isinstance(each, torch.Tensor)]
        if truth is None or (func is torch.Tensor.item and args[0].dtype != torch.bool) or all(map(_is_known, tensors)):
            found = self._flags.followed(func, args, kwargs or {})
            return found if self._assumed is None else self._assumed.follow(func, args, found)
        if self._assumed is not None and self._assumed.answers(args[0]):
            return True
        number = len(self.met)
        if number == _MOST_TRUTHS:
            raise ManyWays("what it does depends on the values of an array, in a loop that goes on while they say so")
        self.met.append(truth(*args, **(kwargs or {})).reshape(()))
        is_open = (*self.answers, True) not in self._checks
        self.answers.append(self._choices[number] if number < len(self._choices) else is_open)
        return self.answers[number]


def _is_known(tensor: torch.Tensor) -> bool:
    """Whether a tensor has values: it is a constant of the code."""
    if isinstance(tensor, FunctionalTensor):
        tensor = torch._from_functional_tensor(tensor.elem)
    return not isinstance(tensor, FakeTensor) or tensor.constant is not None


def is_of_values(error: BaseException) -> bool:
    """Whether PyTorch says that it would need values."""
    names = ("GuardOnDataDependentSymNode", "DataDependentOutputException")
    return type(error).__name__ in names or "data-dependent" in str(error)


def is_of_truth(error: BaseException) -> bool:
    """Whether the value that PyTorch would need may be a truth, so that both ways can be gone, and no size."""
    if not is_of_values(error):
        return False
    asked = re.search(r"data-dependent expression ([^\n(]*(?:\([^\n]*?\))?)", str(error))
    return asked is None or _OF_TRUTH.fullmatch(asked[1].partition(" (unhinted")[0].strip()) is not None


def _is_check(error: Exception) -> bool:
    """Whether somebody's own code raises it, and no function that stumbles over what has no values."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return not last.filename.startswith(PYTORCH) and (last.line or "").startswith(("raise ", "assert "))


def _line(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}, line {last.lineno}"


def _equal(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one == other).all() if one.shape == other.shape else torch.zeros((), dtype=torch.bool)


def _close(*given: Any, **more: Any) -> torch.Tensor:
    return torch.isclose(*given, **more).all()


#: What asks for a truth -> the truth as an array.
_ASKED: Final[dict[Any, Callable[..., torch.Tensor]]] = {
    torch.Tensor.__bool__: torch.Tensor.bool,
    torch.Tensor.item: torch.Tensor.bool,
    torch.is_nonzero: torch.Tensor.bool,
    torch.Tensor.is_nonzero: torch.Tensor.bool,
    torch.equal: _equal,
    torch.Tensor.equal: _equal,
    torch.allclose: _close,
    torch.Tensor.allclose: _close,
}


def share(graph: torch.fx.Graph) -> None:
    """Let what the ways of a forward have in common be computed once.

    Args:
        graph: Calls of which none writes into what another one gave.
    """
    (output,) = graph.find_nodes(op="output")
    kept = set(output.all_input_nodes)
    first: dict[Any, torch.fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            continue
        key = (node.target, repr(node.args), repr(node.kwargs))  # nodes are told by their names
        if first.setdefault(key, node) is not node and node not in kept:
            node.replace_all_uses_with(first[key])
