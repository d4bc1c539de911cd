"""The version of the package: the one place that says it."""

from typing import Final

VERSION: Final = "0.1.0"
