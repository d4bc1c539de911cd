"""ViT, the vision Transformer (Dosovitskiy et al. 2020, arXiv:2010.11929)."""

from __future__ import annotations

from typing import Any

from modelarchive import nn, ops


class Embeddings(nn.Block):
    """Patches of the image as words, one word for the whole before them, and their places.

    Arguments as for :class:`ViT`.
    """

    def __init__(self, size: int, patch: int, units: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter((1, 1, units))
        self.position_embeddings = nn.Parameter((1, (size // patch) ** 2 + 1, units))
        self.projection = nn.Conv2D(units, patch, patch)

    def forward(self, x: Any) -> Any:
        """``(batch, 3, size, size)`` to ``(batch, patches + 1, units)``."""
        patches = ops.reshape(self.projection(x), (None, None, -1)).transpose(0, 2, 1)
        # The same word before every image of the batch.
        first = patches[:, :1] * 0 + self.cls_token.data()
        return ops.concatenate([first, patches], axis=1) + self.position_embeddings.data()


class MLP(nn.Block):
    """Two dense layers at each place; arguments as for :class:`ViT`."""

    def __init__(self, units: int, hidden_units: int) -> None:
        super().__init__()
        self.fc1 = nn.Dense(hidden_units, "gelu", flatten=False)
        self.fc2 = nn.Dense(units, flatten=False)

    def forward(self, x: Any) -> Any:
        """``(batch, patches + 1, units)``."""
        return self.fc2(self.fc1(x))


class EncoderLayer(nn.Block):
    """Self-attention, then two dense layers; arguments as for :class:`ViT`."""

    def __init__(self, units: int, heads: int, hidden_units: int) -> None:
        super().__init__()
        self.layernorm_before = nn.LayerNorm(epsilon=1e-12)
        self.attention = nn.MultiHeadAttention(units, heads)
        self.layernorm_after = nn.LayerNorm(epsilon=1e-12)
        self.mlp = MLP(units, hidden_units)

    def forward(self, x: Any) -> Any:
        """``(batch, patches + 1, units)``."""
        x = x + self.attention(self.layernorm_before(x))
        return x + self.mlp(self.layernorm_after(x))


class ViT(nn.Block):
    """A Transformer encoder over the patches of an image; the defaults are ViT-B/16.

    Input ``(batch, 3, size, size)``, output ``(batch, classes)``, logits. Parameter names are those of
    ``transformers.ViTForImageClassification`` but for "vit.", "patch_embeddings." and ``out_proj``, which is
    ``o_proj`` there.

    Args:
        classes: Size of the output.
        size: Edge of the image, in pixels.
        patch: Edge of a patch.
        units: Width of the network.
        layers: Number of layers.
        heads: Attention heads of each.
        hidden_units: Width of the dense layer between.
    """

    def __init__(
        self,
        classes: int = 1000,
        size: int = 224,
        patch: int = 16,
        units: int = 768,
        layers: int = 12,
        heads: int = 12,
        hidden_units: int = 3072,
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(size, patch, units)
        self.layers = nn.Sequential(*(EncoderLayer(units, heads, hidden_units) for _ in range(layers)))
        self.layernorm = nn.LayerNorm(epsilon=1e-12)
        self.classifier = nn.Dense(classes)

    def forward(self, x: Any) -> Any:
        """The word for the whole image decides."""
        return self.classifier(self.layernorm(self.layers(self.embeddings(x)))[:, 0])
