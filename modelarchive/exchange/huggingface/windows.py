"""How far back the layers of networks like Llama look, as config.json says it."""

from __future__ import annotations

from modelarchive.exchange.huggingface.config import Config
from modelarchive.store.strict import short


def windows_of(config: Config, layers: int, kind: str) -> tuple[int, tuple[bool, ...]]:
    """How far layers with a window look back, and which layers have one."""
    window = _window(config, kind)
    said = kinds_of(config, layers)
    full = config.size("max_window_layers", default=28, least=0) if kind == "qwen2" else 0
    windowed = tuple(window is not None and at >= full for at in range(layers))
    if said is not None:
        if window is None and any(said):
            config.refuse("layer_types", "has sliding_attention, and there is no sliding_window")
        elif kind == "mistral" and said != windowed:
            what = "is followed, as AutoModel of transformers does; MistralModel gives all layers the window"
            config.note("layer_types", what)
        windowed = said
    return window or 0, windowed


def kinds_of(config: Config, layers: int) -> tuple[bool, ...] | None:
    """Which layers have a window, as `layer_types` says; None: it says nothing."""
    types = config.get("layer_types")
    if types is None:
        return None
    known = ("full_attention", "sliding_attention")
    if not isinstance(types, list) or len(types) != layers or any(each not in known for each in types):
        config.refuse("layer_types", f"is {short(types)}, expected {layers} of {' or '.join(known)}")
        return (False,) * layers
    return tuple(each == "sliding_attention" for each in types)


def _window(config: Config, kind: str) -> int | None:
    """The window of the layers that have one."""
    if kind == "llama":
        return None
    if kind == "qwen2" and not config.flag("use_sliding_window", default=False):
        config.get("sliding_window")
        return None
    # Null is none; where nothing is said there is one.
    window = config.get("sliding_window") if "sliding_window" in config.values else 4096
    if window is not None and (type(window) is not int or not 1 <= window < 2**31):
        config.refuse("sliding_window", f"is {short(window)}, expected an integer from 1 on")
        return 1
    return window
