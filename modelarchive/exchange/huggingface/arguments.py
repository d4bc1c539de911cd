"""What a network of transformers may be given: shapes and dtypes by the names of its forward's arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: Arrays of words beside each other, in the order in which they are given.
TEXTS: Final = ("input_ids", "attention_mask", "decoder_input_ids")
#: Others of the same shape, which are given where they are asked for.
_ASKED: Final = ("token_type_ids", "position_ids", "decoder_attention_mask")
#: Samples and frames of sounds that are tried.
_SAMPLES, _FRAMES = 4000, 128
#: Sides of pictures where a configuration says none, and where it says one that its network does not take.
_SIDES: Final = (224, 64)


@dataclass(frozen=True)
class Argument:
    """One argument of forward.

    Attributes:
        name: Its name.
        shape: Its sizes; the first, None, is the batch, and None behind it the length of a text.
        dtype: Its dtype.
        below: Values are whole numbers from 0 to below this.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    below: int = 0

    def declared(self, length: int | None) -> dict[str, Any]:
        """As an architecture declares it, with texts of a length; None: of any."""
        sizes = [length if axis is None else axis for axis in self.shape[1:]]
        return {"name": self.name, "shape": [None, *sizes], "dtype": self.dtype}


def arguments(names: Sequence[str], main: str, config: Any, asked: Sequence[str] | None) -> Iterator[list[Argument]]:
    """What may be given together, the likeliest first.

    Args:
        names: The arguments of forward.
        main: The one that the class calls its main input.
        config: The configuration, an object of transformers.
        asked: What shall be given; None: what such a network is usually given.
    """
    for each in _usual(names, main, config):
        if asked is None:
            yield list(each.values())
            continue
        known = each | {name: _words(name, config) for name in _ASKED if name in names}
        if all(name in known for name in asked):
            yield [known[name] for name in asked]


def _usual(names: Sequence[str], main: str, config: Any) -> Iterator[dict[str, Argument]]:
    texts = {name: _words(name, config) for name in TEXTS if name in names}
    if "bbox" in names:
        texts["bbox"] = Argument("bbox", (None, None, 4), "int64", 1000)
    has_words = "input_ids" in names
    if "past_values" in names:
        yield _series(names, config)
    for picture in _pictures(names, config):
        one = {picture.name: picture}
        if has_words:
            yield texts | one
        yield one
    for sound in _sounds(names, config):
        decoder = {name: texts[name] for name in ("decoder_input_ids",) if name in texts}
        yield {sound.name: sound} | decoder
    if has_words:
        yield texts
        yield {"input_ids": texts["input_ids"]}
    if main in ("inputs", "inputs_embeds") and main in names:
        width = _first(config, "d_model", "hidden_size")
        if width:
            yield {main: Argument(main, (None, None, width))}


def _words(name: str, config: Any) -> Argument:
    if name.endswith("mask"):
        return Argument(name, (None, None), "int64", 2)
    kind = _part(config, "text_config")
    count = {"token_type_ids": "type_vocab_size", "position_ids": "max_position_embeddings"}.get(name, "vocab_size")
    return Argument(name, (None, None), "int64", _first(kind, count) or 2)


def _series(names: Sequence[str], config: Any) -> dict[str, Argument]:
    """Values of several times, what is known of these times, and which of them were seen."""
    lags = getattr(config, "lags_sequence", None) or [0]
    past = (_first(config, "context_length") or 1) + max(lags)
    future = _first(config, "prediction_length") or 1
    variables = _first(config, "num_input_channels", "input_size") or 1
    each = (variables,) if variables != 1 or hasattr(config, "num_input_channels") else ()
    times = getattr(config, "num_time_features", 0) or 0
    shapes = {
        "past_values": (None, past, *each),
        "past_time_features": (None, past, times),
        "past_observed_mask": (None, past, *each),
        "future_values": (None, future, *each),
        "future_time_features": (None, future, times),
    }
    return {name: Argument(name, shape) for name, shape in shapes.items() if name in names}


def _pictures(names: Sequence[str], config: Any) -> Iterator[Argument]:
    """Pictures and films, of the size that the configuration says, and of others."""
    for name in ("pixel_values", "pixel_values_videos"):
        if name not in names:
            continue
        kind = _part(config, "vision_config", "backbone_config")
        channels = _first(kind, "num_channels", "in_channels", "in_chans") or 3
        side = getattr(kind, "image_size", None) or getattr(config, "image_size", None)
        own = [tuple(side)[-2:]] if isinstance(side, list | tuple) else [(side, side)] if side else []
        frames = _first(kind, "num_frames")
        for height, width in dict.fromkeys([*own, *((side, side) for side in _SIDES)]):
            if frames:
                yield Argument(name, (None, frames, channels, height, width))
            yield Argument(name, (None, channels, height, width))


def _sounds(names: Sequence[str], config: Any) -> Iterator[Argument]:
    """Sounds as samples, or as the strengths of frequencies in frames."""
    kind = _part(config, "audio_config")
    bins = _first(kind, "num_mel_bins", "input_feat_per_channel") or 80
    if "input_values" in names:
        frames = _first(config, "max_length")
        if frames and hasattr(config, "num_mel_bins"):  # pictures of sounds
            yield Argument("input_values", (None, frames, bins))
        yield Argument("input_values", (None, _SAMPLES))
        yield Argument("input_values", (None, 1, _SAMPLES))
    if "input_features" in names:
        half = _first(kind, "max_source_positions")
        for frames in dict.fromkeys((2 * half if half else _FRAMES, _FRAMES)):
            yield Argument("input_features", (None, bins, frames))
        for width in dict.fromkeys((_first(kind, "feature_projection_input_dim") or bins, bins)):
            yield Argument("input_features", (None, _FRAMES, width))


def _part(config: Any, *names: str) -> Any:
    """The configuration of a part; the whole one where there is no such part."""
    return next((part for name in names if (part := getattr(config, name, None)) is not None), config)


def _first(config: Any, *names: str) -> int | None:
    values: Mapping[str, Any] = {name: getattr(config, name, None) for name in names}
    return next((value for value in values.values() if type(value) is int and value > 0), None)
