"""The architecture: JSON in a closed vocabulary, described from a network and built into one."""

from modelarchive.spec.axes import input_texts
from modelarchive.spec.build import build, part
from modelarchive.spec.checking import Checked, check, parameter_shapes, validate
from modelarchive.spec.cutting import cut
from modelarchive.spec.describe import describe, described

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
