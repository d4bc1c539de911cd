"""Runs that go on after the power cord was pulled: their state in a folder of archives, whole or not at all."""

from modelarchive.checkpoints.folder import DamagedCheckpointWarning, expect_index
from modelarchive.checkpoints.folder import checkpoints as checkpoints_in
from modelarchive.checkpoints.record import metrics_of
from modelarchive.checkpoints.run import Checkpoints

__all__ = ["Checkpoints", "DamagedCheckpointWarning", "checkpoints_in", "expect_index", "metrics_of"]
