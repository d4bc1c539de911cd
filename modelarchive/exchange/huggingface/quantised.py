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
from modelarchive.exchange.huggingface import (
    packing_bitsandbytes,
    packing_blocks,
    packing_compressed,
    packing_hqq,
    packing_words,
)
from modelarchive.exchange.huggingface.folder import Texts
from modelarchive.exchange.huggingface.packed import MisfitError, Packed
from modelarchive.store.deferred import Deferred
from modelarchive.store.strict import short

#: Where config.json says how weights are quantised; old files of compressed-tensors have the other.
OPTIONS: Final = ("quantization_config", "compression_config")
#: The file in which quanto says which layers are packed, and how.
QUANTO: Final = "quanto_qmap.json"
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
        is_hidden: Whether an underscore stands before the weight's own name, which is then a part of the layer's.
    """

    what: str
    named: re.Pattern[str]
    target: str
    made: Callable[[Packed], Deferred | None]
    refused: Callable[[Mapping[str, Any]], str] = lambda options: ""
    is_turned: bool = False
    is_hidden: bool = False


_METHODS: Final[dict[str, _Method]] = {
    "gptq": _Method(
        "GPTQ", re.compile(r"(?P<layer>.+)\.(?P<part>qweight|qzeros|scales|g_idx)"), ".weight", packing_words.gptq,
        packing_words.gptq_refused, is_turned=True,
    ),
    "auto-round": _Method(
        "AutoRound", re.compile(r"(?P<layer>.+)\.(?P<part>qweight|qzeros|scales|g_idx)"), ".weight",
        packing_words.auto_round, packing_words.auto_round_refused, is_turned=True,
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
    "hqq": _Method(
        "HQQ",
        re.compile(r"(?P<layer>.+)\.(?P<part>W_q|nbits|group_size|shape|scale|zero|axis|packing|unpack_view_dtype"
                   r"|view_as_float|quant_scale|quant_zero|compute_dtype|offload_meta|encoded_state_dict"
                   r"|stores_quant_config|channel_wise|optimize|round_zero)"),
        ".weight", packing_hqq.weight,
    ),
    "mxfp4": _Method(
        "MXFP4", re.compile(r"(?P<layer>.+?)(?P<part>_blocks|_scales|)"), "", packing_compressed.mxfp4
    ),
    "quanto": _Method(
        "quanto",
        re.compile(r"(?P<layer>.+)\.(?P<part>weight\.(_data(\._data)?|_scale|_shift)|(input|output)_scale|bias)"),
        ".weight", packing_blocks.quanto,
    ),
    "torchao": _Method(
        "torchao",
        re.compile(r"(?P<layer>.+\._\w+?)_(?P<part>qdata|scale|zero_point|scale_and_zero|act_pre_scale)"), "",
        packing_blocks.torchao, is_hidden=True,
    ),
}  # fmt: skip


def said_in(values: Mapping[str, Any], beside: Texts) -> Mapping[str, Any] | None:
    """What a folder says of quantised weights; None: they are not.

    Args:
        values: What config.json says.
        beside: The files, of which one is quanto's.

    Raises:
        ConversionError: It says it in a way, or names a method, that is not read.
    """
    found = next((values[name] for name in OPTIONS if values.get(name)), None)
    if beside.has(QUANTO) and (found is None or isinstance(found, Mapping)):
        return {**(found or {}), **beside.json(QUANTO), "quant_method": "quanto"}
    if found is None:
        return None
    method = found.get("quant_method") if isinstance(found, Mapping) else None
    if method is None and isinstance(found, Mapping) and (found.get("load_in_4bit") or found.get("load_in_8bit")):
        return {**found, "quant_method": "bitsandbytes"}
    if not isinstance(found, Mapping) or not isinstance(method, str) or _usual(method) not in _METHODS:
        what = f"is {short(method if isinstance(found, Mapping) else found)}, expected {', '.join(_METHODS)}"
        raise ConversionError([(OPTIONS[0], what)], hint=_HINT)
    method = _usual(method)
    if problem := _METHODS[method].refused(found):
        raise ConversionError([(OPTIONS[0], problem)], hint=_HINT)
    return {**found, "quant_method": method}


def _usual(method: str) -> str:
    """The name of a method, which some say with their own before it: ``intel/auto-round``."""
    return method.rpartition("/")[2]


def plain(
    arrays: Mapping[str, Deferred],
    said: Mapping[str, Any],
    values: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Deferred], list[Note]]:
    """The arrays of a folder, with a weight in the place of the parts that it is packed in.

    Args:
        arrays: As the files have them.
        said: How they are quantised, as :func:`said_in` gives it.
        values: What config.json says beside.
        metadata: Of the files, which torchao needs.

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
            made = method.made(Packed(parts, said, dtype, layer, metadata or {}))
        except MisfitError as error:
            problems.append((layer, str(error)))
            continue
        if made is None:
            continue
        for name in names[layer]:
            if not name.endswith(".bias"):
                del found[name]
        target = "{}.{}".format(*layer.rsplit("._", 1)) if method.is_hidden else f"{layer}{method.target}"
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
    if said["quant_method"] == "torchao":
        return "Dynamic" in short(said.get("quant_type"))
    if said["quant_method"] == "quanto":
        own = [one for one in said.values() if isinstance(one, Mapping)]
        return any(one.get("activations") not in (None, "none") for one in own)
    groups = said.get("config_groups")
    each = groups.values() if isinstance(groups, Mapping) else ()
    schemes = [one for one in each if isinstance(one, Mapping)]
    return said["quant_method"] in ("fp8", "fbgemm_fp8") or any(one.get("input_activations") for one in schemes)
