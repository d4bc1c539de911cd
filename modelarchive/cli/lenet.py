"""The demo's network: a LeNet for 8x8 digits, as a user would write it."""

from __future__ import annotations

from typing import Any

from modelarchive import nn, ops


class LeNet(nn.Block):
    """Two convolutions with batch normalisation, two dense layers: 13,802 numbers with running statistics.

    Input ``(batch, 1, 8, 8)``, float32 in 0..1; output ``(batch, 10)``, logits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2D(16, kernel_size=3, padding=1),
            nn.BatchNorm(),
            nn.Activation("relu"),
            nn.MaxPool2D(2),
            nn.Conv2D(32, kernel_size=3, padding=1),
            nn.BatchNorm(),
            nn.Activation("relu"),
            nn.MaxPool2D(2),
        )
        self.hidden = nn.Dense(64)
        self.dropout = nn.Dropout(0.3)
        self.output = nn.Dense(10)

    def forward(self, x: Any) -> Any:
        """Logits of the ten digits."""
        x = self.features(x).reshape(x.shape[0], -1)
        return self.output(self.dropout(ops.relu(self.hidden(x))))
