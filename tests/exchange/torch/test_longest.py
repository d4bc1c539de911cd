"""Masks as long as the longest of some lengths: taken for the example's, where the module runs with no other."""

import numpy as np
import pytest

import modelarchive as ma
from tests.exchange.torch.refusals import refused

torch = pytest.importorskip("torch")

X, LENGTHS = torch.randn(3, 7, 8), torch.tensor([5, 7, 2])
MASKS = {
    "int of item": lambda n: torch.arange(int(torch.max(n).item()))[None] >= n[:, None],
    "a range of a tensor": lambda n: torch.arange(n.max())[None] >= n[:, None],
    "int": lambda n: torch.arange(0, int(n.amax().long())).expand(len(n), int(n.max())) >= n.unsqueeze(1),
}


class Attending(torch.nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.mask, self.attention = mask, torch.nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x, lengths):
        return self.attention(x, x, x, key_padding_mask=self.mask(lengths))[0]


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_of_the_longest(name, tmp_path):
    module = Attending(MASKS[name]).eval()
    notes = ma.save_model(tmp_path / "net.h5", module, inputs=(X, LENGTHS))
    if "int" in name:  # of a range of a tensor PyTorch itself says that it must be as long
        assert any(
            "the largest number of an array, which the forward asks for, is taken for 7" in str(n) for n in notes
        )
    x, lengths = torch.randn(5, 7, 8), torch.tensor([7, 1, 3, 7, 2])
    wanted = module(x, lengths).detach().numpy()
    assert np.allclose(ma.load_model(tmp_path / "net.h5")(x.numpy(), lengths.numpy()), wanted, atol=1e-6)


class Elsewhere(torch.nn.Module):
    """Runs with shorter lengths as well, and does something else."""

    def __init__(self, forward):
        super().__init__()
        self.layer, self.function = torch.nn.Linear(8, 8), forward

    def forward(self, x, lengths):
        return self.function(self.layer(x), lengths)


OTHERS = {
    "cuts off": lambda x, n: x[:, : int(n.max())],
    "leaves out": lambda x, n: x * (torch.arange(x.shape[1])[None, :, None] < int(n.max())),
    "divides": lambda x, n: x / int(n.max()),
    "repeats its only place": lambda x, n: x.masked_fill((torch.arange(n.max().item()) >= n[:, None])[..., None], 0),
    "of no whole input": lambda x, n: x[:, : int(x.abs().max().clamp(3, 3).long().max())] + n.sum(),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_runs_with_other_lengths_and_does_something_else_is_refused(name, tmp_path):
    error = refused(tmp_path, Elsewhere(OTHERS[name]).eval(), inputs=(X, LENGTHS))
    assert "fault of modelarchive" not in str(error)
    assert "what it does depends on" in str(error)
