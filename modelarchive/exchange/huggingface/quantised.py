"""Quantised weights of a folder as the numbers that they stand for, layer by layer, when they are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelarchive.dtypes import DENSE
from modelarchive.errors import ConversionError
from modelarchive.exchange.bundle import Note
from modelarchive.exchange.huggingface import packing_bitsandbytes, packing_compressed, packing_words
from modelarchive.exchange.huggingface.packed import MisfitError, Packed
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: Where config.json says how weights are quantised; old files of compressed-tensors have the other.
OPTIONS: Final = ("quantization_config", "compression_config")
#: Models whose dense layers lie the other way, ``(in, out)``, and how they are called.
_TURNED_TYPES: Final = frozenset({"clvp", "decision_transformer", "gpt2", "imagegpt", "openai-gpt"})
_TURNED: Final = re.compile(r".*\.(c_attn|c_proj|c_fc|q_attn)\.weight")
_HINT: Final = (
    "in transformers, `model.dequantize()` and then `model.save_pretrained(...)` write weights that are not quantised"
)


@dataclass(frozen=True)
class _Method:
    """How one library packs weights.

    Attributes:
        what: Its name for people.
        named: Splits the name of an array: ``layer`` and ``part``.
        target: What follows the layer in the name of the weight.
        made: Makes the weight of a layer out of its parts; None: these are as they are.
        refused: What the options say that is not read.
        is_turned: Whether dense layers that lie the other way are packed as the others.
    """

    what: str
    named: re.Pattern[str]
    target: str
    made: Callable[[Packed], Deferred | None]
    refused: Callable[[Mapping[str, Any]], str] = lambda options: ""
    is_turned: bool = False


_METHODS: Final[dict[str, _Method]] = {
    "gptq": _Method(
        "GPTQ", re.compile(r"(?P<layer>.+)\.(?P<part>qweight|qzeros|scales|g_idx)"), ".weight", packing_words.gptq,
        packing_words.gptq_refused, is_turned=True,
    ),
    "awq": _Method(
        "AWQ", re.compile(r"(?P<layer>.+)\.(?P<part>qweight|qzeros|scales)"), ".weight", packing_words.awq,
        packing_words.awq_refused, is_turned=True,
    ),
    "bitsandbytes": _Method(
        "bitsandbytes",
        re.compile(r"(?P<layer>.+)\.(?P<part>weight|SCB|weight_format|weight\.(\w*absmax|\w*quant_map|quant_state\.\w+))"),
        ".weight", packing_bitsandbytes.weight, is_turned=True,
    ),
    "compressed-tensors": _Method(
        "compressed-tensors",
        re.compile(r"(?P<layer>.+)\.(?P<part>weight(_packed|_scale|_zero_point|_shape|_g_idx|_global_scale)?"
                   r"|(input|output)_(scale|zero_point|global_scale)|[kv]_(scale|zero_point))"),
        ".weight", packing_compressed.weight, packing_compressed.refused,
    ),
    "fp8": _Method(
        "FP8", re.compile(r"(?P<layer>.+?)(?P<part>_scale_inv|(\.|_)activation_scale|)"), "", packing_compressed.fp8,
    ),
    "fbgemm_fp8": _Method(
        "FP8", re.compile(r"(?P<layer>.+?)(?P<part>_scale|\.input_scale_ub|)"), "", packing_compressed.fp8,
    ),
    "mxfp4": _Method(
        "MXFP4", re.compile(r"(?P<layer>.+?)(?P<part>_blocks|_scales|)"), "", packing_compressed.mxfp4
    ),
}  # fmt: skip


def said_in(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What config.json says of quantised weights; None: they are not.

    Raises:
        ConversionError: It says it in a way, or names a method, that is not read.
    """
    found = next((values[name] for name in OPTIONS if values.get(name)), None)
    if found is None:
        return None
    method = found.get("quant_method") if isinstance(found, Mapping) else None
    if method is None and isinstance(found, Mapping) and (found.get("load_in_4bit") or found.get("load_in_8bit")):
        return {**found, "quant_method": "bitsandbytes"}
    if not isinstance(found, Mapping) or not isinstance(method, str) or method not in _METHODS:
        what = f"is {short(method if isinstance(found, Mapping) else found)}, expected {', '.join(_METHODS)}"
        raise ConversionError([(OPTIONS[0], what)], hint=_HINT)
    if problem := _METHODS[method].refused(found):
        raise ConversionError([(OPTIONS[0], problem)], hint=_HINT)
    return found


def plain(
    arrays: Mapping[str, Deferred], said: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[dict[str, Deferred], list[Note]]:
    """The arrays of a folder, with a weight in the place of the parts that it is packed in.

    Args:
        arrays: As the files have them.
        said: How they are quantised, as :func:`said_in` gives it.
        values: What config.json says beside.

    Raises:
        ConversionError: Parts are missing, or of shapes that do not belong together; lists all of it.
    """
    method = _METHODS[said["quant_method"]]
    layers: dict[str, dict[str, Deferred]] = {}
    names: dict[str, list[str]] = {}
    for name, entry in arrays.items():
        if (match := method.named.fullmatch(name)) is not None:
            layers.setdefault(match["layer"], {})[match["part"]] = entry
            names.setdefault(match["layer"], []).append(name)
    dtype = _dtype_of(values, arrays)
    found = dict(arrays)
    problems: list[tuple[str, str]] = []
    done: list[Deferred] = []
    for layer, parts in layers.items():
        try:
            made = method.made(Packed(parts, said, dtype))
        except MisfitError as error:
            problems.append((layer, str(error)))
            continue
        if made is None:
            continue
        for name in names[layer]:
            del found[name]
        target = f"{layer}{method.target}"
        if target in found:
            problems.append((target, f"is there beside the parts of {method.what} that make it"))
        is_turned = method.is_turned and values.get("model_type") in _TURNED_TYPES and _TURNED.fullmatch(target)
        found[target] = _turned(made) if is_turned else made
        done.append(made)
    if problems:
        raise ConversionError(problems, hint=_HINT)
    return found, _notes(method.what, said, done)


def _turned(entry: Deferred) -> Deferred:
    return entry.changed(lambda array: np.ascontiguousarray(array.T), entry.shape[::-1])


def _dtype_of(values: Mapping[str, Any], arrays: Mapping[str, Deferred]) -> np.dtype:
    """The dtype of the model: what config.json says, else that of most of its other numbers."""
    floats = {name: DENSE[name] for name in ("float16", "bfloat16", "float32", "float64")}
    for option in ("dtype", "torch_dtype"):
        if isinstance(said := values.get(option), str) and said in floats:
            return floats[said]
    sizes = {name: sum(each.size for each in arrays.values() if each.dtype == kind) for name, kind in floats.items()}
    return floats[max(sizes, key=lambda name: sizes[name])]


def _notes(what: str, said: Mapping[str, Any], done: list[Deferred]) -> list[Note]:
    if not done:
        return [Note(OPTIONS[0], f"says {what}, and no weight is so")]
    dtypes = ", ".join(dict.fromkeys(each.dtype.name for each in done))
    notes = [Note(OPTIONS[0], f"{len(done):,} weights of {what} are kept as the numbers that they stand for, {dtypes}")]
    if _rounds_inputs(said):
        notes.append(Note(OPTIONS[0], "rounds the inputs of layers as well, which is not done here"))
    return notes


def _rounds_inputs(said: Mapping[str, Any]) -> bool:
    groups = said.get("config_groups")
    each = groups.values() if isinstance(groups, Mapping) else ()
    schemes = [one for one in each if isinstance(one, Mapping)]
    return said["quant_method"] in ("fp8", "fbgemm_fp8") or any(one.get("input_activations") for one in schemes)
