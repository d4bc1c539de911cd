"""Free axes are named: one name where they must be of one size, others where they need not be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive import nn, ops
from modelarchive.architecture import input_texts


class Two(nn.Block):
    """Words and their mask, of one length; a text of another length beside."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)

    def forward(self, words: Any, mask: Any, other: Any) -> Any:
        left = self.words(words) * mask[:, :, None]
        return ops.matmul(left, self.words(other).swapaxes(1, 2))


class Scale(nn.Block):
    def forward(self, x: Any, rows: Any) -> Any:
        return x * 2, rows + 1


def declared(*shapes: list[int | None], dtype: str = "float32") -> list[dict[str, Any]]:
    return [{"shape": shape, "dtype": dtype} for shape in shapes]


def texts(block: nn.Block, inputs: list[dict[str, Any]]) -> list[str]:
    block.initialize(seed=0)
    return input_texts(ma.describe(block, tuple(inputs)))


def test_lengths_are_one_where_they_must_be() -> None:
    assert texts(Two(), declared([None, None], [None, None], [None, None], dtype="int64")) == [
        "words: int64 batch x length",
        "mask: int64 batch x length",
        "other: int64 batch x length_2",
    ]


@pytest.mark.parametrize(
    ("block", "shape", "text"),
    [
        (nn.Conv2D(2, 3), [None, 3, None, None], "batch x 3 x height x width"),
        (nn.Conv2D(2, 3, layout="NHWC"), [None, None, None, 3], "batch x height x width x 3"),
        (nn.Conv2D(2, 3), [None, 3, 224, None], "batch x 3 x 224 x width"),
        (nn.Conv1D(2, 3), [None, 3, None], "batch x 3 x length"),
        (nn.Conv3D(2, 3), [None, 3, None, None, None], "batch x 3 x depth x height x width"),
        (nn.Dense(2), [None, 3], "batch x 3"),
        (nn.Activation("relu"), [], "()"),
    ],
)
def test_axes_of_usual_inputs(block: nn.Block, shape: list[int | None], text: str) -> None:
    assert texts(block, declared(shape)) == [f"x: float32 {text}"]


def test_an_image_that_must_be_square() -> None:
    class Square(nn.Block):
        def forward(self, x: Any) -> Any:
            return x + x.swapaxes(2, 3)

    assert texts(Square(), declared([None, 3, None, None])) == ["x: float32 batch x 3 x height x height"]


def test_batches_that_need_not_be_of_one_size() -> None:
    assert texts(Scale(), declared([None, 3], [None, 4])) == ["x: float32 batch x 3", "rows: float32 batch_2 x 4"]


def test_the_names_are_true() -> None:
    """What the names say of sizes is what the network takes."""
    net = Two()
    net.initialize(seed=0)
    words = lambda *shape: np.ones(shape, "int64")  # noqa: E731
    assert net(words(2, 5), words(2, 5), words(2, 7)).shape == (2, 5, 7)
    with pytest.raises(ValueError, match="broadcast"):
        net(words(2, 5), words(2, 6), words(2, 5))


def test_an_invalid_architecture() -> None:
    with pytest.raises(ma.SpecError):
        input_texts({"vocabulary": 1, "inputs": [], "model": {"kind": "Nothing"}})
