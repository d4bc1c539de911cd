"""Functions that PyTorch says by what writes into parameters, said by others that do not."""

import numpy as np
import pytest

import modelarchive as ma

torch = pytest.importorskip("torch")

WORDS = torch.tensor([[1, 2, 0], [3, 9, 9]])


class Looking(torch.nn.Module):
    def __init__(self, table):
        super().__init__()
        self.table, self.layer = table, torch.nn.Linear(4, 3)

    def forward(self, *given):
        return self.layer(self.table(*given))


TABLES = {
    "Embedding": (torch.nn.Embedding, {}, (WORDS,)),
    "of sums of sizes": (torch.nn.Embedding, {"norm_type": 1.0, "padding_idx": 0}, (WORDS,)),
    "of largest sizes": (torch.nn.Embedding, {"norm_type": float("inf")}, (WORDS,)),
    "EmbeddingBag": (torch.nn.EmbeddingBag, {}, (WORDS,)),
    "EmbeddingBag with offsets": (torch.nn.EmbeddingBag, {"mode": "sum"}, (WORDS.flatten(), torch.tensor([0, 2]))),
}


@pytest.mark.parametrize("name", TABLES)
def test_rows_that_are_shortened_where_they_are_looked_up(name, tmp_path):
    make, options, given = TABLES[name]
    torch.manual_seed(0)
    module = Looking(make(10, 4, max_norm=1.0, **options)).eval()
    before = module.table.weight.detach().clone()
    ma.save_model(tmp_path / "net.h5", module, inputs=given)
    assert torch.equal(module.table.weight, before)
    assert np.array_equal(ma.load(tmp_path / "net.h5")["table.weight"], before)
    built = ma.load_model(tmp_path / "net.h5", backend="torch")
    found = ma.load_model(tmp_path / "net.h5")(*(each.numpy() for each in given))
    wanted = module(*given).detach().numpy()
    assert not torch.equal(module.table.weight, before)  # PyTorch has shortened some
    assert np.allclose(found, wanted, atol=1e-6)
    assert np.allclose(built(*given).detach().numpy(), wanted, atol=1e-6)
