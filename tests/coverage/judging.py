"""One network, read and judged: whole, whole with fixed sizes only, refused, or wrong."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from modelarchive.errors import ModelArchiveError
from modelarchive.exchange.torch import build_module, read_module
from modelarchive.exchange.torch.tensors import array_of, tensor_of

#: In the order of the table.
VERDICTS = ("whole", "fixed", "refused", "wrong", "failed")


@dataclass(frozen=True)
class Network:
    """A network to be read.

    Attributes:
        set: The set that it belongs to.
        name: Its name there.
        make: What makes the module and an example of its inputs.
    """

    set: str
    name: str
    make: Callable[[], tuple[torch.nn.Module, tuple[torch.Tensor, ...]]]


@dataclass
class Verdict:
    """What came of a network.

    Attributes:
        set: The set that it belongs to.
        name: Its name there.
        verdict: One of :data:`VERDICTS`; failed: the network itself does not run, so nothing can be said.
        why: Why it was refused, or what is wrong.
        strict: Whether states load strictly both ways.
        seconds: How long reading took.
        export: How long ``torch.export`` alone took; less than none where it failed.
    """

    set: str
    name: str
    verdict: str
    why: str = ""
    strict: bool = True
    seconds: float = 0.0
    export: float = 0.0

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class _TooLongError(BaseException):  # what is caught on the way would be another verdict
    pass


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _TooLongError(f"takes more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # of the processor, which others may use as well
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def judged(network: Network, *, limit: int = 180, judge: Callable[..., Verdict] | None = None) -> Verdict:
    """Make a network, read it, and compare what was read with it.

    Args:
        network: The network.
        limit: Seconds of the processor that it may take.
        judge: (network, its module, an example, the module's outputs) -> what came of it; None: it is read as a module.
    """
    judge = judge or judged_as_module
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _within(limit), torch.no_grad():
                module, inputs = network.make()
                module = randomised(module).eval()
                wanted = tensors(copy.deepcopy(module)(*inputs))
        except (Exception, _TooLongError) as error:  # somebody's network, whatever it raises
            return Verdict(network.set, network.name, "failed", words(error))
        try:
            with _within(limit):
                return judge(network, module, inputs, wanted)
        except _TooLongError as error:
            return Verdict(network.set, network.name, "refused", str(error))
        except Exception as error:  # what is no error of ours is a fault of ours
            return Verdict(network.set, network.name, "wrong", f"{type(error).__name__}: {words(error)}")


def judged_as_module(
    network: Network, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], wanted: list[torch.Tensor]
) -> Verdict:
    """Read a module, and compare what was read with it."""
    before = {name: each.clone() for name, each in module.state_dict().items()}
    fixed = tuple({"shape": list(each.shape), "dtype": str(each.dtype).removeprefix("torch.")} for each in inputs)
    reason = ""
    start = time.perf_counter()
    for declared in (inputs, fixed):
        try:
            bundle = read_module(module, declared)
        except ModelArchiveError as error:
            reason = reason or words(error)
            continue
        seconds = time.perf_counter() - start
        # Free axes are null, or have a name.
        is_free = any(not isinstance(axis, int) for each in bundle.architecture["inputs"] for axis in each["shape"])
        found = Verdict(network.set, network.name, "whole" if is_free else "fixed", reason, seconds=seconds)
        found.why = _wrong(module, bundle, inputs, wanted, before) or reason
        if found.why and found.why != reason:
            found.verdict = "wrong"
        found.strict = found.verdict == "wrong" or is_strict(module, bundle)
        return found
    return Verdict(network.set, network.name, "refused", reason)


def _wrong(module: Any, bundle: Any, inputs: Any, wanted: list[torch.Tensor], before: dict[str, torch.Tensor]) -> str:
    if problem := changed(module, before):
        return problem
    # Before the module runs again: what it changes in its buffers is seen in the arrays, which share their memory.
    outputs = bundle.build()(*map(array_of, inputs))
    with torch.no_grad():
        again = tensors(module(*inputs))
    if any(not torch.equal(one, other) for one, other in zip(again, wanted, strict=True) if not one.isnan().any()):
        return "the module gives something else afterwards"
    found = [tensor_of(np.array(each)) for each in arrays(outputs)]
    return differences(found, wanted, limit_of(bundle.architecture))


def changed(module: torch.nn.Module, before: dict[str, torch.Tensor]) -> str:
    """Whether a module's state is another one than before, in words; "" if it is the same."""
    after = module.state_dict()
    same = after.keys() == before.keys() and all(
        torch.equal(after[name], each) for name, each in before.items() if not each.isnan().any()
    )
    return "" if same else "the module is another one afterwards"


def limit_of(architecture: Any) -> float:
    """How much outputs may differ: rounded to few bits on the way, sums in another order differ more."""
    return 2e-2 if "float16" in json.dumps(architecture) else 2e-3


def differences(found: list[torch.Tensor], wanted: list[torch.Tensor], limit: float) -> str:
    """How the outputs of two networks differ; "" where they agree."""
    if len(found) != len(wanted):
        return f"{len(found)} outputs, not {len(wanted)}"
    for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
        if problem := difference(one, other, limit):
            return f"output {number}: {problem}"
    return ""


def difference(one: torch.Tensor, other: torch.Tensor, limit: float = 2e-3) -> str:
    """How two outputs differ; "" where they agree.

    Args:
        one: An output.
        other: The one that it is to be.
        limit: How much it may differ, as a part of it and of the largest element.
    """
    if one.shape != other.shape or one.dtype != other.dtype:
        return f"{one.dtype} {tuple(one.shape)}, not {other.dtype} {tuple(other.shape)}"
    if not other.numel():
        return ""
    one, other = one.double(), other.double()
    finite = other[other.isfinite()]
    scale = finite.abs().max() if finite.numel() else torch.tensor(1.0)
    if torch.allclose(one, other, limit, limit * float(scale), equal_nan=True):
        return ""
    return f"differs by {float((one - other).abs().nan_to_num().max()):.2g} of {float(scale):.2g}"


def is_strict(module: torch.nn.Module, source: Any) -> bool:
    """Whether states load strictly both ways into what is built of an archive or a bundle, and back."""
    try:
        rebuilt = build_module(source)
        rebuilt.load_state_dict(module.state_dict(), strict=True)
        copy.deepcopy(module).load_state_dict(rebuilt.state_dict(), strict=True)
    except Exception:  # whatever PyTorch raises
        return False
    return True


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """A module whose running statistics are not those of the start."""
    for each in module.modules():
        if isinstance(each, torch.nn.modules.batchnorm._BatchNorm) and each.running_mean is not None:
            each.running_mean.normal_(0, 0.1)
            each.running_var.uniform_(0.8, 1.2)
    return module


def tensors(value: Any) -> list[torch.Tensor]:
    """The tensors that a module returns, dicts by their sorted keys."""
    if isinstance(value, torch.Tensor):
        return [value]
    if dataclasses.is_dataclass(value) and not hasattr(value, "items"):
        value = vars(value)
    if isinstance(value, dict) or hasattr(value, "items"):
        return [leaf for key in sorted(value) for leaf in tensors(value[key])]
    return [leaf for each in value for leaf in tensors(each)] if isinstance(value, tuple | list) else []


def arrays(value: Any) -> list[np.ndarray]:
    """The arrays that a network returns, in the same order."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value) for leaf in arrays(value[key])]
    return [leaf for each in value for leaf in arrays(each)] if isinstance(value, tuple | list) else [value]


def words(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = [line for line in lines if not line.endswith("cannot be converted:")]
    return (first[0] if first else type(error).__name__)[:300]
