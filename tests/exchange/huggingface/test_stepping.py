"""Networks that go over a text word by word."""

from __future__ import annotations

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.exchange.huggingface.stepping import goes_by_words
from tests.zoo.conftest import transformers

__all__ = ["transformers"]  # the fixture
torch = pytest.importorskip("torch")


def test_calls_that_grow_with_a_text_are_told():
    def given(length):
        return {"x": torch.ones(2, length)}

    def by_words(x):
        total = x[:, 0]
        for place in range(x.shape[1]):
            total = total * 0.5 + x[:, place]
        return total

    def short(x):
        return x.view(2, 5).cumsum(1)

    assert goes_by_words(by_words, given, 5)
    assert not goes_by_words(lambda x: x.cumsum(1).softmax(1), given, 5)
    assert not goes_by_words(short, given, 5)  # does not run on more


@pytest.mark.slow
def test_mamba_is_read_for_texts_of_one_length(transformers, tmp_path):
    config = transformers.MambaConfig(vocab_size=40, hidden_size=8, num_hidden_layers=1, state_size=4)
    module = transformers.MambaModel(config).eval()
    module.save_pretrained(tmp_path / "x")
    (note,) = ma.convert(tmp_path / "x", tmp_path / "x.h5", durable=False)
    assert str(note) == "inputs: texts are of 16 words: the network goes over them word by word"
    words = np.random.default_rng(0).integers(1, 40, (3, 16))
    with torch.no_grad():
        wanted = module(torch.from_numpy(words), use_cache=False).last_hidden_state.numpy()
    found = ma.load_model(tmp_path / "x.h5")(words, np.ones_like(words))
    np.testing.assert_allclose(
        np.asarray(next(iter(found.values())) if isinstance(found, dict) else found), wanted, atol=1e-5
    )
