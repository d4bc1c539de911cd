"""ViT (Dosovitskiy et al. 2020, arXiv:2010.11929) of any shape that its configuration can say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from modelarchive import nn, ops
from modelarchive.exchange.huggingface.config import Config, as_an_encoder
from modelarchive.exchange.huggingface.traits import Traits
from modelarchive.store.strict import short

#: Ends of the class names that are read.
HEADS: Final = ("Model", "ForImageClassification")
#: What its networks take.
INPUTS: Final = ("pixel_values",)
#: Names of parameters in files -> here.
RENAMES: Final = (
    ("encoder.layer.", "layers."),
    (".attention.attention.query.", ".attention.q_proj."),
    (".attention.attention.key.", ".attention.k_proj."),
    (".attention.attention.value.", ".attention.v_proj."),
    (".attention.output.dense.", ".attention.out_proj."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
    (".attention.o_proj.", ".attention.out_proj."),
)


@dataclass(frozen=True)
class Settings:
    """What a ViT is made of.

    Attributes:
        places: Height and width of the picture in patches.
        patch: Height and width of a patch.
        units: Width of the network.
        layers: Number of layers.
        heads: Attention heads of each.
        hidden_units: Width between.
        epsilon: Added to variances.
        activation: Of the wide layers.
        use_bias: Whether the projections of queries, keys and values have a bias.
        pooler: Width of the pooler; 0: there is none.
        pooler_activation: Behind it.
        labels: Classes of the head.
    """

    places: tuple[int, int]
    patch: tuple[int, int]
    units: int
    layers: int
    heads: int
    hidden_units: int
    epsilon: float
    activation: str | None
    use_bias: bool
    pooler: int
    pooler_activation: str | None
    labels: int

    def norm(self) -> nn.Block:
        """A norm of the family."""
        return nn.LayerNorm(epsilon=self.epsilon)


class _Patches(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.projection = nn.Conv2D(settings.units, settings.patch, settings.patch)

    def forward(self, x: Any) -> Any:
        return ops.reshape(self.projection(x), (None, None, -1)).transpose(0, 2, 1)


class _Embeddings(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        height, width = settings.places
        self.cls_token = nn.Parameter((1, 1, settings.units))
        self.position_embeddings = nn.Parameter((1, height * width + 1, settings.units))
        self.patch_embeddings = _Patches(settings)

    def forward(self, x: Any) -> Any:
        patches = self.patch_embeddings(x)
        # The same word before every picture of the batch.
        first = ops.where(patches[:, :1] > 0, self.cls_token.data(), self.cls_token.data())
        return ops.concatenate([first, patches], axis=1) + self.position_embeddings.data()


class _Wide(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.fc1 = nn.Dense(settings.hidden_units, settings.activation, flatten=False)
        self.fc2 = nn.Dense(settings.units, flatten=False)

    def forward(self, x: Any) -> Any:
        return self.fc2(self.fc1(x))


class _Layer(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        use_bias = (settings.use_bias,) * 3 + (True,)
        self.layernorm_before = settings.norm()
        self.attention = nn.MultiHeadAttention(settings.units, settings.heads, use_bias=use_bias)
        self.layernorm_after = settings.norm()
        self.mlp = _Wide(settings)

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.layernorm_before(x))
        return x + self.mlp(self.layernorm_after(x))


class _Pooler(nn.Block):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.dense = nn.Dense(settings.pooler, settings.pooler_activation)

    def forward(self, x: Any) -> Any:
        return self.dense(x[:, 0])


class Trunk(nn.Block):
    """``ViTModel``: a picture to every place, and the whole where there is a pooler."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.embeddings = _Embeddings(settings)
        self.layers = nn.Sequential(*(_Layer(settings) for _ in range(settings.layers)))
        self.layernorm = settings.norm()
        if settings.pooler:
            self.pooler = _Pooler(settings)
        self.has_pooler = bool(settings.pooler)

    def forward(self, pixel_values: Any) -> Any:
        """``(batch, channels, height, width)`` to ``(batch, patches + 1, units)``."""
        weight = self.embeddings.patch_embeddings.projection.weight.dtype
        x = pixel_values if weight == "float32" else ops.cast(pixel_values, dtype=weight)
        x = self.layernorm(self.layers(self.embeddings(x)))
        return (x, self.pooler(x)) if self.has_pooler else x


class _Classifier(nn.Block):
    """``ViTForImageClassification``: logits ``(batch, labels)`` out of the word for the whole picture."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.vit = Trunk(settings)
        self.classifier = nn.Dense(settings.labels)

    def forward(self, pixel_values: Any) -> Any:
        """``(batch, channels, height, width)``."""
        return self.classifier(self.vit(pixel_values)[:, 0])


def network(config: Config, traits: Traits, most_layers: int) -> nn.Block | None:
    """The network that a configuration means; None where it has problems, which it lists."""
    as_an_encoder(config)
    units = config.size("hidden_size", default=768)
    heads = config.size("num_attention_heads", default=12)
    if units % heads:
        config.refuse("num_attention_heads", f"is {heads}, which does not divide the width {units}")
    picture, patch = _sides(config, "image_size", default=224), _sides(config, "patch_size", default=16)
    if patch[0] > picture[0] or patch[1] > picture[1]:
        config.refuse("patch_size", f"is {patch}, and the picture is {picture}")
    config.size("num_channels", default=3)
    pooler = config.size("pooler_output_size", default=units, null=units)
    activation = config.activation("pooler_act", default="tanh")
    has_pooler = traits.head == "Model" and traits.has_pooler
    settings = Settings(
        places=(picture[0] // patch[0], picture[1] // patch[1]),
        patch=patch,
        units=units,
        layers=config.size("num_hidden_layers", default=12, most=most_layers),
        heads=heads,
        hidden_units=config.size("intermediate_size", default=3072),
        epsilon=config.number("layer_norm_eps", default=1e-12),
        activation=config.activation("hidden_act", default="gelu"),
        use_bias=config.flag("qkv_bias", default=True),
        pooler=pooler if has_pooler else 0,
        pooler_activation=activation,
        labels=config.labels(),
    )
    config.refuse_unknown("vit")
    if config.problems:
        return None
    return Trunk(settings) if traits.head == "Model" else _Classifier(settings)


def _sides(config: Config, name: str, *, default: int) -> tuple[int, int]:
    """Height and width, which an option says as one number or as two."""
    value = config.get(name, default=default)
    both = list(value) if isinstance(value, list) else [value, value]
    if len(both) != 2 or not all(type(each) is int and 1 <= each < 2**16 for each in both):
        config.refuse(name, f"is {short(value)}, expected a size or two, from 1 to 65,535")
        return default, default
    return both[0], both[1]


def pictures(config: Config) -> list[int | None]:
    """The shape of pictures that a network takes."""
    return [None, config.size("num_channels", default=3), *_sides(config, "image_size", default=224)]
