"""The families of models that are known: what their configurations mean, and how their parameters are called."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from modelarchive import nn
from modelarchive.exchange.huggingface import bert, gemma_options, gpt2, llama, modernbert, t5, vit
from modelarchive.exchange.huggingface.config import Config, as_a_decoder, as_an_encoder
from modelarchive.exchange.huggingface.family import Family
from modelarchive.exchange.huggingface.heads import HEADS, Headed
from modelarchive.exchange.huggingface.rotary import rotary_of
from modelarchive.exchange.huggingface.scoring import TEXTS, WORDS, Scored, scores_of
from modelarchive.exchange.huggingface.traits import Traits
from modelarchive.exchange.huggingface.windows import windows_of


def _encoder(config: Config, traits: Traits, most_layers: int, *, name: str, kind: str, prefix: str) -> nn.Block | None:
    """BERT, RoBERTa or ELECTRA."""
    as_an_encoder(config)
    config.only("position_embedding_type", "absolute", why="positions relative to each other are not read")
    units = config.size("hidden_size", default=256 if kind == "electra" else 768)
    vocabulary = config.size("vocab_size", default=50265 if name == "roberta" else 30522)
    padding = config.index("pad_token_id", default=1 if kind == "roberta" else 0, below=vocabulary)
    if kind == "roberta" and padding is None:
        config.refuse("pad_token_id", "is needed: positions are counted from it on")
    settings = bert.Settings(
        vocabulary=vocabulary,
        embedding_units=config.size("embedding_size", default=128) if kind == "electra" else units,
        units=units,
        layers=config.size("num_hidden_layers", default=12, most=most_layers),
        heads=_heads(config, "num_attention_heads", 4 if kind == "electra" else 12, units),
        hidden_units=config.size("intermediate_size", default=1024 if kind == "electra" else 3072),
        max_length=config.size("max_position_embeddings", default=512),
        segments=config.size("type_vocab_size", default=2, least=0),
        epsilon=config.number("layer_norm_eps", default=1e-12),
        activation=config.activation("hidden_act", default="gelu"),
        padding=padding,
        counts_words=kind == "roberta",
        labels=config.labels(),
        tied=config.flag("tie_word_embeddings", default=True),
    )
    return _network(config, settings, traits, kind, prefix)


def _distilbert(config: Config, traits: Traits, most_layers: int) -> nn.Block | None:
    as_an_encoder(config)
    units = config.size("dim", "hidden_size", default=768)
    vocabulary = config.size("vocab_size", default=30522)
    settings = bert.Settings(
        vocabulary=vocabulary,
        embedding_units=units,
        units=units,
        layers=config.size("n_layers", "num_hidden_layers", default=6, most=most_layers),
        heads=_heads(config, "n_heads", 12, units, "num_attention_heads"),
        hidden_units=config.size("hidden_dim", default=3072),
        max_length=config.size("max_position_embeddings", default=512),
        segments=0,
        epsilon=1e-12,
        activation=config.activation("activation", default="gelu"),
        padding=config.index("pad_token_id", default=0, below=vocabulary),
        labels=config.labels(),
        tied=config.flag("tie_word_embeddings", default=True),
    )
    return _network(config, settings, traits, "distilbert", "distilbert")


def _network(config: Config, settings: bert.Settings, traits: Traits, kind: str, prefix: str) -> nn.Block | None:
    config.refuse_unknown(kind)
    if not settings.segments and len(traits.inputs) > 2:
        config.refuse("type_vocab_size", "is 0: the network takes no token_type_ids")
    if config.problems:
        return None
    head = HEADS[kind][traits.head]
    tied = settings.tied if traits.is_tied is None else traits.is_tied
    if head is None:
        has_pooler = traits.has_pooler and kind in ("bert", "roberta")
        return bert.Trunk(replace(settings, has_pooler=has_pooler), traits.pooling)
    return Headed(replace(settings, has_pooler=head.pools, tied=tied), prefix, head)


def _gpt2(config: Config, traits: Traits, most_layers: int) -> nn.Block | None:
    as_a_decoder(config)
    units = config.size("n_embd", "hidden_size", default=768)
    tied = config.flag("tie_word_embeddings", default=True)
    settings = gpt2.Settings(
        vocabulary=config.size("vocab_size", default=50257),
        units=units,
        layers=config.size("n_layer", "num_hidden_layers", default=12, most=most_layers),
        heads=_heads(config, "n_head", 12, units, "num_attention_heads"),
        hidden_units=config.size("n_inner", default=4 * units, null=4 * units),
        max_length=config.size("n_positions", "max_position_embeddings", default=1024),
        epsilon=config.number("layer_norm_epsilon", default=1e-5),
        activation=config.activation("activation_function", default="gelu_new"),
        is_scaled=config.flag("scale_attn_weights", default=True),
        is_scaled_by_layer=config.flag("scale_attn_by_inverse_layer_idx", default=False),
        tied=tied if traits.is_tied is None else traits.is_tied,
    )
    scores = scores_of(config, traits.head, layer_of_words="classifier")
    if traits.pooling is not None:
        config.refuse("modules.json", "is of sentences, and the family is read without")
    config.refuse_unknown("gpt2")
    if config.problems:
        return None
    has_mask = len(traits.inputs) > 1
    if scores is not None:
        return Scored(gpt2.trunk(settings, has_mask=has_mask), "transformer", scores)
    if traits.head == "Model":
        return gpt2.trunk(settings, has_mask=has_mask)
    return gpt2.guesser(settings, has_mask=has_mask, is_flat=traits.is_flat)


def _llama(config: Config, traits: Traits, most_layers: int, *, kind: str) -> nn.Block | None:
    as_a_decoder(config)
    units = config.size("hidden_size", default=4096)
    vocabulary = config.size("vocab_size", default=151936 if kind == "qwen2" else 32000)
    heads = config.size("num_attention_heads", default=32)
    if config.get("head_dim") is None and units % heads:
        config.refuse("num_attention_heads", f"is {heads}, which does not divide hidden_size {units}")
    head_dim = config.size("head_dim", default=max(1, units // heads), null=max(1, units // heads))
    default = {"mistral": 8, "qwen2": 32}.get(kind, heads)
    kv_heads = config.size("num_key_value_heads", default=default, null=heads)
    if heads % kv_heads:
        config.refuse("num_key_value_heads", f"is {kv_heads}, which does not divide num_attention_heads {heads}")
    if head_dim % 2:
        config.refuse("head_dim", f"is {head_dim}, expected an even number")
    layers = config.size("num_hidden_layers", default=32, most=most_layers)
    if kind == "llama":
        use_bias = (config.flag("attention_bias", default=False),) * 4
    else:
        use_bias = (kind == "qwen2",) * 3 + (False,)
        config.only("mlp_bias", False)
    if kind == "mistral":
        config.only("attention_bias", False)
    tied = config.flag("tie_word_embeddings", default=False)
    window, windowed = windows_of(config, layers, kind)
    defaults = {"llama": 11008, "mistral": 14336, "qwen2": 22016}
    longest = config.size("max_position_embeddings", default={"llama": 2048, "mistral": 131072, "qwen2": 32768}[kind])
    rotary = rotary_of(config, head_dim, longest=longest)
    settings = llama.Settings(
        vocabulary=vocabulary,
        units=units,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        hidden_units=config.size("intermediate_size", default=defaults[kind]),
        epsilon=config.number("rms_norm_eps", default=1e-6),
        activation=config.activation("hidden_act", default="silu"),
        rotary=rotary,
        use_bias=use_bias,
        use_mlp_bias=config.flag("mlp_bias", default=False) if kind == "llama" else False,
        window=window,
        windowed=windowed,
        padding=config.index("pad_token_id", default=None, below=vocabulary),
        tied=tied if traits.is_tied is None else traits.is_tied,
    )
    scores = scores_of(config, traits.head)
    config.refuse_unknown(kind)
    if config.problems:
        return None
    if scores is not None:
        return Scored(llama.Trunk(settings), "model", scores)
    if traits.head == "Model":
        return llama.Trunk(settings, traits.pooling)
    return llama.guesser(settings, has_mask=len(traits.inputs) > 1, is_flat=traits.is_flat)


def _heads(config: Config, name: str, default: int, units: int, *others: str) -> int:
    """A number of heads into which the width falls."""
    heads = config.size(name, *others, default=default)
    if units % heads:
        config.refuse(name, f"is {heads}, which does not divide the width {units}")
    return heads


def _bert_like(name: str, classes: str, *, kind: str, prefix: str) -> Family:
    decoder = {"bert": "cls.predictions.decoder", "roberta": "lm_head.decoder"}.get(kind, "")
    bias = ((decoder.removesuffix("decoder") + "bias", decoder + ".bias"),) if decoder else ()
    return Family(
        name=name,
        classes=classes,
        prefix=prefix,
        heads=tuple(HEADS[kind]),
        make=lambda config, traits, most: _encoder(config, traits, most, name=name, kind=kind, prefix=prefix),
        inputs=bert.INPUTS if kind != "roberta" else bert.INPUTS[:2],
        embedding="embeddings.word_embeddings.weight",
        renames=bias,
        guesses={end: head.guesses for end, head in HEADS[kind].items() if head is not None and head.guesses},
        unused=r"(.*\.)?embeddings\.position_ids",
    )


def _gemma_like(name: str, classes: str, *, trunk: str = "Model") -> Family:
    return replace(
        _llama_like(name, classes),
        make=lambda config, traits, most: gemma_options.network(config, traits, most, kind=name),
        renames=(),
        is_tied=name != "qwen3",
        heads=("Model", "ForCausalLM", *((TEXTS, WORDS) if trunk == "Model" else (f"Text{TEXTS}",))),
        trunk=trunk,
    )


def _llama_like(name: str, classes: str) -> Family:
    return Family(
        name=name,
        classes=classes,
        prefix="model",
        heads=("Model", "ForCausalLM", TEXTS, WORDS),
        make=lambda config, traits, most: _llama(config, traits, most, kind=name),
        inputs=bert.INPUTS[:2],
        usual=1,
        embedding="embed_tokens.weight",
        renames=((".self_attn.o_proj.", ".self_attn.out_proj."),),
        guesses={"ForCausalLM": "lm_head"},
        is_tied=False,
        unused=r".*\.rotary_emb\.inv_freq",
    )


#: ``model_type`` -> family. A new one is a row.
FAMILIES: Final[dict[str, Family]] = {
    family.name: family
    for family in (
        _bert_like("bert", "Bert", kind="bert", prefix="bert"),
        _bert_like("roberta", "Roberta", kind="roberta", prefix="roberta"),
        _bert_like("xlm-roberta", "XLMRoberta", kind="roberta", prefix="roberta"),
        _bert_like("camembert", "Camembert", kind="roberta", prefix="roberta"),
        _bert_like("electra", "Electra", kind="electra", prefix="electra"),
        Family(
            name="distilbert",
            classes="DistilBert",
            prefix="distilbert",
            heads=tuple(HEADS["distilbert"]),
            make=_distilbert,
            inputs=bert.INPUTS[:2],
            embedding="embeddings.word_embeddings.weight",
            renames=(
                ("transformer.layer.", "encoder.layer."),
                (".attention.q_lin.", ".attention.self.query."),
                (".attention.k_lin.", ".attention.self.key."),
                (".attention.v_lin.", ".attention.self.value."),
                (".attention.out_lin.", ".attention.output.dense."),
                (".sa_layer_norm.", ".attention.output.LayerNorm."),
                (".ffn.lin1.", ".intermediate.dense."),
                (".ffn.lin2.", ".output.dense."),
                (".output_layer_norm.", ".output.LayerNorm."),
            ),
            guesses={"ForMaskedLM": "vocab_projector"},
            unused=r"(.*\.)?embeddings\.position_ids",
        ),
        Family(
            name="modernbert",
            classes="ModernBert",
            prefix="model",
            heads=modernbert.HEADS,
            make=modernbert.network,
            inputs=bert.INPUTS[:2],
            embedding="embeddings.tok_embeddings.weight",
            guesses={"ForMaskedLM": "decoder"},
        ),
        Family(
            name="gpt2",
            classes="GPT2",
            prefix="transformer",
            heads=("Model", "LMHeadModel", TEXTS, WORDS),
            make=_gpt2,
            inputs=bert.INPUTS[:2],
            usual=1,
            embedding="wte.weight",
            renames=(
                (".attn.c_attn.weight", ".attn.in_proj_weight"),
                (".attn.c_attn.bias", ".attn.in_proj_bias"),
                (".attn.c_proj.", ".attn.out_proj."),
            ),
            transposed=r".*\.(attn\.in_proj_weight|attn\.out_proj\.weight|mlp\.c_(fc|proj)\.weight)",
            guesses={"LMHeadModel": "lm_head"},
            unused=r".*\.attn\.(bias|masked_bias)",
        ),
        Family(
            name="t5",
            classes="T5",
            prefix="",
            heads=t5.HEADS,
            make=t5.network,
            inputs=t5.TOGETHER["Model"][0],
            together=t5.TOGETHER,
            embedding="shared.weight",
            renames=t5.RENAMES,
            guesses={"ForConditionalGeneration": "lm_head"},
            always_tied=True,
            copies={f"{part}.embed_tokens.weight": "shared.weight" for part in ("encoder", "decoder")},
            unused=r"decoder\..*EncDecAttention\.relative_attention_bias\.weight",
        ),
        Family(
            name="vit",
            classes="ViT",
            prefix="vit",
            heads=vit.HEADS,
            make=vit.network,
            inputs=vit.INPUTS,
            embedding="",
            renames=vit.RENAMES,
        ),
        _llama_like("llama", "Llama"),
        _llama_like("mistral", "Mistral"),
        _llama_like("qwen2", "Qwen2"),
        _gemma_like("qwen3", "Qwen3"),
        _gemma_like("gemma", "Gemma"),
        _gemma_like("gemma2", "Gemma2"),
        _gemma_like("gemma3_text", "Gemma3", trunk="TextModel"),
    )
}
