"""How far back the layers of networks like Llama look, as config.json says it."""

from __future__ import annotations

from modelarchive.exchange.huggingface.config import Config
from modelarchive.store.strict import short


def windows_of(config: Config, layers: int, kind: str) -> tuple[int, tuple[bool, ...]]:
    """How far layers with a window look back, and which layers have one."""
    window = _window(config, kind)
    types = config.get("layer_types")
    full = config.size("max_window_layers", default=28, least=0) if kind == "qwen2" else 0
    windowed = tuple(window is not None and at >= full for at in range(layers))
    if types is not None:
        known = ("full_attention", "sliding_attention")
        if not isinstance(types, list) or len(types) != layers or any(each not in known for each in types):
            config.refuse("layer_types", f"is {short(types)}, expected {layers} of {' or '.join(known)}")
            return 0, (False,) * layers
        said = tuple(each == "sliding_attention" for each in types)
        if window is None and any(said):
            config.refuse("layer_types", "has sliding_attention, and there is no sliding_window")
        elif kind == "mistral" and said != windowed:
            config.refuse("layer_types", "is not sliding_attention alone: all layers of this family have the window")
        windowed = said
    return window or 0, windowed


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
