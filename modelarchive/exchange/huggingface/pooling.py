"""How a folder of sentence-transformers says that the places of a text become one vector."""

from __future__ import annotations

from typing import Final

from modelarchive.exchange.huggingface.bert import POOLINGS, Pooling
from modelarchive.exchange.huggingface.config import Config
from modelarchive.exchange.huggingface.folder import MAX_CONFIG_BYTES, Texts
from modelarchive.store.strict import short

#: What models for sentences consist of.
MODULES: Final = "modules.json"
POOLING: Final = "1_Pooling/config.json"


def pooling_of(folder: Texts, config: Config, head: str | None) -> Pooling | None:
    """How sentence-transformers goes on behind the model; None: it does not."""
    if head != "Model" or not folder.has(MODULES):
        return None
    modules = folder.json_list(MODULES)
    if not all(isinstance(module, dict) for module in modules):
        config.refuse(MODULES, f"is {short(modules)}, expected a list of objects")
        return None
    kinds = [str(module.get("type")).rpartition(".")[2] for module in modules]
    expected = ["Transformer", "Pooling", "Normalize"]
    if len(kinds) < 2 or kinds != expected[: len(kinds)]:
        config.refuse(MODULES, f"is of {', '.join(map(short, kinds[:8])) or 'nothing'}, expected {', '.join(expected)}")
        return None
    places = [module.get("path") for module in modules]
    if places[:2] != ["", POOLING.partition("/")[0]]:
        config.refuse(MODULES, f"has its parts in {short(places)}, expected '' and '1_Pooling'")
        return None
    options = folder.json(POOLING, most=MAX_CONFIG_BYTES)
    modes = [name for name, value in options.items() if name.startswith("pooling_mode_") and value]
    for mode in modes:
        if mode not in POOLINGS:
            config.refuse(POOLING, f"{short(mode)} is none of {', '.join(POOLINGS)}")
    if not modes:
        config.refuse(POOLING, "chooses no way of pooling")
    # The order in which sentence-transformers puts them side by side.
    return Pooling(tuple(mode for mode in POOLINGS if mode in modes), len(kinds) == 3)
