"""How a folder of sentence-transformers says that the places of a text become one vector."""

from __future__ import annotations

import re
from typing import Any, Final

from modelarchive.exchange.huggingface.config import Config
from modelarchive.exchange.huggingface.folder import MAX_CONFIG_BYTES, Texts
from modelarchive.exchange.huggingface.sentences import POOLINGS, Pooling, Projection
from modelarchive.store.strict import short

#: What models for sentences consist of.
MODULES: Final = "modules.json"
POOLING: Final = "1_Pooling/config.json"
#: Folders of dense layers behind the pooling, and the names of their parameters in a network.
_DENSE: Final = re.compile(r"([2-4]_Dense)")
OF_DENSE: Final = re.compile(r"([2-4]_Dense)\.(linear\.(?:weight|bias))")
_ORDER: Final = re.compile("Transformer Pooling( Dense)*( Normalize)?")
#: What ways of pooling are called in files of sentence-transformers 5.4 and newer.
_NEWER: Final = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
#: What is said of an activation by the end of its class -> ours.
_ACTIVATIONS: Final = {
    "GELU": "gelu", "Identity": None, "ReLU": "relu", "SiLU": "silu", "Sigmoid": "sigmoid", "Tanh": "tanh",
}  # fmt: skip


def pooling_of(folder: Texts, config: Config) -> Pooling | None:
    """How sentence-transformers goes on behind the model; None: it does not.

    Args:
        folder: Its files.
        config: Refuses what is not read.
    """
    if not folder.has(MODULES):
        return None
    modules = folder.json_list(MODULES)
    if not all(isinstance(module, dict) for module in modules):
        config.refuse(MODULES, f"is {short(modules)}, expected a list of objects")
        return None
    kinds = [str(module.get("type")).rpartition(".")[2] for module in modules]
    if not _ORDER.fullmatch(" ".join(kinds)):
        found = ", ".join(map(short, kinds[:8])) or "nothing"
        config.refuse(MODULES, f"is of {found}, expected Transformer, Pooling, Dense, Normalize")
        return None
    places = [module.get("path") for module in modules]
    if places[:2] != ["", POOLING.partition("/")[0]]:
        config.refuse(MODULES, f"has its parts in {short(places)}, expected '' and '1_Pooling'")
        return None
    options = folder.json(POOLING, most=MAX_CONFIG_BYTES)
    modes = _modes(options, config)
    if options.get("include_prompt") is False:
        config.note(POOLING, "leaves prompts out of the pooling: give a mask that does")
    dense = [_projection(folder, config, place) for place, kind in zip(places, kinds, strict=True) if kind == "Dense"]
    return Pooling(modes, kinds[-1] == "Normalize", tuple(each for each in dense if each is not None))


def _modes(options: dict[str, Any], config: Config) -> tuple[str, ...]:
    """The ways of pooling, in the order in which sentence-transformers puts them side by side."""
    if (newer := options.get("pooling_mode")) is not None:
        several = newer if isinstance(newer, list) else [newer]
        if not several or not all(isinstance(mode, str) and mode in _NEWER for mode in several):
            config.refuse(POOLING, f"pooling_mode is {short(newer)}, expected {', '.join(_NEWER)}")
            return ()
        return tuple(_NEWER[mode] for mode in several)
    modes = [name for name, value in options.items() if name.startswith("pooling_mode_") and value]
    for mode in modes:
        if mode not in POOLINGS:
            config.refuse(POOLING, f"{short(mode)} is none of {', '.join(POOLINGS)}")
    if not modes:
        config.refuse(POOLING, "chooses no way of pooling")
    return tuple(mode for mode in POOLINGS if mode in modes)


def _projection(folder: Texts, config: Config, place: Any) -> Projection | None:
    """A dense layer."""
    if not isinstance(place, str) or not _DENSE.fullmatch(place):
        config.refuse(MODULES, f"has a dense layer in {short(place)}, expected '2_Dense' and so on")
        return None
    where = f"{place}/config.json"
    if not folder.has(where):
        config.refuse(where, "is not there")
        return None
    own = Config(folder.json(where, most=MAX_CONFIG_BYTES))
    activation = str(own.get("activation_function", default="Tanh")).rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        own.refuse("activation_function", f"is {short(activation)}, expected {', '.join(_ACTIVATIONS)}")
    own.only("use_residual", False)
    for name in ("module_input_name", "module_output_name"):
        own.only(name, "sentence_embedding")
    found = Projection(
        place,
        own.size("in_features", default=0),
        own.size("out_features", default=0),
        _ACTIVATIONS.get(activation),
        own.flag("bias", default=True),
    )
    config.problems += [(f"{where} {name}", what) for name, what in own.problems]
    return found
