"""transformers' Trainer saves archives through a callback, and goes on from them bit by bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import modelarchive as ma
from modelarchive.errors import ParameterError
from tests.conftest import ROOT

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytestmark = pytest.mark.filterwarnings("ignore")

from modelarchive.exchange.huggingface.callbacks import CheckpointCallback  # noqa: E402
from tests.checkpoints import trainer_run  # noqa: E402


def states(trainer: Any) -> list[np.ndarray]:
    moments = [value for each in trainer.optimizer.state.values() for value in each.values()]
    return [each.detach().numpy().copy() for each in (*trainer.model.state_dict().values(), *moments)]


def same(one: list[np.ndarray], two: list[np.ndarray]) -> bool:
    return len(one) == len(two) and all(map(np.array_equal, one, two))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("trainer") / "whole"
    return folder, trainer_run.train(folder, 14)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_bit_by_bit(whole: tuple[Path, Any], tmp_path: Path) -> None:
    """In the middle of an epoch, batches accumulated, dropout, weights that are tied."""
    command = [sys.executable, "-m", "tests.checkpoints.trainer_run", str(tmp_path / "run"), "14", "8"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert ma.Checkpoints(tmp_path / "run").steps() in ([3], [3, 6])
    resumed = trainer_run.train(tmp_path / "run", 14)
    assert resumed.state.global_step == 14
    assert same(states(whole[1]), states(resumed))


@pytest.mark.slow
def test_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    expected = trainer_run.train(tmp_path / "whole", 12)
    arguments = {"max_grad_norm": 0.5}
    folder = tmp_path / "run"
    first = trainer_run.train(folder, 12, every=5, kill=None, **arguments)
    run = ma.Checkpoints(folder)
    assert run.steps() == [10, 12]
    run.path(12).unlink()
    again = trainer_run.train(folder, 12, every=5, **arguments)
    assert same(states(first), states(again))
    assert not same(states(expected), states(again))  # another norm of gradients: the comparison can fail


def test_what_lies_in_it(whole: tuple[Path, Any]) -> None:
    folder, trainer = whole
    run = ma.Checkpoints(folder)
    assert run.steps() == [12, 14]
    assert run.metrics(14)["eval_loss"] == trainer.state.log_history[-2]["eval_loss"]
    with run.load(14) as archive:
        assert list(archive) == list(trainer.model.state_dict())
        assert archive.reader.contents.aliases == {"output.weight": "hidden.weight"}
        training = archive.training
    names = dict(trainer.model.named_parameters())
    assert set(training["optimizer"]["state"]) == set(names)
    for name, state in training["optimizer"]["state"].items():
        for key, value in state.items():
            assert np.array_equal(value, trainer.optimizer.state[names[name]][key].numpy()), (name, key)
    said = json.loads(training["trainer"]["state"])
    assert said["global_step"] == 14
    assert set(said["stateful_callbacks"]) == {"TrainerControl", "EarlyStoppingCallback"}


def test_a_damaged_one_is_passed_over_and_another_model_refused(whole: tuple[Path, Any], tmp_path: Path) -> None:
    folder, trainer = whole
    for step in (12, 14):
        raw = bytearray((folder / f"step-{step:08d}.h5").read_bytes())
        raw[-1] ^= step == 14
        (tmp_path / f"step-{step:08d}.h5").write_bytes(raw)
    saving = CheckpointCallback(ma.Checkpoints(tmp_path))
    with pytest.warns(ma.DamagedCheckpointWarning, match="step-00000014"):
        place = saving.resume(trainer)
    assert place is not None
    assert json.loads((Path(place) / "trainer_state.json").read_text())["global_step"] == 12
    trainer.model.features = torch.nn.Linear(3, 3)
    with pytest.raises(ParameterError, match=r"features\.weight"):
        saving.resume(trainer)


def test_nothing_to_go_on_from(tmp_path: Path, whole: tuple[Path, Any]) -> None:
    assert CheckpointCallback(ma.Checkpoints(tmp_path)).resume(whole[1]) is None
    with pytest.raises(ValueError, match="every is 0"):
        CheckpointCallback(ma.Checkpoints(tmp_path), every=0)
