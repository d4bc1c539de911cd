"""Checkpoints of PyTorch that save() wrote: the optimizer goes on, the network is a source of transplants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import modelarchive as ma

torch = pytest.importorskip("torch")


class TestACheckpointThatSaveWrote:
    """A dict of dicts with an optimizer's state, whose keys are numbers."""

    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> tuple[Path, Any, Any]:
        net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        optimizer = torch.optim.Adam(net.parameters())
        net(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        path = tmp_path / "checkpoint.h5"
        ma.save(path, {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3})
        return path, net, optimizer

    def test_the_optimizer_goes_on_where_it_was(self, checkpoint: tuple[Path, Any, Any]) -> None:
        path, net, optimizer = checkpoint
        state = ma.load(path, backend="torch")
        again = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        again.load_state_dict(state["model"])
        other = torch.optim.Adam(again.parameters())
        other.load_state_dict(state["optimizer"])
        for module, each in ((net, optimizer), (again, other)):
            each.zero_grad()
            module(torch.full((1, 3), 2.0)).square().sum().backward()
            each.step()
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))

    def test_its_network_is_the_source(self, checkpoint: tuple[Path, Any, Any]) -> None:
        path, net, _ = checkpoint
        target = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
        report = ma.load_parameters(path, target)
        assert report.notes == ["its 'model' is taken, 'optimizer' beside it left alone"]
        assert torch.equal(target[0].weight, net[0].weight)

    @pytest.mark.parametrize("what", ["module", "optimizer"])
    def test_the_advice_for_an_object_works(self, tmp_path: Path, checkpoint: tuple[Path, Any, Any], what: str) -> None:
        _, net, optimizer = checkpoint
        wrong = net if what == "module" else optimizer
        with pytest.raises(ma.UnsupportedDataError, match=r"save.* its state_dict\(\)"):
            ma.save(tmp_path / "x.h5", wrong)
        ma.save(tmp_path / "x.h5", wrong.state_dict())


def test_an_archive_of_a_module_fills_its_state_dict() -> None:
    """The count of batches, which no archive of a network keeps, may be missing."""
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    source = {name: each for name, each in net.state_dict().items() if "num_batches" not in name}
    target = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).state_dict()
    assert ma.load_parameters(source, target).missing == ["1.num_batches_tracked"]
    assert torch.equal(target["0.weight"], net[0].weight)
