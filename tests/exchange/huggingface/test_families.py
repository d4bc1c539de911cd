"""Families that are read without transformers: what it computes, of small models, at other lengths and alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from modelarchive.exchange import huggingface
from modelarchive.exchange.huggingface import t5
from tests.exchange.huggingface.models import expected, inputs_of, model, several
from tests.zoo.comparison import error
from tests.zoo.conftest import transformers

__all__ = ["transformers"]  # the fixture
pytestmark = pytest.mark.usefixtures("alone")
torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    "name", ["T5ForConditionalGeneration, every option", "T5Model", "LlamaForSequenceClassification"]
)
def test_any_number_and_length_and_no_mask(name, transformers, tmp_path):
    module = model(name, transformers, torch)
    module.save_pretrained(tmp_path / "theirs")
    names = ["input_ids", *(["decoder_input_ids"] if name.startswith("T5") else [])]
    net = huggingface.read(tmp_path / "theirs", inputs=names).build()
    rng = np.random.default_rng(0)
    for batch, length in ((1, 1), (2, 5), (3, 60)):
        inputs = {each: rng.integers(3, 40, (batch, length + at)) for at, each in enumerate(names)}
        for found, wanted in zip(several(net(*inputs.values())), expected(module, inputs, torch), strict=True):
            assert error(found, wanted) < 1e-5, (batch, length)


@pytest.mark.parametrize("count", [2, 4, 8, 16, 32, 64])
def test_kinds_of_distances_are_those_of_transformers(count, transformers):
    bucket = transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket
    for furthest in (count // 2 + 1, count, 3 * count + 1, 128, 1000):
        if furthest <= count // 2:
            continue
        far = torch.arange(0, 2 * furthest)
        wanted = bucket(-far, bidirectional=False, num_buckets=count, max_distance=furthest).numpy()
        exact, distance = count // 2, far.numpy()
        wide = exact + (distance[:, None] >= t5._thresholds(count, furthest)).sum(axis=1)
        np.testing.assert_array_equal(np.where(distance < exact, distance, wide), wanted, str((count, furthest)))


def test_the_last_place_where_no_padding_is_known(transformers, tmp_path):
    module = model("LlamaForSequenceClassification", transformers, torch)
    module.save_pretrained(tmp_path / "theirs")
    values = json.loads((tmp_path / "theirs" / "config.json").read_text("utf-8"))
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(values | {"pad_token_id": None}), "utf-8")
    bundle = huggingface.read(tmp_path / "theirs")
    assert [note.where for note in bundle.notes] == ["pad_token_id"]
    words = np.random.default_rng(0).integers(6, 40, (3, 9))
    assert error(bundle.build()(words), expected(module, {"input_ids": words}, torch)[0]) < 1e-5


def test_half_the_width(transformers, tmp_path):
    """Numbers that are rounded to the dtype of the parameters: the network is found again."""
    for name in ("GemmaForCausalLM", "ViTModel", "T5Model", "Gemma2Model"):
        module = model(name, transformers, torch).to(torch.bfloat16)
        module.save_pretrained(tmp_path / name)
        bundle = huggingface.read(tmp_path / name)
        inputs = inputs_of(bundle.architecture)
        tensors = {key: torch.from_numpy(array) for key, array in inputs.items()}
        with torch.no_grad():
            wanted = [each.float().numpy() for each in module(**tensors).values() if torch.is_tensor(each)]
        for found, other in zip(several(bundle.build()(*inputs.values())), wanted, strict=True):
            assert error(found.astype(np.float32), other) < 0.1, name
        assert huggingface.write(bundle, tmp_path / f"{name} again", durable=False) == []
