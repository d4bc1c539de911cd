"""Networks of packages that read words, and the attention that people take from packages."""

from __future__ import annotations

from pkgutil import resolve_name as named
from typing import Any

from tests.coverage.packages.giving import Called, Networks, floats, ids, truths


def _x(name: str = "Decoder", *, length: int = 12, **more: Any) -> Any:
    layers = named(f"x_transformers:{name}")(dim=16, depth=2, heads=2, attn_dim_head=8, **more)
    return named("x_transformers:TransformerWrapper")(num_tokens=32, max_seq_len=length, attn_layers=layers)


_WORDS = {
    name: lambda more=more: (_x(**more), ids(2, 12, to=32))
    for name, more in {
        "a decoder": {}, "an encoder": {"name": "Encoder"}, "rotary": {"rotary_pos_emb": True},
        "rotary xpos": {"rotary_xpos": True}, "ALiBi": {"alibi_pos_bias": True, "alibi_num_heads": 1},
        "T5's bias": {"rel_pos_bias": True}, "dynamic bias": {"dynamic_pos_bias": True},
        "RMSNorm and GLU": {"use_rmsnorm": True, "ff_glu": True, "ff_swish": True},
        "ScaleNorm": {"use_scalenorm": True}, "gates of GRU": {"gate_residual": True},
        "normalised queries": {"attn_qk_norm": True}, "talking heads": {"attn_pre_talking_heads": True},
        "keys of one head": {"attn_one_kv_head": True}, "keys of few heads": {"attn_kv_heads": 1},
        "memories": {"attn_num_mem_kv": 2}, "sandwich": {"sandwich_norm": True}, "macaron": {"macaron": True},
        "sparse top k": {"attn_sparse_topk": 4}, "shifted tokens": {"shift_tokens": 1},
        "residual attention": {"residual_attn": True}, "gated values": {"attn_gate_values": True},
        "dynamic tanh": {"use_dynamic_tanh": True}, "hyper connections": {"num_residual_streams": 2},
        "LASER": {"attn_laser": True}, "softclamped": {"attn_softclamp_logits": True},
    }.items()
}  # fmt: skip

NETWORKS: Networks = {
    "x-transformers": _WORDS | {
        "an encoder with a mask": lambda: (Called(_x("Encoder"), "mask"), truths(2, 12), ids(2, 12, to=32)),
        "ViTransformerWrapper": lambda: (
            named("x_transformers:ViTransformerWrapper")(
                image_size=32, patch_size=8, num_classes=5,
                attn_layers=named("x_transformers:Encoder")(dim=16, depth=2, heads=2, attn_dim_head=8)),
            floats(2, 3, 32, 32)),
        "ContinuousTransformerWrapper": lambda: (
            named("x_transformers:ContinuousTransformerWrapper")(
                dim_in=6, dim_out=5, max_seq_len=12,
                attn_layers=named("x_transformers:Encoder")(dim=16, depth=2, heads=2, attn_dim_head=8)),
            floats(2, 12, 6)),
    },
    "performer-pytorch": {
        "Performer": lambda: (named("performer_pytorch:Performer")(dim=16, depth=1, heads=2, dim_head=8, nb_features=8),
                              floats(2, 12, 16)),
        "PerformerLM": lambda: (named("performer_pytorch:PerformerLM")(
            num_tokens=32, max_seq_len=12, dim=16, depth=1, heads=2, dim_head=8, nb_features=8), ids(2, 12, to=32)),
    },
    "reformer-pytorch": {
        "LSH attention": lambda: (named("reformer_pytorch:Reformer")(
            dim=16, depth=1, heads=2, bucket_size=4, n_hashes=2), floats(2, 16, 16)),
        "local attention": lambda: (named("local_attention:LocalTransformer")(
            num_tokens=32, dim=16, depth=1, max_seq_len=16, causal=True, local_attn_window_size=4, heads=2,
            dim_head=8), ids(2, 16, to=32)),
    },
    "linear-attention-transformer": {
        "LinearAttentionTransformerLM": lambda: (
            named("linear_attention_transformer:LinearAttentionTransformerLM")(
                num_tokens=32, dim=16, heads=2, depth=1, max_seq_len=16, local_attn_window_size=4,
                n_local_attn_heads=1),
            ids(2, 16, to=32)),
    },
    "nystrom-attention": {
        "Nystromformer": lambda: (named("nystrom_attention:Nystromformer")(
            dim=16, dim_head=8, heads=2, depth=1, num_landmarks=4, pinv_iterations=3), floats(2, 16, 16)),
    },
    "perceiver-pytorch": {
        "Perceiver": lambda: (named("perceiver_pytorch:Perceiver")(
            num_freq_bands=2, max_freq=4.0, depth=2, input_channels=3, num_latents=4, latent_dim=16, cross_heads=1,
            latent_heads=2, cross_dim_head=8, latent_dim_head=8, num_classes=5), floats(2, 8, 8, 3)),
        "PerceiverIO": lambda: (named("perceiver_pytorch:PerceiverIO")(
            depth=1, dim=16, queries_dim=8, logits_dim=5, num_latents=4, latent_dim=16, cross_heads=1, latent_heads=2,
            cross_dim_head=8, latent_dim_head=8), floats(2, 12, 16)),
    },
    "rotary-embedding-torch": {
        "rotary": lambda: (Called(named("rotary_embedding_torch:RotaryEmbedding")(dim=8),
                                  method="rotate_queries_or_keys"), floats(2, 2, 12, 8)),
    },
    "vector-quantize-pytorch": {
        "VectorQuantize": lambda: (_initiated("VectorQuantize", dim=8, codebook_size=16, codebook_dim=4),
                                   floats(2, 6, 8)),
        "cosines": lambda: (_initiated("VectorQuantize", dim=8, codebook_size=16, use_cosine_sim=True),
                            floats(2, 6, 8)),
        "ResidualVQ": lambda: (_initiated("ResidualVQ", dim=8, codebook_size=16, num_quantizers=2), floats(2, 6, 8)),
        "FSQ": lambda: (_initiated("FSQ", levels=[4, 4, 3]), floats(2, 6, 3)),
        "LFQ": lambda: (_initiated("LFQ", codebook_size=16, dim=4), floats(2, 6, 4)),
        "LatentQuantize": lambda: (_initiated("LatentQuantize", levels=[4, 4], dim=8), floats(2, 6, 8)),
        "SimVQ": lambda: (_initiated("SimVQ", dim=8, codebook_size=16), floats(2, 6, 8)),
    },
    "sentence-transformers": {
        "pooling": lambda: (_Sentences("mean"), floats(2, 6, 8), truths(2, 6).long()),
        "pooling, largest": lambda: (_Sentences("max"), floats(2, 6, 8), truths(2, 6).long()),
        "pooling, weighted": lambda: (_Sentences("weightedmean"), floats(2, 6, 8), truths(2, 6).long()),
        "pooling, last": lambda: (_Sentences("lasttoken"), floats(2, 6, 8), truths(2, 6).long()),
    },
    "chronos-forecasting": {
        "Chronos-Bolt": lambda: (_bolt(), floats(2, 32)),
    },
}  # fmt: skip


def _initiated(name: str, **given: Any) -> Any:
    quantiser = named(f"vector_quantize_pytorch:{name}")(**given)
    for each, buffer in quantiser.named_buffers():
        if each.endswith("initted"):
            buffer.fill_(True)
    return quantiser


def _bolt() -> Any:
    from transformers import T5Config

    config = T5Config(
        vocab_size=2, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0, decoder_start_token_id=0,
        chronos_config={"context_length": 32, "prediction_length": 8, "input_patch_size": 8, "input_patch_stride": 8,
                        "quantiles": [0.1, 0.5, 0.9], "use_reg_token": True},
    )  # fmt: skip
    return Called(named("chronos.chronos_bolt:ChronosBoltModelForForecasting")(config))


class _Sentences(Called):
    """Vectors of words as one of a sentence."""

    def __init__(self, mode: str) -> None:
        super().__init__(named("sentence_transformers.models:Pooling")(8, pooling_mode=mode))

    def forward(self, words: Any, mask: Any) -> Any:
        """The sentence."""
        given = {"token_embeddings": words, "attention_mask": mask}
        return self.network(given)["sentence_embedding"]
