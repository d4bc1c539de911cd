"""Runs that go on after the power cord was pulled: their state in a folder of archives, whole or not at all."""

from modelarchive.checkpoints.run import Checkpoints, DamagedCheckpointWarning

__all__ = ["Checkpoints", "DamagedCheckpointWarning"]
