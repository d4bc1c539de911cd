"""Every option of config.json: it counts as in transformers, or is refused by name, or is known to change nothing."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest

import modelarchive as ma
from modelarchive.exchange import huggingface
from modelarchive.exchange.huggingface import reading
from modelarchive.exchange.huggingface.config import ACTIVATIONS, Config
from modelarchive.exchange.huggingface.families import FAMILIES
from modelarchive.exchange.huggingface.harmless import harmless
from modelarchive.exchange.huggingface.traits import Traits
from tests.exchange.huggingface.models import SMALL, given, logits, saved, several
from tests.exchange.huggingface.test_reading import FOREIGN, copied
from tests.sampling import some
from tests.zoo.comparison import error
from tests.zoo.conftest import transformers

__all__ = ["transformers"]  # the fixture
pytestmark = pytest.mark.usefixtures("alone")

#: Options of which not every value fits, and another one that does.
ALTERED = {
    "_attn_implementation": "eager", "cache_implementation": "hybrid",
    "attn_implementation": "eager", "chunk_size_feed_forward": 3, "dtype": "float32",
    "id2label": {"0": "a"}, "label2id": {"a": 0}, "output_attentions": False, "problem_type": "regression",
    "torch_dtype": "float32", "return_dict": True,
}  # fmt: skip
#: Options of which we take values that transformers does not.
LENIENT = (
    "final_logit_softcapping",
    "head_dim",
    "hidden_size",
    "num_attention_heads",
    "pad_token_id",
    "sliding_window",
)
#: Options that shared code of transformers asks for, whatever the family.
SHARED = {
    "is_causal": (True, False),
    "layer_types": (["full_attention"] * 3, ["sliding_attention"] * 3, ["full_attention"] * 2 + ["sliding_attention"]),
    "sliding_window": (2, None),
    "attention_chunk_size": (2,),
    "per_layer_config": ({"1": {"layer_norm_eps": 0.1, "rms_norm_eps": 0.1}},),
    "kv_sharing_modes": (["reuse"] * 3,),
    "tie_word_embeddings": (True, False),
    "is_decoder": (True,),
    "add_cross_attention": (True,),
    "is_encoder_decoder": (True,),
    "configuration_files": (["config.4.0.0.json"],),
    "transformers_weights": ("other.safetensors",),
    "quantization_config": ({"quant_method": "aqlm"},),
    "fusion_config": ({"mlp": True},),
    "num_attention_heads": (2, None),
    "n_head": (2,),
    "hidden_size": (None, 24),
    "attention_bias": (True,),
    "mlp_bias": (True,),
    "partial_rotary_factor": (0.5,),
    "pad_token_id": (None, 0, 3, -1, 99),
    "scale_attn_weights": (False, None),
    "n_inner": (None,),
    "use_sliding_window": (False,),
    "head_dim": (None, 6),
    "num_key_value_heads": (None,),
}


@pytest.fixture(scope="module")
def folders(transformers, tmp_path_factory):
    """A small model of each family, and what its config.json says."""
    torch = pytest.importorskip("torch")
    found = {}
    for family in SMALL:
        folder = tmp_path_factory.mktemp(family)
        found[family] = folder, saved(family, transformers, torch, folder)
    return found


def compared(folder, values, transformers, torch):
    """Write config.json; where it is refused, or what it is read as, with the outputs of transformers if it has any."""
    (folder / "config.json").write_text(json.dumps(values), "utf-8")
    try:
        bundle = huggingface.read(folder, inputs=list(given(values)))
    except ma.ConversionError as refused:
        return {where for where, _ in refused.unsupported}
    try:
        wanted = logits(folder, given(values), transformers, torch)
    except Exception:  # of any kind: transformers itself cannot do with it
        return None
    # Some of the options make the last digits count, and these differ from processor to processor.
    assert error(several(bundle.build()(*given(values).values()))[0], wanted) < 5e-5, values
    return bundle


def others(value):
    """Other values of the type."""
    match value:
        case bool():
            return (not value,)
        case int():
            return (value + 1, value * 2)
        case float():
            return (value * 3 + 0.05,)
        case str():
            return ("relu", "unheard of")
        case _:
            return (True, 7, 0.5, "unheard of")


def another(cls, name):
    """A value of an option that is not its usual one, and that transformers takes."""
    candidates = (ALTERED[name],) if name in ALTERED else others(made(cls).get(name))
    return next(value for value in candidates if made(cls, **{name: value}) is not None)


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in SMALL if family not in ("xlm-roberta", "camembert")])
def test_options_count_or_are_refused(family, transformers, folders):
    """One at a time, those of the family's own class and those that all may have."""
    torch = pytest.importorskip("torch")
    folder, values = folders[family]
    own = {name: others(value) for name, value in values.items() if name not in harmless(family)}
    own.pop("rope_parameters" if "rope_parameters" in own else "vocab_size", None)  # see test_rotary.py
    known = {*values, *SHARED}
    outcomes = Counter()
    for name, altered in [*own.items(), *SHARED.items()]:
        for value in altered:
            if name in values and values[name] == value:
                continue
            found = compared(folder, values | {name: value}, transformers, torch)
            outcomes[type(found).__name__] += 1
            if isinstance(found, set):  # by the option's name, or those of the parameters that do not fit
                assert name in found or all("." in each or each in known for each in found), (name, value, found)
            elif found is None:
                assert name in LENIENT, (name, value)
    assert outcomes["Bundle"] > 3, outcomes
    assert outcomes["set"] > 10, outcomes


@pytest.mark.parametrize("family", SMALL)
def test_the_class_has_no_other_options(family, transformers):
    """Each is asked for, or known to change nothing."""
    cls = getattr(transformers, SMALL[family][0]).config_class
    config = Config(cls().to_dict())
    assert FAMILIES[family].make(config, Traits("Model", FAMILIES[family].takes("Model")[0]), 10**6) is not None
    assert (config.problems, config.notes) == ([], [])


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALL)
def test_what_is_not_said_is_as_in_transformers(family, transformers):
    """An option less at a time."""
    cls = getattr(transformers, SMALL[family][0]).config_class
    values, inputs = made(cls, **SMALL[family][1]), FAMILIES[family].takes("Model")[-1]
    for name in set(values) - harmless(family) - {"num_hidden_layers", "n_layers", "n_layer"}:
        less = {key: value for key, value in values.items() if key != name}
        filled = made(cls, **{key: value for key, value in less.items() if key != "model_type"})
        if filled is None:  # the others need it
            continue
        one, other = (FAMILIES[family].make(Config(each), Traits("Model", inputs), 100) for each in (less, filled))
        assert (one is None) == (other is None), name
        if one is not None:
            assert described(one, inputs, less) == described(other, inputs, filled), name


def made(cls, **options):
    """A whole configuration of transformers; None where it does not take the options."""
    try:
        return cls(**options).to_dict()
    except Exception:  # of several kinds
        return None


def described(network, inputs, values):
    shapes = {name: (parameter.shape, parameter.dtype) for name, parameter in network.collect_params().items()}
    return shapes, reading.described(network, inputs, Config(values)).architecture


@pytest.mark.parametrize("family", SMALL)
def test_what_is_said_to_change_nothing_does_not(family, transformers, folders):
    """All of them at once, with other values than there are."""
    torch = pytest.importorskip("torch")
    folder, values = folders[family]
    (folder / "config.json").write_text(json.dumps(values), "utf-8")
    wanted = logits(folder, given(values), transformers, torch)
    plain = huggingface.read(folder).architecture
    cls = getattr(transformers, SMALL[family][0]).config_class
    altered = {name: another(cls, name) for name in harmless(family) - {"model_type", "architectures"}}
    (folder / "config.json").write_text(json.dumps(values | altered), "utf-8")
    assert error(logits(folder, given(values), transformers, torch), wanted) < 1e-5
    assert huggingface.read(folder).architecture == plain


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_activations(family, transformers, folders):
    torch = pytest.importorskip("torch")
    folder, values = folders[family]
    for name in ACTIVATIONS:
        found = compared(folder, values | {"hidden_act": name}, transformers, torch)
        assert not isinstance(found, set), found


@pytest.mark.parametrize("name", ["bert", "gpt2", "qwen2"])
@pytest.mark.parametrize("value", some([1.0, False, "x", [1], {"a": 1}]))
def test_unknown_options_are_refused_and_the_hint_is_followed(name, value, tmp_path):
    folder = copied(name, tmp_path, logit_sparkle=value)
    with pytest.raises(ma.ConversionError, match=r"logit_sparkle: is .*: no option that is known") as caught:
        ma.load_model(folder)
    assert "if 'logit_sparkle' is known to change no output, take it out of config.json" in caught.value.hint
    assert "--parameters-only" in caught.value.hint
    assert ma.convert(folder, tmp_path / "parameters.h5", parameters_only=True)
    values = json.loads((folder / "config.json").read_text("utf-8"))
    bundle = huggingface.read(FOREIGN / name)
    with pytest.raises(ma.ConversionError, match=r"logit_sparkle[^$]*pass config=, what config\.json shall say"):
        huggingface.write(bundle, tmp_path / "written", config=values)

    copy = shutil.copytree(folder, tmp_path / "copy")
    del values["logit_sparkle"]
    huggingface.write(bundle, tmp_path / "written", config=values)
    (copy / "config.json").write_text(json.dumps(values), "utf-8")
    assert huggingface.read(copy).architecture == huggingface.read(FOREIGN / name).architecture


@pytest.mark.parametrize("value", [None, "", [], {}])
def test_unknown_options_that_say_nothing_are_noted(value, tmp_path):
    bundle = huggingface.read(copied("gpt2", tmp_path, logit_sparkle=value))
    assert [note.where for note in bundle.notes if "taken to say nothing" in note.what] == ["logit_sparkle"]


@pytest.mark.parametrize(
    ("name", "options"),
    [("gpt2", {"num_attention_heads": 4}), ("gpt2", {"hidden_size": 16}), ("gpt2", {"max_position_embeddings": 11})],
)
def test_two_names_of_one_option_that_differ(name, options, tmp_path):
    with pytest.raises(ma.ConversionError, match=r"is said twice: n_\w+ \d+ and \w+ \d+"):
        huggingface.read(copied(name, tmp_path, **options))


def test_another_dtype_than_the_files_is_noted(tmp_path):
    (note,) = [
        each for each in huggingface.read(copied("gpt2", tmp_path, dtype="bfloat16")).notes if "dtype" in str(each)
    ]
    assert str(note) == "dtype: is 'bfloat16', the parameters are float32 and stay so"


#: What transformers 4.57 and older, and others' tools, wrote beside what decides anything.
EXTRAS = {
    "bert": {"cross_attention_hidden_size": None, "tf_legacy_loss": False, "pruned_heads": {}, "torchscript": False,
             "position_embedding_type": "absolute", "xla_device": None, "directionality": "bidi",
             "pooler_type": "first_token_transform", "pooler_fc_size": 768, "output_past": True, "_commit_hash": None,
             "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity", "is_decoder": False},
    "gpt2": {"n_ctx": 10, "n_special": 0, "predict_special_tokens": True, "max_length": 20, "do_sample": False,
             "task_specific_params": {"text-generation": {"do_sample": True}}, "add_cross_attention": False},
    "qwen2": {"use_mrope": False, "rope_theta": 10000.0, "rope_scaling": None, "torch_dtype": "bfloat16",
              "unsloth_version": "2025.1", "_attn_implementation_autoset": True, "auto_map": {}, "head_dim": None},
}  # fmt: skip


@pytest.mark.parametrize("name", EXTRAS)
def test_what_real_files_say_more_changes_nothing(name, tmp_path):
    plain, found = huggingface.read(FOREIGN / name), huggingface.read(copied(name, tmp_path, **EXTRAS[name]))
    assert found.architecture == plain.architecture
    assert {str(note) for note in found.notes} == {str(note) for note in plain.notes}


WRITTEN = json.loads((FOREIGN / "configs" / "transformers-4.57.3.json").read_text("utf-8"))


@pytest.mark.parametrize("name", WRITTEN)
def test_what_transformers_4_wrote_means_what_5_takes_it_for(name, transformers):
    old = WRITTEN[name]
    cls = getattr(transformers, f"{name}Config")
    new = made(cls, **{key: value for key, value in old.items() if key != "model_type"})
    networks = []
    for values in (old, new):
        config, family = Config(values), FAMILIES[values["model_type"]]
        network = family.make(config, Traits("Model", ("input_ids",)), 100)
        assert (config.problems, config.notes) == ([], [])
        networks.append(described(network, ("input_ids",), values))
    assert networks[0] == networks[1]
