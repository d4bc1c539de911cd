"""Classifiers with LSTM and GRU against PyTorch's."""

import numpy as np
import pytest

from modelarchive import zoo
from tests.zoo.comparison import compared, given, randomised, rebuilt


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
@pytest.mark.parametrize("layers", [1, 3])
def test_outputs_are_pytorch_s_and_survive_the_archive(cell, layers, torch, tmp_path):
    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(50, 12)
            recurrent = getattr(torch.nn, cell)
            self.encoder = recurrent(12, 10, num_layers=layers, bidirectional=True, batch_first=True)
            self.decoder = torch.nn.Linear(40, 3)

        def forward(self, words):
            outputs, _ = self.encoder(self.embedding(words))
            return self.decoder(torch.cat((outputs[:, 0], outputs[:, -1]), dim=1))

    module = randomised(Classifier(), torch)
    net = given(getattr(zoo, f"{cell}Classifier")(50, 3, 12, 10, layers), module)
    words = np.random.default_rng(0).integers(0, 50, (4, 7))
    compared(net, module, torch, words)
    again = rebuilt(net, tmp_path, words)
    assert again(words[:1, :3]).shape == (1, 3)
