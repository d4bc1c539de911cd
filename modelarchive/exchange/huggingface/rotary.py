"""Rotary positions as config.json says them, in the older spelling and the newer, and as transformers takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelarchive.exchange.huggingface.config import Config
from modelarchive.ops.rotary import Rotary
from modelarchive.store.strict import short

_OLDER: Final = "rope_scaling"
_NEWER: Final = "rope_parameters"
_BASE: Final = "rope_theta"
_PART: Final = "partial_rotary_factor"
_MOST: Final = 1e30
_LENGTH: Final = "original_max_position_embeddings"
#: Type -> the numbers that it needs.
_NUMBERS: Final[dict[str, tuple[str, ...]]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", _LENGTH),
}
#: What a setting may be called; what a type does not need changes nothing.
_KNOWN: Final = frozenset(
    {
        "rope_type", "type", _BASE, _PART, "factor", "low_freq_factor", "high_freq_factor", _LENGTH,
        "attention_factor", "beta_fast", "beta_slow", "finetuned", "long_factor", "mrope_section", "mscale",
        "mscale_all_dim", "short_factor", "truncate",
    }
)  # fmt: skip


def rotary_of(config: Config, head_dim: int, *, longest: int) -> dict[str, Any]:
    """What a configuration says of rotary positions, as :class:`modelarchive.nn.MultiHeadAttention` takes it.

    Where it says a thing twice, that counts which transformers (5.24) takes, and a note tells of the other.

    Args:
        config: Refuses what cannot be expressed, and notes what does not count.
        head_dim: Elements of a head; all of them turn.
        longest: ``max_position_embeddings``.
    """
    plain = {"dim": head_dim, "base": 10000.0, "style": "halves", "scaling": None}
    older, newer = config.get(_OLDER), config.get(_NEWER)
    for name, found in ((_OLDER, older), (_NEWER, newer)):
        if found is not None and not isinstance(found, Mapping):
            config.refuse(name, f"is {short(found)}, expected an object")
            return plain
    for name in (_BASE, _PART, _LENGTH):
        config.get(name)
    name, found = (_OLDER, older) if older else (_NEWER, newer or {})
    settings = _settled(config, found, longest)
    base, scaling = _base(config, settings), _scaling(config, name, settings)
    if not config.problems:
        _note_what_does_not_count(config, name, found, settings, longest)
    return plain | {"base": base, "scaling": scaling}


def one_of(config: Config, head_dim: int, *, longest: int) -> Rotary:
    """The same as what turns queries and keys, of an even part of a head."""
    size = head_dim - head_dim % 2 or 2
    return Rotary.from_config({**rotary_of(config, head_dim, longest=longest), "dim": size}, size)


def rotary_of_layers(
    config: Config,
    head_dim: int,
    windowed: tuple[bool, ...],
    *,
    longest: int,
    bases: tuple[str, str],
    usual: tuple[float, float],
    scales_both: bool,
) -> tuple[Rotary, ...]:
    """What turns queries and keys layer by layer, where layers with a window have positions of their own.

    Args:
        config: Refuses what cannot be expressed.
        head_dim: Elements of a head.
        windowed: Which layers have a window.
        longest: ``max_position_embeddings``.
        bases: Options of old files for the base of the layers without a window, and of those with one.
        usual: The bases where nothing says them.
        scales_both: Whether `rope_scaling` of old files is of both.
    """
    said, scaling = config.get(_NEWER), config.get(_OLDER)
    for name, value in ((_NEWER, said), (_OLDER, scaling)):
        if value is not None and not isinstance(value, Mapping):
            config.refuse(name, f"is {short(value)}, expected an object")
            return ()
    parts = dict(said or {})
    kinds = ("full_attention", "sliding_attention")
    if unknown := [each for each in parts if each not in kinds]:
        config.refuse(_NEWER, f"has {short(unknown)}, expected {' and '.join(kinds)}")
    found = []
    for kind, option, base in zip(kinds, bases, usual, strict=True):
        part = parts.get(kind) or {}
        if not isinstance(part, Mapping):
            config.refuse(_NEWER, f"has {short(part)} for {kind}, expected an object")
            return ()
        more = scaling or {} if scales_both or kind == kinds[0] else {}
        theta = config.get(option, default=base)
        own = Config({_NEWER: {_BASE: theta, **part, **more}, "max_position_embeddings": longest})
        found.append(one_of(own, head_dim, longest=longest))
        config.problems += own.problems
        config.notes += own.notes
    return tuple(found[is_windowed] for is_windowed in windowed)


def _settled(config: Config, found: Mapping[str, Any], longest: int) -> dict[str, Any]:
    """The settings in one place, with what is not said filled in; nothing is checked yet."""
    settings = dict(found)
    settings.setdefault(_BASE, config.values.get(_BASE, 10000.0))
    if config.values.get(_PART) is not None:
        settings.setdefault(_PART, config.values[_PART])
    settings.setdefault("rope_type", settings.get("type", "default"))
    if settings["rope_type"] == "llama3":
        settings[_LENGTH] = config.values.get(_LENGTH, settings.get(_LENGTH, longest))
    return settings


def _base(config: Config, settings: Mapping[str, Any]) -> float:
    base = settings[_BASE]
    if type(base) not in (int, float) or not 1 <= base <= _MOST:
        config.refuse(_BASE, f"is {short(base)}, expected a number from 1 to 1e30")
        return 10000.0
    return float(base)


def _scaling(config: Config, name: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """How the angles are changed for long texts."""
    kind = settings["rope_type"]
    if layers := [each for each, value in settings.items() if isinstance(value, Mapping)]:
        config.refuse(name, f"has others for the layers {short(layers)}, expected one for all layers")
        return None
    if unknown := [each for each in settings if each not in _KNOWN]:
        config.refuse(name, f"has {short(unknown)}, which nothing is known of")
    if settings.get(_PART) not in (None, 1):
        config.refuse(_PART, "is not 1: transformers' own networks of this family turn whole heads")
    if not isinstance(kind, str) or kind not in _NUMBERS:
        config.refuse(name, f"rope_type is {short(kind)}, expected {', '.join(_NUMBERS)}")
        return None
    numbers: dict[str, float] = {}
    for each in _NUMBERS[kind]:
        value: Any = settings.get(each)
        if type(value) not in (int, float) or not 0 < value <= _MOST:
            config.refuse(name, f"rope_type {kind} has {short(value)} as {each}, expected a number above 0")
            return None
        numbers[each.removesuffix("_embeddings")] = float(value)
    if kind == "llama3" and not numbers["low_freq_factor"] < numbers["high_freq_factor"]:
        config.refuse(name, "has a low_freq_factor that is not below its high_freq_factor")
        return None
    return {"type": kind, **numbers} if numbers else None


def _note_what_does_not_count(
    config: Config, name: str, found: Mapping[str, Any], settings: Mapping[str, Any], longest: int
) -> None:
    """Tell of settings that say another thing than what is taken."""
    kind = settings["rope_type"]
    newer = config.values.get(_NEWER)
    if name == _OLDER and newer and _meaning(_settled(config, newer, longest)) != _meaning(settings):
        config.note(_NEWER, f"does not count, as in transformers: {_OLDER} beside it does, alone")
    if config.values.get(_BASE) not in (None, settings[_BASE]):
        config.note(_BASE, f"does not count, as in transformers: {name} has its own")
    if _LENGTH in found and kind == "llama3" and found[_LENGTH] != settings[_LENGTH]:
        config.note(name, f"its {_LENGTH} does not count, as in transformers: the one beside it does")
    if found.get("type", kind) != kind:
        config.note(name, f"its type {short(found['type'])} does not count, as in transformers: rope_type does")
    idle = [each for each in found if each not in {"rope_type", "type", _BASE, _PART, *_NUMBERS[kind]}]
    if idle:
        config.note(name, f"{', '.join(map(short, idle))}: without meaning for rope_type {kind}")


def _meaning(settings: Mapping[str, Any]) -> list[Any]:
    kind = settings["rope_type"]
    needed = _NUMBERS.get(kind, ()) if isinstance(kind, str) else ()
    return [kind, settings[_BASE], *(settings.get(each) for each in needed)]
