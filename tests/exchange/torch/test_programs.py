"""TorchScript and quantised layers: told by name."""

import pytest

import modelarchive as ma
from tests.exchange.torch.comparison import X
from tests.exchange.torch.refusals import refused

torch = pytest.importorskip("torch")

SCRIPTS = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


@SCRIPTS
@pytest.mark.parametrize("is_part", [False, True])
@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.ones(1, 6))])
def test_scripts_are_told_by_name(make, is_part, tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU())
    program = make(net)
    model = torch.nn.Sequential(torch.nn.Sequential(program), torch.nn.Linear(4, 4)) if is_part else program
    error = refused(tmp_path, model, inputs=torch.from_numpy(X))
    assert [where for where, _ in error.unsupported] == ["0.0" if is_part else "(model)"]
    assert "TorchScript" in str(error)
    assert "pass the module that it was made of" in error.hint
    ma.save_model(tmp_path / "net.h5", net, inputs=torch.from_numpy(X))


@pytest.mark.filterwarnings("ignore")
def test_quantised_layers_are_told_by_name(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU())
    quantised = torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear}, dtype=torch.qint8)
    error = refused(tmp_path, quantised, inputs=torch.from_numpy(X))
    assert [where for where, _ in error.unsupported] == ["0"]
    assert "quantised" in str(error)
    assert "before torch.ao.quantization.convert" in error.hint
    ma.save_model(tmp_path / "net.h5", net, inputs=torch.from_numpy(X))
