"""What a module takes: given, remembered, or not known, which is told with a call to type."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn

import numpy as np
import torch

from modelarchive.errors import ConversionError, first_line
from modelarchive.exchange.torch.arguments import IN_A_ROW, Arguments, arranged
from modelarchive.exchange.torch.tensors import NAMES, numpy_dtype
from modelarchive.exchange.torch.wrapping import walk
from modelarchive.nn.calling import DECLARED
from modelarchive.nn.parameter import dtype_name


def remember(module: torch.nn.Module, declarations: list[dict[str, Any]] | Callable[[], list[dict[str, Any]]]) -> None:
    """Let a module know the inputs that its architecture declares, or what finds them, as blocks do."""
    kept = declarations if callable(declarations) else [dict(each) for each in declarations]
    object.__setattr__(module, DECLARED, kept)


def _remembered(module: torch.nn.Module) -> list[dict[str, Any]] | None:
    """The inputs that a module remembers; None: it remembers none."""
    found = getattr(module, DECLARED, None)
    if callable(found):
        found = found() or None  # of a part whose inputs the whole does not tell
        object.__setattr__(module, DECLARED, found)
    return found


def known_inputs(module: torch.nn.Module, inputs: Any) -> tuple[Any, Arguments]:
    """The inputs that a module is read on in a row, those given or those that it remembers; and how it takes them.

    Raises:
        ConversionError: They are not known, are shapes and not examples, or others than forward takes.
    """
    if inputs is None:
        remembered = _remembered(module)
        if remembered is None:
            _refuse_missing(module)
        return tuple(remembered), IN_A_ROW
    if _is_shape(inputs) or _are_shapes(inputs):
        _refuse_shape(module, inputs)
    try:
        inputs, arguments = arranged(module, inputs)
    except TypeError as error:
        _refuse_names(module, inputs, error)
    for each in inputs if isinstance(inputs, tuple | list) else [inputs]:
        if not _is_example(each):
            _refuse_object(module, each)
    if arguments is IN_A_ROW:
        _compare_number(module, inputs)
    return inputs, arguments


def taken_for_one(module: torch.nn.Module, arguments: Arguments) -> str:
    """What may have gone wrong where a dict of inputs was given as the only argument; "" where none was."""
    if not arguments.is_one_dict:
        return ""
    named = f"none of its names is an argument of forward{_arguments(module)}"
    return f"inputs= was given as one dict, as {named}: if they are to be arguments, name them so; "


def declared(inputs: Any) -> Any:
    """Inputs as :func:`modelarchive.describe` takes them; of tensors only shape and dtype count."""
    if isinstance(inputs, tuple | list):
        return type(inputs)(declared(each) for each in inputs)
    if isinstance(inputs, torch.Tensor):
        shape = [None, *inputs.shape[1:]] if inputs.ndim else []
        return {"shape": shape, "dtype": dtype_name(numpy_dtype(inputs.dtype))}
    return inputs if isinstance(inputs, Mapping) or inputs is None else np.asarray(inputs)


def refuse_example(module: torch.nn.Module, inputs: Any, error: Exception | None = None) -> NoReturn:
    """Refuse an example that the module itself does not run on.

    Args:
        module: The module.
        inputs: The example.
        error: What the module raised.

    Raises:
        ConversionError: Always, with an example that it does run on, if one was found.
    """
    several = inputs if isinstance(inputs, tuple | list) else [inputs]
    found = ", ".join(f"{NAMES.get(each.dtype, each.dtype)} {tuple(each.shape)}" for each in several)
    known = _remembered(module)
    own = _dtype(module)
    lone = several[0] if len(several) == 1 else None
    if (
        isinstance(lone, torch.Tensor)
        and lone.is_floating_point()
        and lone.dtype != own
        and _runs(module, (None, tuple(lone.shape)), 1)
    ):
        found = f"{found}, and its parameters are {NAMES.get(own, own)}"
        example = _one(None, tuple(lone.shape), NAMES.get(own, "float32"))
        hint = f"give them as its parameters are: {_call_of(module, example)}"
    elif known is None:
        hint = f"the first axis is the batch; an example: {_call_of(module, _example(module))}"
    else:
        shapes = ", ".join(f"{each['dtype']} {each['shape']}" for each in known)
        hint = f"leave inputs= out: it is known to take {shapes} (None: any size)"
    why = "" if error is None else f"; it raises {type(error).__name__}: {first_line(error)}"
    raise ConversionError([("inputs", f"the module itself does not run on them: {found}{why}")], hint=hint) from error


def _call_of(module: torch.nn.Module, inputs: str) -> str:
    """The call to type, with a name for the module that its class suggests."""
    word = re.sub(r"\W", "", type(module).__name__).lower()
    name = "net" if not word.isidentifier() or word in ("sequential", "module", "graphmodule") else word
    return f'save_model("{name}.h5", {name}, inputs={inputs})'


# ---------------------------------------------------------------------- refusals


def _refuse_missing(module: torch.nn.Module) -> NoReturn:
    what = f"are not known: a module does not say what its forward{_arguments(module)} takes"
    raise ConversionError([("inputs", what)], hint=f"give an example: {_call_of(module, _example(module))}")


def _is_shape(value: Any) -> bool:
    if isinstance(value, torch.Size):
        return True
    sizes = (int, np.integer)
    return (
        isinstance(value, tuple | list)
        and len(value) > 0
        and all((isinstance(each, sizes) and not isinstance(each, bool)) or each is None for each in value)
    )


def _are_shapes(value: Any) -> bool:
    """Whether it is several shapes; lists inside of a list are an array of numbers."""
    if not isinstance(value, tuple | list) or not value or not all(map(_is_shape, value)):
        return False
    return isinstance(value, tuple) or not any(type(each) is list for each in value)


def _refuse_shape(module: torch.nn.Module, inputs: Any) -> NoReturn:
    shapes = [inputs] if _is_shape(inputs) else list(inputs)
    limit, dtype = next(_guesses(module))[0], NAMES.get(_dtype(module), "float32")
    kind = dtype if limit is None else "int64"
    more = "" if kind == "float32" else f', "dtype": "{kind}"'
    examples, declarations = [], []
    for shape in shapes:
        sizes = [None if each is None or each < 0 else int(each) for each in shape]
        examples.append(_one(limit, tuple(2 if each is None else each for each in sizes), dtype))
        free = ", ".join(["None", *map(str, sizes[1:])])
        declarations.append(f'{{"shape": [{free}]{more}}}')
    found = ", ".join(str(tuple(each)) for each in shapes)
    one, other = (each[0] if len(each) == 1 else f"({', '.join(each)})" for each in (examples, declarations))
    hint = f"give an example or a declaration: inputs={one}, or inputs={other}"
    raise ConversionError([("inputs", f"is a shape, {found}, expected a tensor or a declaration")], hint=hint)


def _is_example(value: Any) -> bool:
    """Whether NumPy or PyTorch makes numbers of it, or it is a declaration."""
    if isinstance(value, torch.Tensor | Mapping | int | float | complex | tuple | list) or value is None:
        return True
    return not isinstance(value, str | bytes) and np.asarray(value).dtype.kind not in "OSU"


def _refuse_object(module: torch.nn.Module, value: Any) -> NoReturn:
    what = f"is of type {type(value).__name__}, expected a tensor or a declaration"
    hint = f"give an example: {_call_of(module, _example(module))}"
    if not isinstance(value, str | bytes) and hasattr(type(value), "__iter__"):
        hint = "give one batch of it, without the targets: inputs=next(iter(loader))[0]"
    raise ConversionError([("inputs", what)], hint=hint)


def _refuse_names(module: torch.nn.Module, inputs: Mapping[str, Any], error: TypeError) -> NoReturn:
    what = f"is a dict of {', '.join(map(str, inputs))}, and forward takes {_arguments(module)} ({error})"
    named = ", ".join(f'"{name}": {name}' for name in _needed(module))
    raise ConversionError([("inputs", what)], hint=f"give what forward takes, by name: inputs={{{named}}}") from None


def _compare_number(module: torch.nn.Module, inputs: Any) -> None:
    number = len(inputs) if isinstance(inputs, tuple) else 1
    if isinstance(inputs, list):
        if inputs and not any(hasattr(each, "shape") or isinstance(each, Mapping) for each in inputs):
            return  # nested lists of numbers are one array
        number = len(inputs)
    try:
        signature = inspect.signature(module.forward)
        signature.bind(*range(number))
    except TypeError:
        plural = "input is" if number == 1 else "inputs are"
        what = f"{number} {plural} given, forward takes {signature}"
        hint = f"give one for each: {_call_of(module, f'({_names(module)})')}"
        raise ConversionError([("inputs", what)], hint=hint) from None
    except ValueError:
        return  # it has no signature to compare with


def _signature(module: torch.nn.Module) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):
        return {}


def _needed(module: torch.nn.Module) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = [(name, each) for name, each in _signature(module).items() if each.kind in kinds]
    needed = [name for name, each in found if each.default is each.empty]
    return needed or [name for name, _ in found[:1]] or ["x"]


def _names(module: torch.nn.Module) -> str:
    needed = _needed(module)
    return ", ".join(needed) + ("," if len(needed) == 1 else "")


def _arguments(module: torch.nn.Module) -> str:
    return f"({', '.join(_signature(module))})"


# ---------------------------------------------------------------------- plausible examples


#: Sides of images that are tried, the usual ones first.
_SIDES: Final = (224, 32, 28, 64, 96, 128, 256, 299, 8, 16)


def _example(module: torch.nn.Module) -> str:
    """An expression of inputs that the module runs on; a guess where none of those tried does."""
    number = len(_needed(module))
    guesses = list(_guesses(module))
    for guess in guesses:
        if _runs(module, guess, number):
            return _expression(module, guess, number)
    return _expression(module, guesses[0], number)


def _expression(module: torch.nn.Module, guess: tuple[int | None, tuple[int, ...]], number: int) -> str:
    one = _one(*guess, NAMES.get(_dtype(module), "float32"))
    return one if number == 1 else f"({', '.join([one] * number)})"


def _one(limit: int | None, shape: tuple[int, ...], dtype: str) -> str:
    """An expression of a tensor: of words where there is a number of them, else of real numbers."""
    if limit is not None:
        return f"torch.randint({limit}, {shape})"
    return f"torch.randn({', '.join(map(str, shape))}{'' if dtype == 'float32' else f', dtype=torch.{dtype}'})"


def _dtype(module: torch.nn.Module) -> torch.dtype:
    """That of the first parameter of real numbers."""
    return next((each.dtype for each in module.parameters() if each.is_floating_point()), torch.float32)


def _runs(module: torch.nn.Module, guess: tuple[int | None, tuple[int, ...]], number: int) -> bool:
    """Whether the module runs on fake tensors, without values, of such shapes."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    limit, shape = guess
    log = logging.getLogger("torch._subclasses.fake_tensor")  # tells of each misfit, with its traceback
    was_silent, log.disabled = log.disabled, True
    try:
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            one = torch.randn(shape, dtype=_dtype(module)) if limit is None else torch.randint(limit, shape)
            module(*[one] * number)
    except Exception:  # anything may happen in somebody's forward
        return False
    else:
        return True
    finally:
        log.disabled = was_silent


def _guesses(module: torch.nn.Module) -> Iterator[tuple[int | None, tuple[int, ...]]]:
    """(number of words or None, shape) of what the first layer takes, the most likely first."""
    for _, each in walk(module):
        name = type(each).__name__
        if isinstance(each, torch.nn.Embedding):
            yield from ((each.num_embeddings, (1, 16)), (each.num_embeddings, (1, 4)))
        elif isinstance(each, torch.nn.modules.conv._ConvNd):
            rank = len(each.kernel_size)
            sides = _SIDES if rank == 2 else (16, 32, 64) if rank == 3 else (128, 1024, 16000)
            yield from ((None, (1, each.in_channels, *[side] * rank)) for side in sides)
            if rank == 2 and each.in_channels == 1:
                yield None, (1, 1, 28, 28)
        elif isinstance(each, torch.nn.Linear):
            yield from ((None, (1, each.in_features)), (None, (1, 16, each.in_features)))
        elif isinstance(each, torch.nn.RNNBase):
            yield None, (1, 16, each.input_size)
        elif isinstance(each, torch.nn.MultiheadAttention):
            yield None, (1, 16, each.embed_dim)
        elif isinstance(each, torch.nn.modules.batchnorm._BatchNorm):
            rank = int(name[-2]) if name[-2:-1].isdigit() else 2
            yield None, (1, each.num_features, *[32] * rank) if rank > 1 else (1, each.num_features)
        else:
            continue
        return
    yield None, (1, 3, 224, 224)
