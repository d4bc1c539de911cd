"""Folders of transformers: networks that it saved, converted, and compared with what it loads of them."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

import modelarchive as ma
from modelarchive.cli import main
from modelarchive.exchange.torch.tensors import tensor_of
from tests.coverage.judging import Network, Verdict, arrays, difference, tensors
from tests.coverage.language import transformers

#: The types that people have most: texts, pictures, sounds, both, and series.
TYPES: Final = (
    "albert", "audio-spectrogram-transformer", "bart", "beit", "bert", "big_bird", "bigbird_pegasus", "biogpt", "bit",
    "blenderbot", "blip", "bloom", "camembert", "canine", "clip", "clip_text_model", "clip_vision_model", "codegen",
    "cohere", "convbert", "convnext", "convnextv2", "ctrl", "data2vec-audio", "data2vec-text", "data2vec-vision",
    "deberta", "deberta-v2", "deepseek_v3", "deit", "detr", "dinov2", "distilbert", "dpr", "dpt", "efficientnet",
    "electra", "ernie", "esm", "falcon", "falcon_mamba", "flaubert", "fnet", "focalnet", "funnel", "gemma", "gemma2",
    "gemma3_text", "glm", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_oss", "gptj", "granite", "helium", "hiera",
    "hubert", "ibert", "jamba", "layoutlm", "led", "levit", "llama", "longformer", "luke", "m2m_100", "mamba", "mamba2",
    "marian", "mbart", "mistral", "mixtral", "mobilebert", "mobilenet_v1", "mobilenet_v2", "mobilevit", "modernbert",
    "mpnet", "mpt", "mt5", "nystromformer", "olmo", "olmo2", "openai-gpt", "opt", "patchtst", "pegasus", "phi", "phi3",
    "poolformer", "prophetnet", "pvt", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "regnet", "rembert", "resnet",
    "roberta", "roformer", "rwkv", "segformer", "sew", "siglip", "smollm3", "speech_to_text", "squeezebert", "stablelm",
    "starcoder2", "swin", "swinv2", "t5", "umt5", "unispeech", "videomae", "vilt", "vit", "vit_mae", "wav2vec2",
    "wavlm", "whisper", "xglm", "xlm", "xlm-roberta", "xlnet", "yolos",
)  # fmt: skip
_BATCH, _LENGTH = 2, 8


def folders() -> Iterator[Network]:
    """The base of each of these types, and one head of it."""
    for each in transformers(TYPES, heads=1):
        yield Network("folders", each.name, each.make)


def judge(
    network: Network, module: Any, inputs: tuple[torch.Tensor, ...], wanted: list[torch.Tensor], limit: float = 2e-3
) -> Verdict:
    """Save a network as a folder, convert that by the command, and compare with what transformers loads of it."""
    module = getattr(module, "network", module)
    with tempfile.TemporaryDirectory() as place:
        folder, archive = Path(place) / "theirs", Path(place) / "ours.h5"
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            module.save_pretrained(folder)
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            failed = main(["convert", str(folder), str(archive)])
        if failed:
            return Verdict(network.set, network.name, "refused", _reason(said.getvalue(), place))
        with contextlib.redirect_stderr(said):
            theirs = type(module).from_pretrained(folder)
        theirs.config.use_cache = False
        with ma.open(archive) as opened:
            declared, names = opened.architecture["inputs"], set(opened.parameters)
        given = arguments(declared, theirs.config)
        with torch.no_grad():
            outputs = theirs(**{name: torch.from_numpy(array) for name, array in given.items()})
        ours = ma.load_model(archive)(*given.values())
        found = [tensor_of(np.array(each)) for each in arrays(ours)]
        # Of networks that are read without transformers the outputs are in a row, as transformers' own are by number.
        expected = tensors(outputs if isinstance(ours, dict) else outputs.to_tuple())
    is_free = any(not isinstance(axis, int) for each in declared for axis in each["shape"])
    verdict = Verdict(network.set, network.name, "whole" if is_free else "fixed")
    verdict.strict = names == set(theirs.state_dict())
    if len(found) != len(expected):
        verdict.verdict, verdict.why = "wrong", f"{len(found)} outputs, not {len(expected)}"
    for number, (one, other) in enumerate(zip(found, expected, strict=False)):
        if problem := difference(one, other.to(one.dtype) if other.is_floating_point() else other):
            verdict.verdict, verdict.why = "wrong", f"output {number}: {problem}"
    return verdict


def arguments(declared: list[dict[str, Any]], config: Any) -> dict[str, np.ndarray]:
    """An array for each input that an archive declares; free axes are a batch of two, and eight words."""
    rng = np.random.default_rng(0)
    text = getattr(config, "text_config", None) or config
    vocabulary = min(getattr(text, "vocab_size", None) or 99, 99)
    found = {}
    for each in declared:
        shape = [
            axis if isinstance(axis, int) else _LENGTH if place else _BATCH for place, axis in enumerate(each["shape"])
        ]
        if each["name"].endswith("mask"):
            array = np.ones(shape, np.int64)
            array[-1, -2:] = 0
        elif each["name"] == "bbox":
            array = np.sort(rng.integers(0, 30, shape), -1)
        elif each["name"] == "token_type_ids":
            array = rng.integers(0, 2, shape)
        elif each.get("dtype") == "int64":
            array = rng.integers(3, vocabulary, shape)
            array[:, -1] = 2  # some heads look for the end
        else:
            array = rng.standard_normal(shape)
        found[each["name"]] = array.astype(each.get("dtype", "float32"))
    return found


def _reason(said: str, place: str) -> str:
    lines = [line.strip() for line in said.replace(place, "").splitlines() if line.strip()]
    first = [line for line in lines if not any(each in line for each in ("cannot be converted", "is none of", "it/s]"))]
    return (first or lines or [""])[0][:300]
