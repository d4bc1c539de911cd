"""Transformers for texts against PyTorch's and Hugging Face's."""

import math

import numpy as np
import pytest

from modelarchive import zoo
from tests.zoo.comparison import compared, given, randomised, rebuilt

RNG = np.random.default_rng(0)


@pytest.mark.filterwarnings(
    "ignore:The PyTorch API of nested tensors", "ignore:Support for mismatched", "ignore:enable_nested"
)
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_transformer_is_pytorch_s(padded, torch, tmp_path):
    module = randomised(translator(torch), torch)
    net = given(zoo.Transformer(30, 40, 2, 24, 4, 36), module, {"transformer.*": "*"})
    source, target = RNG.integers(0, 30, (3, 7)), RNG.integers(0, 40, (3, 5))
    inputs = (source, target, np.arange(7) < [[7], [4], [1]]) if padded else (source, target)
    compared(net, module, torch, *inputs)
    again = rebuilt(net, tmp_path, *inputs)
    # What was described with texts of one length runs on others.
    other = [x[:, :3] for x in inputs]
    np.testing.assert_array_equal(again(*other), net(*other))


def translator(torch):
    class Translator(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.source = torch.nn.Embedding(30, 24)
            self.target = torch.nn.Embedding(40, 24)
            self.transformer = torch.nn.Transformer(24, 4, 2, 2, 36, batch_first=True)
            # The paper has no normalisation behind the last layers.
            self.transformer.encoder.norm = self.transformer.decoder.norm = None
            self.output = torch.nn.Linear(24, 40)

        def places(self, x):
            position = torch.arange(x.shape[1], dtype=x.dtype)[:, None]
            rate = torch.exp(torch.arange(0, 24, 2, dtype=x.dtype) * (-math.log(10000.0) / 24))
            table = torch.zeros_like(x[0])
            table[:, 0::2], table[:, 1::2] = torch.sin(position * rate), torch.cos(position * rate)
            return x * math.sqrt(24) + table

        def forward(self, source, target, mask=None):
            ahead = torch.triu(torch.ones(target.shape[1], target.shape[1], dtype=torch.bool), 1)
            padding = None if mask is None else ~mask
            x = self.transformer(
                self.places(self.source(source)),
                self.places(self.target(target)),
                tgt_mask=ahead,
                src_key_padding_mask=padding,
                memory_key_padding_mask=padding,
            )
            return self.output(x)

    return Translator()


#: GPT-2's names -> ours.
GPT2_NAMES = {
    "*.attn.c_attn.*": "*.attn.in_proj_*",
    "*.attn.c_proj.*": "*.attn.out_proj.*",
    "*": "*",
}


@pytest.mark.slow
@pytest.mark.parametrize("units", [24, 768])
def test_gpt2_is_transformers_gpt2(units, torch, transformers, tmp_path, request):
    vocabulary, layers, heads, length = 50, 2, 4, 32
    if units == 768:
        whole = request.config.getoption("--full-size")
        vocabulary, layers, heads, length = (50257, 12, 12, 1024) if whole else (500, 2, 12, 64)
    config = transformers.GPT2Config(
        vocab_size=vocabulary,
        n_embd=units,
        n_layer=layers,
        n_head=heads,
        n_positions=length,
        bos_token_id=None,
        eos_token_id=None,
    )
    module = randomised(transformers.GPT2LMHeadModel(config), torch)
    arrays = {}
    for name, tensor in module.state_dict().items():
        array = tensor.numpy().T if ".c_" in name and tensor.ndim == 2 else tensor.numpy()
        # A matrix product of another memory layout may differ in the last bit.
        arrays[name.removeprefix("transformer.")] = np.ascontiguousarray(array)
    net = given(zoo.GPT2(vocabulary, units, layers, heads, length), module, GPT2_NAMES, arrays)
    assert net.lm_head.weight is net.wte.weight
    words = RNG.integers(0, vocabulary, (2, 11))
    compared(net, module, torch, words, call=lambda module, words: module(words).logits)
    again = rebuilt(net, tmp_path, words)
    assert again.lm_head.weight is again.wte.weight
    np.testing.assert_array_equal(again(words[:1, :5]), net(words[:1, :5]))


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "llama3"])
def test_llama_is_transformers_llama(scaled, torch, transformers, tmp_path):
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    scaling = None
    if scaled:
        rope |= {"rope_type": "llama3", "original_max_position_embeddings": 8, **LLAMA3}
        scaling = {"type": "llama3", "original_max_position": 8, **LLAMA3}
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=8,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        rope_parameters=rope,
    )
    module = randomised(transformers.LlamaForCausalLM(config), torch)
    names = {"model.*.o_proj.*": "*.out_proj.*", "model.*": "*"}
    net = given(zoo.Llama(50, 32, 3, 8, 2, 48, scaling=scaling, epsilon=1e-5), module, names)
    words = RNG.integers(0, 50, (2, 13))
    # transformers computes angles and normalises in float32, whatever the dtype of the network.
    limits = {"float32": 1e-5, "float64": 3e-6}
    compared(net, module, torch, words, call=lambda module, words: module(words).logits, limits=limits)
    again = rebuilt(net, tmp_path, words)
    np.testing.assert_array_equal(again(words[:1, :5]), net(words[:1, :5]))
