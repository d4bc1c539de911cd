"""The architecture: JSON in a closed vocabulary, described from a network and built into one."""

from modelarchive.spec.axes import input_texts
from modelarchive.spec.build import build, part
from modelarchive.spec.cutting import cut
from modelarchive.spec.describe import describe
from modelarchive.spec.validate import parameter_shapes, validate

__all__ = ["build", "cut", "describe", "input_texts", "parameter_shapes", "part", "validate"]
