"""Architectures that transformers builds: its own network of what is read, and the converter's own file back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from modelarchive.exchange.gguf.architectures import OF_KIND, architecture_of
from modelarchive.exchange.gguf.exporting import tensors_of
from modelarchive.exchange.gguf.files import Contents, contents
from modelarchive.exchange.gguf.importing import arrays_of
from modelarchive.exchange.gguf.lifting import Options, options_of
from modelarchive.exchange.gguf.lowering import metadata_of
from modelarchive.exchange.mapped import MappedFile
from modelarchive.store.deferred import Deferred
from tests.exchange.gguf.test_files import FOREIGN

pytest.importorskip("gguf")

NAMES = ["granite", "smollm3", "arcee", "seed_oss", "olmo2", "olmo3", "starcoder2", "stablelm", "nemotron", "glm4",
         "command-r", "cohere2", "phi2", "ernie4_5", "olmoe", "granitemoe"]  # fmt: skip
#: Architectures that are read, and not written.
READ = ["exaone4", "gptneox", "falcon"]


def read(name: str) -> tuple[Contents, Options, dict[str, Any]]:
    found = contents(MappedFile(FOREIGN / f"{name}.gguf"))
    architecture = architecture_of(found.values)
    assert architecture is not None
    options = options_of(architecture, found)
    arrays, unknown, notes = arrays_of(architecture, found, options.config)
    assert (options.problems, unknown, notes) == ([], [], [])
    return found, options, {key: each.read() for key, each in arrays.items()}


@pytest.mark.parametrize("name", [*NAMES, *READ])
def test_transformers_builds_what_was_converted(name: str) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    _, options, arrays = read(name)
    kind = getattr(transformers, options.architecture.model)
    config = kind.config_class.from_dict(options.config)
    network, info = kind.from_pretrained(
        None,
        config=config,
        state_dict={key: torch.tensor(each) for key, each in arrays.items()},
        output_loading_info=True,
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with np.load(FOREIGN / f"{name}.npz") as known, torch.no_grad():
        found = network.eval()(torch.from_numpy(known["x"])).logits.numpy()
        assert np.abs(found - known["y"]).max() < 1e-5 * np.abs(known["y"]).max()


@pytest.mark.parametrize("name", NAMES)
def test_metadata_and_tensors_come_back_as_the_converter_wrote_them(name: str) -> None:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    before, options, arrays = read(name)
    kind = getattr(transformers, options.architecture.model)
    config = json.loads(kind.config_class.from_dict(options.config).to_json_string())
    architecture = OF_KIND[config["model_type"]]
    metadata, made, notes = metadata_of(architecture, config)
    assert (made, notes) == ({}, [])
    found = tensors_of(architecture, {key: Deferred.of(each) for key, each in arrays.items()}, config)
    assert found.keys() == before.tensors.keys()
    for key, each in found.items():
        np.testing.assert_allclose(each.read(), before.tensors[key].array().read(), atol=1e-7 if "norm" in key else 0)
    for key, value in before.values.items():
        if key.startswith(f"{architecture.name}."):
            assert metadata.get(key, (None, None))[1] == pytest.approx(value), key


def relabelled(name: str, called: str, more: dict[str, Any], *, without: str = "") -> Contents:
    """A converter's file under another architecture's name, with other metadata."""
    found = contents(MappedFile(FOREIGN / f"{name}.gguf"))
    before = f"{found.values['general.architecture']}."
    values = {key.replace(before, f"{called}.", 1): each for key, each in found.values.items() if key != without}
    types = {key.replace(before, f"{called}.", 1): each for key, each in found.types.items()}
    values |= {"general.architecture": called, **{f"{called}.{key}": each for key, each in more.items()}}
    return Contents(values, types, found.tensors, 0)


@pytest.mark.parametrize(
    ("called", "name", "more"),
    [
        ("internlm2", "half", {}),
        ("qwen2vl", "qwen2", {"rope.dimension_sections": [2, 1, 1, 0]}),
        ("qwen3vl", "qwen3", {"rope.dimension_sections": [2, 1, 1, 0], "n_deepstack_layers": 3}),
        ("qwen3vlmoe", "qwen3moe", {"rope.dimension_sections": [2, 1, 1, 0], "n_deepstack_layers": 3}),
    ],
)
def test_what_has_another_name_and_is_the_same_network(called: str, name: str, more: dict[str, Any]) -> None:
    found = relabelled(name, called, more)
    architecture = architecture_of(found.values)
    assert architecture is not None
    options = options_of(architecture, found)
    arrays, unknown, _ = arrays_of(architecture, found, options.config)
    assert (options.problems, unknown) == ([], [])
    _, wanted, expected = read(name)
    assert options.config == wanted.config
    assert arrays.keys() == expected.keys()
    for key, each in arrays.items():
        np.testing.assert_array_equal(each.read(), expected[key])


def test_mini_cpm_scales_as_granite_does_and_says_by_what() -> None:
    found = relabelled("granite", "minicpm", {}, without="granite.attention.scale")
    architecture = architecture_of(found.values)
    assert architecture is not None
    options = options_of(architecture, found)
    assert options.problems == []
    wanted = read("granite")[1].config
    assert options.config == wanted | {"attention_multiplier": wanted["head_dim"] ** -0.5}
    values = {key: each for key, each in found.values.items() if not key.endswith("logit_scale")}
    options = options_of(architecture, Contents(values, found.types, found.tensors, 0))
    assert [where for where, _ in options.problems] == ["minicpm.logit_scale"]


def test_falcon_with_several_keys_is_refused() -> None:
    found = contents(MappedFile(FOREIGN / "falcon.gguf"))
    values = found.values | {"falcon.attention.head_count_kv": 2}
    architecture = architecture_of(values)
    assert architecture is not None
    problems = options_of(architecture, Contents(values, found.types, found.tensors, 0)).problems
    assert ("falcon.attention.head_count_kv", "is 2, expected one key for all heads") in problems


#: Keys without which a file says as much: tensors have these sizes, or llama.cpp takes the same for all networks.
TOLD_OTHERWISE = {"context_length", "embedding_length", "block_count", "feed_forward_length", "rope.freq_base",
                  "attention.head_count_kv", "attention.key_length", "attention.value_length", "vocab_size",
                  "rope.dimension_count", "expert_count", "expert_feed_forward_length",
                  "expert_shared_feed_forward_length"}  # fmt: skip
#: What llama.cpp takes where a file does not say (src/llama-hparams.h, src/models/gemma2.cpp, granite.cpp).
TAKEN: dict[str, dict[str, Any]] = {
    "gemma2": {"attention.sliding_window": 4096, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    "granite": {"attention.scale": 4**-0.5, "embedding_scale": None, "residual_scale": None},
    "granitemoe": {"attention.scale": 4**-0.5, "embedding_scale": None, "residual_scale": None},
    "phi3": {"attention.sliding_window": None},
    "exaone4": {"attention.sliding_window": None},
    "gemma3": {"rope.freq_base_swa": 10000.0, "final_logit_softcapping": None},
}


@pytest.mark.parametrize("name", [*NAMES, *READ, "llama", "mixtral", "gemma", "gemma2", "gemma3", "phi3", "gpt2",
                                  "qwen2", "qwen2moe", "qwen3", "qwen3moe", "bert"])  # fmt: skip
def test_what_a_file_does_not_say_is_refused_or_what_llama_cpp_takes(name: str) -> None:
    found = contents(MappedFile(FOREIGN / f"{name}.gguf"))
    architecture = architecture_of(found.values)
    assert architecture is not None
    taken = TAKEN.get(architecture.name, {})
    for key, (option, _) in architecture.keys.items():
        whole = f"{architecture.name}.{key}"
        if whole not in found.values or ("rms_" in key and key.replace("rms_", "") in architecture.keys):
            continue
        values = {each: value for each, value in found.values.items() if each != whole}
        options = options_of(architecture, Contents(values, found.types, found.tensors, 0))
        if key in taken:
            assert options.problems == [], key
            assert options.config.get(option) == (pytest.approx(taken[key]) if taken[key] else None), key
        elif key not in TOLD_OTHERWISE:
            assert (whole, "is missing, and without it the network is not known") in options.problems


@pytest.mark.parametrize("name", ["granite", "granitemoe"])
def test_granite_without_rotary_positions_is_refused(name: str) -> None:
    found = contents(MappedFile(FOREIGN / f"{name}.gguf"))
    architecture = architecture_of(found.values)
    assert architecture is not None
    values = found.values | {f"{name}.rope.scaling.finetuned": False}
    problems = options_of(architecture, Contents(values, found.types, found.tensors, 0)).problems
    assert [where for where, _ in problems] == [f"{name}.rope.scaling.finetuned"]
