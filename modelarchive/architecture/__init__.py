"""The architecture: JSON in a closed vocabulary, described from a network and built into one."""

from modelarchive.architecture.axes import input_texts
from modelarchive.architecture.building import build, part
from modelarchive.architecture.checking import Checked, check, parameter_shapes, validate
from modelarchive.architecture.cutting import cut
from modelarchive.architecture.describing import describe, described

__all__ = [
    "Checked",
    "build",
    "check",
    "cut",
    "describe",
    "described",
    "input_texts",
    "parameter_shapes",
    "part",
    "validate",
]
