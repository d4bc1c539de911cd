"""Rotary positions of generated configurations, in both spellings: as transformers has them, or refused by name."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange import huggingface
from modelarchive.exchange.huggingface.config import Config
from modelarchive.exchange.huggingface.rotary import rotary_of
from tests.exchange.huggingface.models import logits, saved
from tests.exchange.huggingface.test_reading import copied
from tests.zoo.comparison import error
from tests.zoo.conftest import transformers

__all__ = ["transformers"]  # the fixture
pytestmark = pytest.mark.usefixtures("alone")

FAMILIES = ("llama", "mistral", "qwen2")
TYPES = ("default", "linear", "llama3", "dynamic", "yarn", "longrope", "proportional", "su", None)
#: What a setting may be: some that fit, some that are bad.
SETTINGS = {
    "rope_theta": (100.0, 10000, 5e5),
    "factor": (2.0, 8, 1.5),
    "low_freq_factor": (1.0, 2),
    "high_freq_factor": (4.0, 8),
    "original_max_position_embeddings": (8, 16),
    "attention_factor": (0.7, 1.5),
    "beta_fast": (32, 4.0),
    "beta_slow": (1,),
    "mscale": (0.7,),
    "mscale_all_dim": (1.2,),
    "short_factor": ([1.0] * 3,),
    "long_factor": ([2.0] * 3,),
    "truncate": (False,),
    "mrope_section": ([1, 1, 1],),
}
NEEDED = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
}


def drawn(rng, *, is_whole):
    """Settings of one place: a type in either spelling, or both, what it needs, and some that it does not."""

    def one_of(values):
        return values[rng.integers(len(values))]

    kind = one_of(TYPES[:3] if is_whole else TYPES)
    found = {}
    if rng.random() < 0.9:
        found[one_of(("type", "rope_type"))] = kind
    if rng.random() < 0.1:
        found["type"] = one_of(TYPES)
    names = NEEDED.get(kind, ()) if is_whole or rng.random() < 0.9 else ()
    more = [name for name in SETTINGS if rng.random() < 0.15]
    return found | {name: one_of(SETTINGS[name]) for name in (*names, *more)}


def configuration(seed):
    """Options beside the sizes: settings in one place or in both, and at the top level."""
    rng = np.random.default_rng(seed)
    found = {"max_position_embeddings": int(rng.choice([16, 64]))}
    for name, often in (("rope_parameters", 0.6), ("rope_scaling", 0.6)):
        if rng.random() < often:
            found[name] = drawn(rng, is_whole=rng.random() < 0.7) if rng.random() < 0.9 else [None, {}][rng.integers(2)]
    if rng.random() < 0.5:
        found["rope_theta"] = [50.0, 1e6][rng.integers(2)]
    if rng.random() < 0.3:
        found["original_max_position_embeddings"] = int(rng.choice([4, 12]))
    if rng.random() < 0.1:
        found["partial_rotary_factor"] = [1.0, 0.5][rng.integers(2)]
    return found


@pytest.fixture(scope="module")
def folders(transformers, tmp_path_factory):
    """A small model of each family, without any word on rotary positions in its config.json."""
    torch = pytest.importorskip("torch")
    found = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family)
        values = saved(family, transformers, torch, folder)
        found[family] = folder, {name: value for name, value in values.items() if name != "rope_parameters"}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_generated_configurations(family, transformers, folders, tmp_path):
    torch = pytest.importorskip("torch")
    folder, values = folders[family]
    outcomes = Counter()
    for seed in range(60):
        options = configuration(seed)
        (folder / "config.json").write_text(json.dumps(values | options), "utf-8")
        try:
            bundle = huggingface.read(folder)
        except ma.ConversionError as refused:
            places = {where for where, _ in refused.unsupported}
            assert places <= {*options}, options
            outcomes["refused"] += 1
            continue
        words = np.random.default_rng(seed).integers(5, 40, (1, 40))
        wanted = logits(folder, {"input_ids": words}, transformers, torch)
        assert error(bundle.build()(words), wanted) < 1e-5, options
        kinds = {node["type"] for node in scalings(bundle.architecture)} or {"default"}
        outcomes[kinds.pop()] += 1
        if seed % 4 == 0:
            for metadata in (bundle.metadata, {})[: 1 + (family == "llama")]:  # windows are told from no network
                bundle.metadata = metadata
                again = tmp_path / f"{seed}-{len(metadata)}"
                huggingface.write(bundle, again, durable=False)
                assert error(logits(again, {"input_ids": words}, transformers, torch), wanted) < 1e-5, options
    assert all(outcomes[kind] >= 4 for kind in ("default", "linear", "llama3", "refused")), outcomes


def scalings(document):
    """Every scaling of rotary positions in an architecture."""
    if isinstance(document, dict):
        if isinstance(document.get("scaling"), dict):
            yield document["scaling"]
        for value in document.values():
            yield from scalings(value)
    elif isinstance(document, list):
        for value in document:
            yield from scalings(value)


ROTARY = {"dim": 8, "base": 10000.0, "style": "halves", "scaling": None}
LINEAR = {"type": "linear", "factor": 4.0}
NUMBERS = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 = {"rope_type": "llama3", **NUMBERS}


@pytest.mark.parametrize(
    ("options", "expected", "where"),
    [
        ({}, ROTARY, []),
        ({"rope_theta": 5}, ROTARY | {"base": 5.0}, []),
        ({"rope_parameters": {"rope_theta": 7.0}, "rope_theta": 5.0}, ROTARY | {"base": 7.0}, ["rope_theta"]),
        ({"rope_parameters": {"rope_theta": 7.0}, "rope_scaling": {}}, ROTARY | {"base": 7.0}, []),
        (
            {"rope_parameters": {"rope_theta": 7.0}, "rope_scaling": LINEAR},  # the base is lost there
            ROTARY | {"scaling": LINEAR},
            ["rope_parameters"],
        ),
        ({"rope_parameters": LINEAR | {"rope_type": "default"}}, ROTARY, ["rope_parameters"] * 2),
        (
            {"rope_scaling": LLAMA3, "rope_parameters": LLAMA3 | {"rope_theta": 10000.0}},
            ROTARY | {"scaling": {**NUMBERS, "type": "llama3", "original_max_position": 64.0}},
            [],
        ),
        (
            {"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 9}, "original_max_position_embeddings": 8},
            ROTARY | {"scaling": {**NUMBERS, "type": "llama3", "original_max_position": 8.0}},
            ["rope_scaling"],
        ),
    ],
)
def test_what_counts_of_two(options, expected, where):
    config = Config(options)
    found = rotary_of(config, 8, longest=64)
    assert config.problems == []
    assert found == expected
    assert [note.where for note in config.notes] == where


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"rope_theta": None}, "rope_theta"),
        ({"rope_theta": True}, "rope_theta"),
        ({"rope_theta": 10**40}, "rope_theta"),
        ({"rope_scaling": "linear"}, "rope_scaling"),
        ({"rope_scaling": [1]}, "rope_scaling"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling"),
        ({"rope_scaling": {"type": "linear", "factor": 10**40}}, "rope_scaling"),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "rope_scaling"),
        ({"rope_scaling": {"type": "linear", "factor": "4"}}, "rope_scaling"),
        ({"rope_scaling": {"type": "linear", "factor": {"__float__": "Infinity"}}}, "rope_scaling"),
        ({"rope_scaling": {"type": "linear", "rope_type": None, "factor": 4.0}}, "rope_scaling"),
        ({"rope_scaling": {"type": ["linear"], "factor": 4.0}}, "rope_scaling"),
        ({"rope_scaling": LINEAR | {"alpha": 1.0}}, "rope_scaling"),
        ({"rope_parameters": {"full_attention": LINEAR}}, "rope_parameters"),
        ({"rope_parameters": {"rope_type": "default", "sliding_attention": None}}, "rope_parameters"),
        ({"rope_parameters": {"rope_type": "proportional", "partial_rotary_factor": 1.0}}, "rope_parameters"),
        ({"rope_parameters": LLAMA3, "original_max_position_embeddings": None}, "rope_parameters"),
        ({"rope_parameters": LLAMA3 | {"high_freq_factor": 1.0}}, "rope_parameters"),
        ({"partial_rotary_factor": 0.25}, "partial_rotary_factor"),
        ({"partial_rotary_factor": "1"}, "partial_rotary_factor"),
        ({"max_position_embeddings": -1}, "max_position_embeddings"),
    ],
)
def test_bad_settings_are_refused_by_name(options, where, tmp_path):
    folder = copied("qwen2", tmp_path)
    values = json.loads((folder / "config.json").read_text("utf-8"))
    del values["rope_parameters"]
    (folder / "config.json").write_text(json.dumps(values | options), "utf-8")
    with pytest.raises(ma.ConversionError) as caught:
        huggingface.read(folder)
    assert [each for each, _ in caught.value.unsupported] == [where]
