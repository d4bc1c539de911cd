"""What metadata of an architecture mean: the options of transformers' configuration, one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from modelarchive.exchange.bundle import Note
from modelarchive.exchange.gguf.architecture import Architecture
from modelarchive.exchange.gguf.files import Contents
from modelarchive.exchange.gguf.frequencies import factors_of, scaling_of
from modelarchive.exchange.huggingface.sentences import Pooling
from modelarchive.store.strict import short

#: Keys without the architecture's name that change nothing of what is computed.
_IDLE: Final = frozenset(("vocab_size", "tensor_data_layout", "rope.scaling.finetuned", "pooling_type"))
#: Keys of networks that files may leave out: tensors have these sizes, or nothing is computed with them, or all
#: architectures have the same without them.
_LEFT_OUT: Final = frozenset(
    ("context_length", "embedding_length", "block_count", "feed_forward_length", "expert_count",
     "expert_feed_forward_length", "expert_shared_feed_forward_length", "attention.head_count_kv",
     "attention.key_length", "rope.freq_base")
)  # fmt: skip
#: What norms add to variances, and those of mean squares, which networks have where they have no others.
_MEANS: Final = "attention.layer_norm_epsilon"
_MEAN_SQUARES: Final = ("attention.layer_norm_rms_epsilon",)
#: Keys that say nothing unless they have another value.
_USUAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "attention.causal": (True,),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "use_parallel_residual": (False,),
}
#: Kinds of scaling of rotary positions, beside none.
_LINEAR: Final = "linear"
_YARN: Final = "yarn"
_BETAS: Final = {"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"}
#: Of which numbers of layers llama.cpp scales scores by the width of a head as the network's width has it, rather
#: than by a head's own: the 27B of each.
_WIDE: Final = {"gemma2": 46, "gemma3": 62}
_PATTERN: Final = "attention.sliding_window_pattern"
#: The base of rotary positions where the metadata do not say, and the largest that means anything.
_BASE: Final = 10000.0
_MOST_BASE: Final = 1e12
#: How BERT's places become one vector, by llama.cpp's numbers.
_POOLINGS: Final = ("", "pooling_mode_mean_tokens", "pooling_mode_cls_token")
#: What Gemma 3 turns the heads of layers with a window by, where the metadata do not say.
_LOCAL_BASE: Final = 10000.0


class Options:
    """The metadata of a network, read key by key.

    Args:
        architecture: What they are of.
        contents: What the file holds.

    Attributes:
        config: What config.json would say.
        problems: What cannot be expressed, or is no valid value: (key, what).
        notes: What does not count, though it is said.
        pooling: How the places of a text become one vector; None: they do not.
    """

    def __init__(self, architecture: Architecture, contents: Contents) -> None:
        self.architecture = architecture
        self.contents = contents
        self.config: dict[str, Any] = {
            "model_type": architecture.kind,
            "architectures": [architecture.model],
            **architecture.fixed,
        }
        self.problems: list[tuple[str, str]] = []
        self.notes: list[Note] = []
        self.pooling: Pooling | None = None
        self._asked: set[str] = set()

    def key(self, name: str) -> str:
        """A key with the architecture's name."""
        return f"{self.architecture.name}.{name}"

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a key; of a list with a value for each layer, which are all alike, that value."""
        self._asked.add(name)
        found = self.contents.values.get(self.key(name), default)
        if isinstance(found, list):
            if not found or any(each != found[0] for each in found):
                self.refuse(name, f"is {short(found)}: layers of different sizes are not read")
                return default
            found = found[0]
        return _shortest(found) if self.contents.types.get(self.key(name), "").endswith("float32") else found

    def each_layer(self, name: str, default: list[bool]) -> list[bool]:
        """A truth for each layer."""
        self._asked.add(name)
        found = self.contents.values.get(self.key(name), default)
        if isinstance(found, list) and len(found) == len(default) and all(type(each) is bool for each in found):
            return found
        self.refuse(name, f"is {short(found)}, expected true or false for each of {len(default)} layers")
        return default

    def refuse(self, name: str, what: str) -> None:
        """Note what cannot be expressed."""
        self.problems.append((self.key(name), what))

    def number(self, name: str) -> float | None:
        """A number; None: it is not there, or none."""
        found = self.get(name)
        if found is None:
            return None
        if type(found) not in (int, float) or not math.isfinite(found):
            self.refuse(name, f"is {short(found)}, expected a number")
            return None
        return float(found)

    def refuse_unknown(self) -> None:
        """Refuse keys of the architecture that nobody has asked for, unless they are known to change nothing."""
        prefix = f"{self.architecture.name}."
        for key in self.contents.values:
            name = key.removeprefix(prefix)
            if name == key or name in self._asked or name in _IDLE or name in self.architecture.idle:
                continue
            if self.contents.values[key] not in _USUAL.get(name, ()):
                value = short(self.contents.values[key])
                self.refuse(name, f"is {value}: no key that is known, and it may change what is computed")


def options_of(architecture: Architecture, contents: Contents) -> Options:
    """The configuration that a file's metadata mean; what they cannot mean is in its problems."""
    options = Options(architecture, contents)
    may_lack = {*_LEFT_OUT, *architecture.usual, *(_MEAN_SQUARES if _MEANS in architecture.keys else ())}
    for key, (option, _) in architecture.keys.items():
        value = options.get(key, architecture.usual.get(key))
        if value is not None:
            options.config[option] = value
        elif options.key(key) not in contents.values and key not in may_lack:
            options.refuse(key, "is missing, and without it the network is not known")
    tensors = contents.tensors
    if (words := tensors.get("token_embd.weight")) is not None and words.shape:
        options.config["vocab_size"] = words.shape[0]
    options.config["tie_word_embeddings"] = "output.weight" not in tensors
    if architecture.name == "bert":
        _of_bert(options)
    elif architecture.name == "gpt2":
        _of_gpt2(options)
    else:
        _of_rotary(options)
        _of_sizes(options)
    if architecture.window:
        _of_windows(options)
    if architecture.name.startswith("gemma"):
        _of_gemma(options)
    if architecture.name == "minicpm":
        _of_minicpm(options)
    if architecture.name in ("granite", "granitemoe"):
        _of_granite(options)
    if architecture.name == "falcon" and (shared := options.config.get("num_key_value_heads")) != 1:
        options.refuse("attention.head_count_kv", f"is {short(shared)}, expected one key for all heads")
    if architecture.name == "phi3":
        options.config["sliding_window"] = options.config.get("sliding_window") or None
    if architecture.name == "phi2" and (wide := tensors.get("blk.0.ffn_up.weight")) is not None and wide.shape:
        options.config["intermediate_size"] = wide.shape[0]  # the converter writes four times the width, always
    options.refuse_unknown()
    return options


def _shortest(value: Any) -> Any:
    """The number with the fewest digits that float32 holds as the same: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) and math.isfinite(value) else value


def _of_sizes(options: Options) -> None:
    """Sizes of heads, biases, and what networks like Llama leave out where it is as usual."""
    config = options.config
    heads = config.get("num_attention_heads")
    config.setdefault("num_key_value_heads", heads)
    usual = config["hidden_size"] // heads if _positive(config.get("hidden_size")) and _positive(heads) else None
    length, other = options.get("attention.key_length", usual), options.get("attention.value_length", usual)
    if length != other is not None:
        options.refuse("attention.value_length", f"is {short(other)}, and attention.key_length is {short(length)}")
    turned = options.get("rope.dimension_count", length)
    if options.architecture.is_partly_turned and _positive(turned) and _positive(length) and turned <= length:
        config["partial_rotary_factor"] = config["rope_parameters"]["partial_rotary_factor"] = turned / length
    elif turned != length:
        options.refuse("rope.dimension_count", f"is {short(turned)}: heads of {short(length)} are turned in part")
    if length is not None and options.architecture.kind != "falcon":  # which computes it
        config["head_dim"] = length
    config |= options.architecture.told_by(options.contents.tensors)


def _positive(value: Any) -> bool:
    return type(value) is int and value > 0


def _of_rotary(options: Options) -> None:
    """Rotary positions: their base, and how they are stretched."""
    base = options.config.pop("rope_theta", _BASE)
    if type(base) not in (int, float) or not 1 < base <= _MOST_BASE:
        options.refuse("rope.freq_base", f"is {short(base)}, expected a number above 1, and at most {_MOST_BASE:g}")
        base = _BASE
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": base}
    kind = options.get("rope.scaling.type", _LINEAR)
    factor = options.number("rope.scaling.factor") or options.number("rope.scale_linear") or 1.0
    longest = options.get("rope.scaling.original_context_length")
    if kind == _LINEAR and factor != 1:
        rope |= {"rope_type": _LINEAR, "factor": factor}
    elif kind == _YARN:
        rope |= _of_yarn(options, factor, longest)
    elif kind not in (_LINEAR, "none"):
        options.refuse("rope.scaling.type", f"is {short(kind)}, expected none, {_LINEAR} or {_YARN}")
    elif kind == "none" and longest is not None:
        options.notes.append(Note(options.key("rope.scaling.original_context_length"), "does not count: none scales"))
    if (attention := options.number("rope.scaling.attn_factor")) not in (None, 1.0):
        options.refuse("rope.scaling.attn_factor", f"is {attention}, expected 1")
    if (stored := options.contents.tensors.get("rope_freqs.weight")) is not None:
        factors = factors_of(stored)
        found = None if factors is None else scaling_of(factors, base)
        if found is None or rope["rope_type"] != "default":
            options.problems.append(("rope_freqs.weight", "divides frequencies as no rotary positions that are known"))
        else:
            rope |= found
    for part in ("long", "short"):
        if f"rope_factors_{part}.weight" in options.contents.tensors:
            options.problems.append((f"rope_factors_{part}.weight", "rotary positions of LongRoPE are not read"))
    _said(options.config, rope)


def _of_yarn(options: Options, factor: float, longest: Any) -> dict[str, Any]:
    """YaRN, whose scores llama.cpp scales as its authors do; of another scale there is another key, which is refused.

    Source: Peng et al., YaRN (2023); llama.cpp, where `original_context_length` is the context's own if it is absent.
    """
    found = {
        "rope_type": _YARN,
        "factor": factor,
        "original_max_position_embeddings": options.get("context_length") if longest is None else longest,
    }
    for key, option in _BETAS.items():
        if (value := options.number(f"rope.scaling.{key}")) is not None:
            found[option] = value
    for name, value in found.items():
        if name != "rope_type" and (type(value) not in (int, float) or not 0 < value <= _MOST_BASE):
            options.refuse("rope.scaling.type", f"is yarn, with {name} {short(value)}, expected a number above 0")
    return found


def _said(config: dict[str, Any], rope: dict[str, Any]) -> None:
    """Write rotary positions in the spelling of transformers 5, and in that of 4 beside it."""
    config["rope_parameters"] = rope
    config["rope_theta"] = rope["rope_theta"]
    if rope["rope_type"] != "default":
        config["rope_scaling"] = rope


def _of_windows(options: Options) -> None:
    """Which layers look no further than a window: all but one of so many, or as a list says."""
    config, architecture = options.config, options.architecture
    layers: Any = config.get("num_hidden_layers")
    if not _positive(layers) or layers > len(options.contents.tensors):
        return
    is_windowed = bool(config.get("sliding_window"))
    which = [is_windowed and (at + 1) % architecture.window != 0 for at in range(layers)]
    if architecture.listed:
        which = options.each_layer(_PATTERN, which)
        if (base := options.number("rope.freq_base_swa")) not in (None, config["rope_theta"]):
            options.refuse("rope.freq_base_swa", f"is {base}, and rope.freq_base is {config['rope_theta']}")
        if architecture.name == "olmo2" and config["rope_parameters"]["rope_type"] != "default":
            options.refuse("rope.scaling.type", "stretches positions, which llama.cpp does in layers without a window")
    elif (every := options.get(_PATTERN, architecture.window)) != architecture.window:
        options.refuse(_PATTERN, f"is {short(every)}, expected {architecture.window}")
    config["layer_types"] = ["sliding_attention" if each else "full_attention" for each in which]


def _of_gemma(options: Options) -> None:
    """What llama.cpp knows of Gemma without being told."""
    config, name = options.config, options.architecture.name
    sizes: list[Any] = [config.get(key) for key in ("num_hidden_layers", "num_attention_heads", "hidden_size")]
    if name == "gemma" or not all(map(_positive, sizes)):
        return
    layers, heads, units = sizes
    config["query_pre_attn_scalar"] = units // heads if layers == _WIDE[name] else config.get("head_dim")
    for cap in ("final_logit_softcapping", "attn_logit_softcapping"):
        if config.get(cap) is None:
            config[cap] = None
    if name == "gemma3":
        full = config.pop("rope_parameters")
        config["rope_local_base_freq"] = local = config.get("rope_local_base_freq", _LOCAL_BASE)
        config["rope_parameters"] = {
            "full_attention": full,
            "sliding_attention": {"rope_type": "default", "rope_theta": local},
        }


def _of_minicpm(options: Options) -> None:
    """What MiniCPM scales its scores by, whatever the metadata say."""
    width: Any = options.config.get("head_dim")
    if _positive(width):
        options.config["attention_multiplier"] = width**-0.5


def _of_granite(options: Options) -> None:
    """What llama.cpp scales Granite's scores by without being told, and what it takes for a switch."""
    width: Any = options.config.get("head_dim")
    if options.config.get("attention_multiplier") is None and _positive(width):
        options.config["attention_multiplier"] = width**-0.5
    if options.get("rope.scaling.finetuned", True) is not True:
        options.refuse("rope.scaling.finetuned", "is false: Granite without rotary positions is not read")


def _of_bert(options: Options) -> None:
    """BERT's segments, and what its places become: the embedding of a text that llama.cpp gives, not normalised."""
    config, tensors = options.config, options.contents.tensors
    if options.get("attention.causal", False) is not False:
        options.refuse("attention.causal", f"is {short(options.get('attention.causal'))}, expected false")
    if (shared := options.get("attention.head_count_kv")) not in (None, config.get("num_attention_heads")):
        options.refuse("attention.head_count_kv", f"is {short(shared)}, and BERT's heads share nothing")
    kind = options.get("pooling_type", 0)
    if type(kind) is not int or not 0 <= kind < len(_POOLINGS):
        options.refuse("pooling_type", f"is {short(kind)}, expected 0 (none), 1 (mean) or 2 (the first place)")
    elif mode := _POOLINGS[kind]:
        options.pooling = Pooling((mode,), is_normalised=False)
    for name, option in (("token_types", "type_vocab_size"), ("position_embd", "max_position_embeddings")):
        table = tensors.get(f"{name}.weight")
        if table is not None and table.shape:
            config[option] = table.shape[0]


def _of_gpt2(options: Options) -> None:
    """GPT-2's positions have a row each, whatever the metadata say of texts' lengths."""
    table = options.contents.tensors.get("position_embd.weight")
    if table is None or not table.shape:
        return
    said = options.config.get("n_positions")
    if said not in (None, table.shape[0]):
        what = f"does not count: position_embd.weight has {table.shape[0]:,} rows"
        options.notes.append(Note(options.key("context_length"), what))
    options.config["n_positions"] = table.shape[0]
    # The converter of llama.cpp writes four times the width, whatever the network has.
    wide = options.contents.tensors.get("blk.0.ffn_up.weight")
    if wide is not None and len(wide.shape) == 2:
        options.config["n_inner"] = wide.shape[0]
