"""Networks of KerasHub on Keras' PyTorch backend, saved as they are, and read back at two batches and two lengths."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

import modelarchive as ma
from modelarchive.errors import ConversionError, ModelArchiveError
from modelarchive.exchange.torch.tensors import array_of, tensor_of
from tests.coverage.archives import part_is_wrong
from tests.coverage.judging import Network, Verdict, arrays, changed, differences, limit_of, tensors, words
from tests.coverage.kerashub import pictures, texts

#: The axes of a batch, and of what a model takes of any length: at first, and at another time.
_SIZES: Final = ((2, 8), (3, 11))
#: Sides of pictures of any size, at first and at another time.
_SIDES: Final = (32, 64)


def kerashub() -> Iterator[Network]:
    """Every backbone in a small size, and heads on them."""
    backbones = texts.BACKBONES | pictures.BACKBONES
    for name, row in backbones.items():
        yield Network("kerashub", name, lambda row=row: _with_inputs(_made(pictures.Made(row))))
    for name, (base, settings) in (texts.TASKS | pictures.TASKS).items():
        whole = {"backbone": pictures.Made(backbones[base]), "preprocessor": None, **settings}
        yield Network("kerashub", name, lambda row=(name, whole): _with_inputs(_made(pictures.Made(row))))


def _made(row: pictures.Made) -> Any:
    """A network of random parameters."""
    import keras_hub

    name, settings = row
    own = {key: _made(each) if isinstance(each, pictures.Made) else each for key, each in settings.items()}
    model = getattr(keras_hub.models, name)(**own)
    generator = np.random.default_rng(0)
    for each in model.weights:
        if str(each.dtype).startswith("float"):
            low = 0.5 if "variance" in each.path else -0.5
            each.assign(generator.uniform(low, 1, each.shape) * (1 if each.ndim < 2 else 0.4))
    return model


def _with_inputs(model: Any) -> tuple[Any, tuple[Any, ...]]:
    # Keras copies a model by its config, of which some of KerasHub's classes make another one.
    object.__setattr__(model, "__deepcopy__", lambda memo: model)
    return model, (_fed(model, inputs_of(model, 0)),)


def _fed(model: Any, values: dict[str, torch.Tensor]) -> Any:
    """Values by name as a model takes them: in a dict, or the only one as it is."""
    return values if isinstance(model.input, dict) else next(iter(values.values()))


def inputs_of(model: Any, time_: int) -> dict[str, torch.Tensor]:
    """What a model takes, by name, at one of two sizes."""
    generator = torch.Generator().manual_seed(time_)
    found = {}
    for each in model.inputs:
        free = _SIDES[time_] if len(each.shape) == 4 else _SIZES[time_][1]
        shape = [_SIZES[time_][0], *(free if size is None else size for size in each.shape[1:])]
        dtype = getattr(torch, each.dtype)
        if dtype.is_floating_point:
            value = torch.randn(shape, generator=generator, dtype=dtype)
        elif "mask" in each.name and "position" not in each.name:
            value = torch.ones(shape, dtype=dtype)
            value[-1, -2:] = 0
        else:
            value = torch.randint(0, 2 if "segment" in each.name else 8, shape, generator=generator).to(dtype)
        found[each.name] = value
    return found


def judge(network: Network, model: Any, inputs: tuple[Any, ...], wanted: list[torch.Tensor]) -> Verdict:
    """Save a model as it is, and compare what comes back, where its own axes are free at other sizes too."""
    found = Verdict(network.set, network.name, "whole")
    before = {name: each.clone() for name, each in model.state_dict().items()}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.h5"
        start = time.process_time()
        reason = ""
        example = inputs_of(model, 0)
        for given in (None, {name: array_of(each) for name, each in example.items()}):
            try:
                ma.save_model(path, model, inputs=given)
                break
            except ModelArchiveError as error:  # the last of its reasons is PyTorch's
                reason = reason or (error.unsupported[-1][1] if isinstance(error, ConversionError) else words(error))
        else:
            return Verdict(network.set, network.name, "refused", reason)
        found.seconds = time.process_time() - start
        found.why = reason
        problem = changed(model, before) or _wrong(path, model, example, found) or part_is_wrong(path)
    if problem:
        found.verdict, found.why = "wrong", problem
    return found


def _outputs(model: Any, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    # Said, as a Resizing in the model has what is behind it run as in training otherwise.
    return tensors(model(_fed(model, inputs), training=False))


def _wrong(path: Path, model: Any, inputs: dict[str, torch.Tensor], found: Verdict) -> str:
    with ma.open(path) as opened:
        architecture = opened.architecture
    own = {each.name: each.shape for each in model.inputs}
    # Dicts are taken by their keys; the only input of a model is called otherwise in an archive.
    order = [each["name"] for each in architecture["inputs"]] if isinstance(model.input, dict) else list(own)
    held = [
        f"{name} {each['shape']}"
        for name, each in zip(order, architecture["inputs"], strict=True)
        if any(theirs is None and isinstance(ours, int) for theirs, ours in zip(own[name], each["shape"], strict=True))
    ]
    with torch.no_grad():
        cases = [(inputs, _outputs(model, inputs))]
    if held:
        found.verdict, found.why = "fixed", found.why or f"holds {', '.join(held)}"
    else:
        other = inputs_of(model, 1)
        try:
            with torch.no_grad():
                cases.append((other, _outputs(model, other)))
        except Exception:  # it takes no other sizes
            found.why = "the model itself takes no other sizes"
    read = ma.load_model(path)
    built = ma.load_model(path, backend="torch")
    for given, expected in cases:
        outputs = [tensor_of(np.array(each)) for each in arrays(read(*(array_of(given[name]) for name in order)))]
        with torch.no_grad():
            rebuilt = tensors(built(*(given[name].clone() for name in order)))
        for what, ours in (("NumPy", outputs), ("PyTorch", rebuilt)):
            if problem := differences(ours, expected, limit_of(architecture)):
                return f"{what}, batch {next(iter(given.values())).shape[0]}: {problem}"
    return ""
