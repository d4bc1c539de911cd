"""What cannot be read whole: the refusal names the parts that may be, which hold the original's parameters."""

import re

import numpy as np
import pytest

import modelarchive as ma
from tests.exchange.torch.refusals import refused

torch = pytest.importorskip("torch")

KEPT = "save(path, module.state_dict()) keeps the parameters, without an architecture"


class Chosen(torch.nn.Module):
    """Gives as many rows as are positive."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 4)

    def forward(self, x):
        found = self.head(x).flatten(0, -2)
        return found[found[:, 0] > 0]


class Detector(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
        self.chosen, self.spare = Chosen(), torch.nn.ModuleList([torch.nn.Linear(4, 2), torch.nn.ReLU()])

    def forward(self, x):
        return self.chosen(self.backbone(x))


class Branching(Detector):
    """Its forward asks how many there are, where torch.export ends."""

    def forward(self, x):
        found = super().forward(x)
        return found.new_zeros(3) if len(found) > 7 else self.spare[0](found)


class Parts(torch.nn.Module):
    def __init__(self, detector):
        super().__init__()
        self.backbone, self.chosen, self.spare = detector.backbone, detector.chosen, detector.spare

    def forward(self, x):
        return self.chosen.head(self.backbone(x))


def test_the_parts_beside_what_is_told_are_named(tmp_path):
    hint = refused(tmp_path, Detector(), inputs=torch.randn(2, 3, 4)).hint
    parts = ["module.backbone", "module.chosen.head", "module.spare[0]"]
    assert hint == (
        f"a part alone may do without: save_model(path, module.backbone, inputs=...), of {', '.join(parts)}; {KEPT}"
    )


def test_the_parts_beside_the_line_that_asks_for_values_are_named(tmp_path):
    hint = refused(tmp_path, torch.nn.Sequential(torch.nn.Linear(4, 4), Branching()), inputs=torch.randn(2, 3, 4)).hint
    named = ["module[0]", "module[1].backbone", "module[1].chosen", "module[1].spare[0]"]
    assert f"save_model(path, module[0], inputs=...), of {', '.join(named)}; " in hint


@pytest.mark.parametrize("detector", [Detector, Branching])
def test_each_part_that_is_named_can_be_saved_or_names_its_own(detector, tmp_path):
    module = detector().eval()
    named = re.findall(r"module(?:\.\w+|\[\d+\])+", refused(tmp_path, module, inputs=torch.randn(2, 3, 4)).hint)
    for each in {each: None for each in named if each != "module.state_dict"}:
        part = eval(each, {"module": module})  # as people type it
        if isinstance(part, Chosen):
            assert "save_model(path, module.head, inputs=...)" in refused(tmp_path, part, inputs=torch.randn(2, 4)).hint
            continue
        x = torch.randn(5, 4)
        ma.save_model(tmp_path / "part.h5", part, inputs=x)
        found = ma.load_model(tmp_path / "part.h5")(x.numpy())
        assert np.allclose(found, part(x).detach().numpy(), atol=1e-6)


def test_no_part_is_named_of_other_errors_and_where_none_has_parameters(tmp_path):
    assert "a part" not in refused(tmp_path, Detector(), inputs=torch.randn(2, 5)).hint

    class Alone(torch.nn.Module):
        def forward(self, x):
            return torch.unique(x)

    assert refused(tmp_path, Alone(), inputs=torch.randn(2, 4)).hint == KEPT


def test_a_module_of_its_parts_is_all_of_it_but_what_values_decide(tmp_path):
    detector = Detector().eval()
    ma.save_model(tmp_path / "parts.h5", Parts(detector), inputs=torch.randn(2, 3, 4))
    x = torch.randn(6, 3, 4)
    wanted = detector.chosen.head(detector.backbone(x)).detach().numpy()
    assert np.allclose(ma.load_model(tmp_path / "parts.h5")(x.numpy()), wanted, atol=1e-6)
    other = Detector().eval()
    report = ma.transplant(tmp_path / "parts.h5", other)
    assert report.copied.keys() == other.state_dict().keys()
    assert not report.missing
    assert torch.equal(other(x), detector(x))
    again = Detector().eval()
    again.load_state_dict(ma.load_model(tmp_path / "parts.h5", backend="torch").state_dict(), strict=True)
    assert torch.equal(again(x), detector(x))
