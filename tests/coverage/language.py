"""Networks of transformers: each type of which a tiny random configuration can be made, its base and a head."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import torch

from modelarchive.exchange.huggingface.noise import noise_of
from tests.coverage.judging import Network

#: Settings by their names -> what makes a network small.
_SIZES: Final[dict[str, Any]] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "embed_dim", "hidden_dim", "encoder_hidden_size",
                     "word_embed_proj_dim", "embedding_size", "attention_hidden_size", "projection_dim"), 32),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads",
                     "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads",), 2),
    **dict.fromkeys(("intermediate_size", "d_ff", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner",
                     "moe_intermediate_size", "shared_expert_intermediate_size", "hidden_dim_ff", "d_inner",
                     "dense_ffn_dim"), 64),
    "head_dim": 8, "d_kv": 8, "state_size": 8, "depth_multiplier": 0.25, "q_lora_rank": 16, "kv_lora_rank": 16,
    "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "d_latents": 32, "num_self_attention_heads": 4,
    "num_cross_attention_heads": 4, "entity_emb_size": 16, "width_coefficient": 0.25, "depth_coefficient": 0.25,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
}  # fmt: skip
#: The same of settings that only make it shorter: a network that is not of any width stays as wide as it is.
_LENGTHS: Final[dict[str, Any]] = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers", "decoder_layers",
                     "num_encoder_layers", "num_decoder_layers", "encoder_num_hidden_layers"), 2),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    "rescale_every": 0, "n_group": 1, "topk_group": 1, "rotary_dim": 4, "sliding_window": 4, "num_queries": 8,
    "attention_types": [[["global", "local"], 1]], "num_latents": 8, "num_self_attends_per_block": 2,
}  # fmt: skip
#: The same of settings that say what goes in and out.
_ENDS: Final[dict[str, Any]] = {
    "vocab_size": 99, "max_position_embeddings": 64, "n_positions": 64, "type_vocab_size": 2, "image_size": 32,
    "patch_size": 8, "num_experts_per_tok": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 0, "use_cache": False, "num_mel_bins": 16, "max_source_positions": 64,
    "max_target_positions": 64, "num_labels": 3, "prediction_length": 4, "entity_vocab_size": 99,
    "default_language": "en_XX", "use_timm_backbone": False, "use_pretrained_backbone": False,
}  # fmt: skip
_HEADS: Final = ("CausalLM", "SequenceClassification", "MaskedLM", "ConditionalGeneration", "ImageClassification",
                 "CTC", "AudioClassification", "TokenClassification", "QuestionAnswering", "ObjectDetection",
                 "SemanticSegmentation", "UniversalSegmentation", "DepthEstimation", "VideoClassification",
                 "Prediction", "PreTraining")  # fmt: skip
#: Settings of these that are None by default, and must not be.
_TOLD: Final = ("pad_token_id", "prediction_length", "vocab_size", "num_key_value_heads", "default_language")
#: Weights above which a network is none of the small ones.
_MOST: Final = 40_000_000
_BATCH, _WORDS, _SAMPLES, _FRAMES = 2, 8, 2000, 64


def transformers(types: Iterable[str] | None = None, *, heads: int | None = None) -> Iterator[Network]:
    """The base of each type, and its heads, those first that most have.

    Args:
        types: The types; None: all of them.
        heads: How many heads of each type; None: all of them.
    """
    import transformers as library
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    for type_name in sorted(MODEL_MAPPING_NAMES if types is None else types):
        bases = MODEL_MAPPING_NAMES[type_name]
        try:
            kind = CONFIG_MAPPING[type_name]
            base = getattr(library, bases if isinstance(bases, str) else bases[0])
            modelling = vars(sys.modules[base.__module__])
        except (KeyError, ImportError, AttributeError, RuntimeError):  # its libraries are not installed
            continue
        own = [
            (name, each)
            for name, each in modelling.items()
            if "For" in name
            and getattr(each, "config_class", None) is kind
            and issubclass(each, library.PreTrainedModel)
        ]
        usual = [each for head in _HEADS for name, each in own if name.endswith(f"For{head}")]
        for each in (base, *[*usual, *(each for _, each in own if each not in usual)][:heads]):
            make = _maker(each, kind)
            yield Network("transformers", f"{type_name}: {each.__name__}", make)


def _maker(network: Any, kind: Any) -> Callable[[], tuple[torch.nn.Module, tuple[torch.Tensor, ...]]]:
    return lambda: _made(network, kind)


def _made(network: Any, kind: Any) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """The first of the small networks of a class that runs, and what it runs on."""
    first: Exception | None = None
    makes: list[tuple[torch.nn.Module, list[dict[str, torch.Tensor]]]] = []
    for settings in _variants():
        try:
            config = small(kind, settings)
            with torch.device("meta"):
                weights = sum(each.numel() for each in network(config).parameters())
            if weights > _MOST:
                raise ValueError(f"has {weights} weights")
            module = _random(network(config)).eval()
        except Exception as error:  # whatever a class raises that is not of any size
            first = first or error
            continue
        makes.append((module, list(_inputs(module, config))))
        if (found := _running(*makes[-1], needs_words=True)) is not None:
            return found
    for module, several in makes:
        if (found := _running(module, several, needs_words=False)) is not None:
            return found
    raise first or ValueError("no input is known")


def _running(module: torch.nn.Module, several: list[dict[str, torch.Tensor]], *, needs_words: bool) -> Any:
    """A module and the first inputs that it runs on; None: there are none."""
    has_words = "input_ids" in inspect.signature(module.forward).parameters
    for inputs in several:
        if needs_words and has_words and "input_ids" not in inputs:
            continue
        given = _called(module, inputs)
        with contextlib.suppress(Exception), torch.no_grad():  # whatever a forward raises that takes something else
            given[0](*given[1])
            drawn = noise_of(module, list(inspect.signature(module.forward).parameters), inputs)
            noise = {each.name: torch.rand(_BATCH, *each.shape[1:]) for each in drawn}
            return _called(module, inputs | noise) if noise else given
    return None


def _variants() -> Iterator[dict[str, Any]]:
    """Settings in the order in which they are tried: from those of all sizes to those of what goes in and out."""
    most = _SIZES | _LENGTHS | _ENDS
    yield most
    yield most | {"num_key_value_heads": 4, "head_dim": 16, "n_groups": 1}
    # Widths that follow from others, and four layers whose outputs are taken.
    yield most | {
        "num_key_value_heads": 4,
        "hidden_dim": 320,
        "num_hidden_layers": 4,
        "backbone_out_indices": [0, 1, 2, 3],
    }
    yield _LENGTHS | _ENDS
    yield _ENDS
    yield {name: value for name, value in _ENDS.items() if name not in ("image_size", "patch_size")}


def small(kind: Any, settings: Mapping[str, Any]) -> Any:
    """A configuration of a class, with the settings that it has, those of its parts as well."""
    usual = kind()
    found = {name: value for name, value in settings.items() if _takes(kind, usual, name, value)}
    for name in getattr(kind, "sub_configs", {}):
        own = getattr(usual, name, None)
        if own is None:
            continue
        if type(own).__name__ == "TimmBackboneConfig":
            found[name] = _backbone()
            continue
        with contextlib.suppress(Exception):  # one that cannot be made alone stays as it is
            found[name] = small(type(own), settings).to_dict()
    return kind(**found)


def _takes(kind: Any, usual: Any, name: str, value: Any) -> bool:
    """Whether a configuration has a setting, as one value and not one for each stage."""
    before = getattr(usual, name, None)
    if not hasattr(usual, name) or (before is None and name not in _TOLD):
        return False
    if isinstance(before, list | tuple) and not isinstance(value, list):
        return False
    try:
        setattr(kind(), name, value)
    except (AttributeError, NotImplementedError):  # it is another one's, under a name of its own
        return False
    return True


def _backbone() -> dict[str, Any]:
    """A small network for pictures, where one of another library is usual."""
    from transformers import ResNetConfig

    sizes = {"embedding_size": 16, "hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]}
    return ResNetConfig(**sizes, out_features=["stage1", "stage2", "stage3", "stage4"]).to_dict()  # type: ignore[no-any-return]


def _random(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    for each in module.parameters():
        each.data = torch.randn(each.shape, generator=generator, dtype=torch.float32) * 0.2
    return module


def _inputs(module: Any, config: Any) -> Iterator[dict[str, torch.Tensor]]:
    """What forward may take, by its names: most first."""
    names = list(inspect.signature(module.forward).parameters)
    generator = torch.Generator().manual_seed(0)
    text = getattr(config, "text_config", None) or config
    vocabulary = min(getattr(text, "vocab_size", None) or 99, 99)
    words = torch.randint(3, vocabulary, (_BATCH, _WORDS), generator=generator)
    words[:, -1] = 2  # some heads look for the end
    mask = torch.ones(_BATCH, _WORDS, dtype=torch.int64)
    mask[1, _WORDS - 2 :] = 0
    known = {"input_ids": words, "attention_mask": mask, "decoder_input_ids": words}
    has_words = {name: each for name, each in known.items() if name in names}
    if "bbox" in names:
        has_words["bbox"] = torch.sort(torch.randint(0, 30, (_BATCH, _WORDS, 4), generator=generator), -1)[0]
    if "past_values" in names:
        yield _series(names, config, generator)
    for image in _images(names, config, generator):
        if "input_ids" in names:
            yield has_words | image
        yield image
    for sound in _sounds(names, config, generator):
        yield sound | ({"decoder_input_ids": words} if "decoder_input_ids" in names else {})
    if "input_ids" in names:
        yield has_words
        yield {name: each for name, each in has_words.items() if name != "decoder_input_ids"}
        yield {name: torch.stack([each, each.flip(0)], 1) for name, each in has_words.items()}  # choices of each


def _series(names: list[str], config: Any, generator: torch.Generator) -> dict[str, torch.Tensor]:
    past = config.context_length + max(getattr(config, "lags_sequence", None) or [0])
    future = getattr(config, "prediction_length", None) or 4
    variables = getattr(config, "num_input_channels", None) or getattr(config, "input_size", 1)
    each = (variables,) if variables != 1 or hasattr(config, "num_input_channels") else ()
    times = getattr(config, "num_time_features", 0)
    known = {
        "past_values": torch.randn(_BATCH, past, *each, generator=generator),
        "past_time_features": torch.randn(_BATCH, past, times, generator=generator),
        "past_observed_mask": torch.ones(_BATCH, past, *each),
        "future_values": torch.randn(_BATCH, future, *each, generator=generator),
        "future_time_features": torch.randn(_BATCH, future, times, generator=generator),
    }
    return {name: each for name, each in known.items() if name in names}


def _images(names: list[str], config: Any, generator: torch.Generator) -> Iterator[dict[str, torch.Tensor]]:
    for name in ("pixel_values", "pixel_values_videos"):
        if name not in names:
            continue
        sight = getattr(config, "vision_config", None) or getattr(config, "backbone_config", None) or config
        channels = getattr(sight, "num_channels", None) or getattr(sight, "in_channels", None) or 3
        side = getattr(sight, "image_size", None) or 32
        sides = [tuple(side)[-2:] if isinstance(side, list | tuple) else (side, side)] if side else []
        frames = getattr(sight, "num_frames", None)
        for height, width in dict.fromkeys((*sides, (32, 32), (64, 64), (224, 224))):
            if frames:
                yield {name: torch.randn(_BATCH, frames, channels, height, width, generator=generator)}
            yield {name: torch.randn(_BATCH, channels, height, width, generator=generator)}


def _sounds(names: list[str], config: Any, generator: torch.Generator) -> Iterator[dict[str, torch.Tensor]]:
    if "input_values" in names:
        mask = torch.ones(_BATCH, _SAMPLES, dtype=torch.int64)
        mask[1, _SAMPLES // 2 :] = 0
        wave = torch.randn(_BATCH, _SAMPLES, generator=generator)
        yield {"input_values": wave, **({"attention_mask": mask} if "attention_mask" in names else {})}
        yield {"input_values": wave}
        yield {"input_values": wave[:, None]}
        frames, bins = getattr(config, "max_length", None) or _FRAMES, getattr(config, "num_mel_bins", None) or 16
        yield {"input_values": torch.randn(_BATCH, frames, bins, generator=generator)}
    if "input_features" in names:
        sound = getattr(config, "audio_config", None) or config
        bins = getattr(sound, "num_mel_bins", None) or getattr(sound, "input_feat_per_channel", None) or 16
        width = getattr(sound, "feature_projection_input_dim", None) or bins
        for frames in (2 * (getattr(sound, "max_source_positions", None) or _FRAMES), _FRAMES):
            yield {"input_features": torch.randn(_BATCH, bins, frames, generator=generator)}
        mask = torch.ones(_BATCH, _FRAMES, dtype=torch.int64)
        mask[1, _FRAMES // 2 :] = 0
        for each in dict.fromkeys((width, bins)):
            sound = {"input_features": torch.randn(_BATCH, _FRAMES, each, generator=generator)}
            yield sound | ({"attention_mask": mask} if "attention_mask" in names else {})
            yield sound


class Named(torch.nn.Module):
    """A network that is given some of its inputs by name.

    Args:
        network: The network.
        names: The names of what it is given.
    """

    def __init__(self, network: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *inputs: torch.Tensor) -> Any:
        """What the network gives."""
        return self.network(**dict(zip(self.names, inputs, strict=True)))


def _called(
    module: torch.nn.Module, inputs: dict[str, torch.Tensor]
) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """A module and its inputs in a row; where they do not stand in a row at the beginning, in another that does so."""
    order = [name for name in inspect.signature(module.forward).parameters if name in inputs]
    row = list(inspect.signature(module.forward).parameters)[: len(order)]
    given = tuple(inputs[name] for name in order)
    return (module, given) if row == order else (Named(module, order), given)
